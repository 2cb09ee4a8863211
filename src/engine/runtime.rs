//! Threads and kernels: made once, shared by any number of models.

use crate::error::{Result, fail};
use crate::threads::{self, Pool};
use qorus_kernels::{Isa, Kernels, Products};
use std::sync::Arc;

/// Kernels of one level and a pool of threads.
pub struct Runtime {
    /// The kernels.
    pub kernels: Kernels,
    /// The threads.
    pub pool: Pool,
}

impl Runtime {
    /// A runtime of `threads` threads (0: one for each core this process may use), at most at level `isa`; without
    /// one, at the level the environment variable `QORUS_ISA` names, or else the CPU's highest.
    pub fn new(threads: usize, isa: Option<Isa>) -> Result<Arc<Runtime>> {
        Runtime::with_products(threads, isa, Products::F32)
    }

    /// The same, and float products of that kind.
    pub fn with_products(threads: usize, isa: Option<Isa>, products: Products) -> Result<Arc<Runtime>> {
        let isa = match isa {
            Some(isa) => isa,
            None => Runtime::isa_from_env()?.unwrap_or_else(Isa::detect),
        };
        let threads = threads::count(threads)?;
        let Some(kernels) = Kernels::new(isa) else {
            fail!(Isa, "this CPU has no {}; its highest level is {}", isa.name(), Isa::detect().name())
        };
        Ok(Arc::new(Runtime { kernels: kernels.with_products(products), pool: Pool::new(threads)? }))
    }

    fn isa_from_env() -> Result<Option<Isa>> {
        let Some(value) = std::env::var_os("QORUS_ISA").filter(|v| !v.is_empty()) else { return Ok(None) };
        match value.to_str().and_then(Isa::from_name) {
            Some(isa) => Ok(Some(isa)),
            None => fail!(InvalidArgument, "QORUS_ISA is {value:?}: give {}", Isa::names()),
        }
    }
}
