//! `q_runtime`: threads, kernels, the log, and a limit on memory.

use super::boundary::outside;
use super::error::{choice, q_error_code};
use super::handle::{self, Opaque};
use super::{args, params};
use crate::engine::Runtime;
use crate::error::{Result, fail};
use crate::threads::STACK_BYTES;
use crate::{Isa, Products};
use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads and kernels, shared by any number of models.
pub struct q_runtime {
    _opaque: [u8; 0],
}

/// Levels of instruction sets; a higher one includes the lower ones.
#[repr(u32)]
pub enum q_isa {
    /// What the environment variable QORUS_ISA names (scalar, avx2, avxvnni, avx512 or avx512bf16), or else the highest the CPU has.
    Q_ISA_AUTO = 0,
    /// Portable code: the definition of every result.
    Q_ISA_SCALAR = 1,
    /// AVX2, FMA and F16C.
    Q_ISA_AVX2 = 2,
    /// AVX-512 F, BW, DQ, VL and VNNI.
    Q_ISA_AVX512 = 3,
    /// AVX2 with AVX-VNNI, between the two.
    Q_ISA_AVXVNNI = 4,
    /// AVX-512 with BF16, the highest.
    Q_ISA_AVX512BF16 = 5,
}

/// Levels of the log.
#[repr(u32)]
pub enum q_log_level {
    /// Something in a file was ignored.
    Q_LOG_WARN = 1,
    /// What was loaded and reserved.
    Q_LOG_INFO = 2,
}

/// Receives one whole record of the log: `len` bytes of UTF-8 without newline or NUL. Called from whichever thread
/// makes the call that is recorded. Must not unwind (C++: must not throw).
pub type q_log_fn = Option<unsafe extern "C" fn(level: u32, text: *const c_char, len: usize, user: *mut c_void)>;

/// How a runtime is made. Fill it with q_runtime_params_init first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_runtime_params {
    /// sizeof(q_runtime_params), set by q_runtime_params_init.
    pub size: u32,
    /// Threads that work on a call, the caller's included; 0: one for each core this process may use.
    pub threads: u32,
    /// The highest q_isa to use. One that the CPU lacks is Q_ERR_ISA.
    pub isa: u32,
    /// Records up to this q_log_level go to `log`; 0: none.
    pub log_level: u32,
    /// Bytes that the runtime, its models and their contexts may have reserved at any time, mapped files not counted;
    /// 0: no limit. What would go beyond is Q_ERR_BUDGET.
    pub memory_limit: u64,
    /// Receives the log; NULL: nothing does.
    pub log: q_log_fn,
    /// Handed to `log`.
    pub log_user: *mut c_void,
    /// 1: keeps each of the runtime's own threads on one core (Linux; elsewhere Q_ERR_UNSUPPORTED). The threads of
    /// the host are left alone; the first core this process may use is left to them.
    pub pin: u32,
    /// 1: weights that are stored as BF16 meet activations rounded to bf16, not f32. Other results, still the same ones at
    /// every level and for any number of threads; faster on some CPUs that have BF16 (`qorus bench --bf16` tells).
    pub bf16: u32,
}

// SAFETY: as the trait demands.
unsafe impl params::Params for q_runtime_params {
    const NAME: &'static str = "q_runtime_params";

    fn defaults() -> Self {
        q_runtime_params {
            size: size_of::<Self>() as u32,
            threads: 0,
            isa: q_isa::Q_ISA_AUTO as u32,
            log_level: q_log_level::Q_LOG_INFO as u32,
            memory_limit: 0,
            log: None,
            log_user: std::ptr::null_mut(),
            pin: 0,
            bf16: 0,
        }
    }
}

/// What a `q_runtime` holds; models and contexts hold it too.
pub(super) struct Shared {
    pub engine: Arc<Runtime>,
    log: q_log_fn,
    log_level: u32,
    log_user: *mut c_void,
    limit: usize,
    used: AtomicUsize,
}

// SAFETY: `log_user` is only handed to `log`, which the header says is called from any thread.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// Bytes of a runtime's limit, given back when dropped.
pub(super) struct Charge {
    runtime: Arc<Shared>,
    pub bytes: usize,
}

impl Shared {
    /// Hands one record to the host's log.
    pub fn log(&self, level: q_log_level, text: impl FnOnce() -> String) {
        let level = level as u32;
        if let Some(log) = self.log
            && level <= self.log_level
        {
            let text = text();
            // SAFETY: the host's function, called as the header says.
            outside(|| unsafe { log(level, text.as_ptr().cast(), text.len(), self.log_user) });
        }
    }

    /// Bytes left under the limit.
    pub fn left(&self) -> usize {
        self.limit - self.used.load(Ordering::Relaxed)
    }

    /// Whether there is a limit.
    pub fn is_limited(&self) -> bool {
        self.limit != usize::MAX
    }

    /// Takes bytes of the limit for `what`.
    pub fn charge(self: &Arc<Self>, bytes: usize, what: &str) -> Result<Charge> {
        let add = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= self.limit);
        if let Err(used) = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            fail!(
                Budget,
                "{what} needs {bytes} bytes; of the runtime's limit of {} are {} left",
                self.limit,
                self.limit - used
            );
        }
        Ok(Charge { runtime: Arc::clone(self), bytes })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.runtime.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Opaque for q_runtime {
    type Value = Arc<Shared>;
    type Side = ();
    const NAME: &'static str = "q_runtime";
}

/// The level that a q_isa names; None for Q_ISA_AUTO.
pub(super) fn isa_of(number: u32) -> Result<Option<Isa>> {
    choice(
        "isa",
        number,
        &[
            (q_isa::Q_ISA_AUTO as u32, None),
            (q_isa::Q_ISA_SCALAR as u32, Some(Isa::Scalar)),
            (q_isa::Q_ISA_AVX2 as u32, Some(Isa::Avx2)),
            (q_isa::Q_ISA_AVXVNNI as u32, Some(Isa::AvxVnni)),
            (q_isa::Q_ISA_AVX512 as u32, Some(Isa::Avx512)),
            (q_isa::Q_ISA_AVX512BF16 as u32, Some(Isa::Avx512Bf16)),
        ],
    )
}

/// Fills `params` with defaults. `size` is sizeof(q_runtime_params).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_runtime_params_init(params: *mut q_runtime_params, size: usize) -> q_error_code {
    ffi!({ params::init(params, size) })
}

/// Makes a runtime and starts its threads. `params` may be NULL: all defaults.
///
/// Free it with q_runtime_free; models keep it alive beyond that.
/// Errors: Q_ERR_ISA; Q_ERR_INVALID_ARGUMENT for more than 1024 threads or an environment variable QORUS_ISA that names no
/// level; Q_ERR_OUT_OF_MEMORY when the system refuses a thread; Q_ERR_UNSUPPORTED or Q_ERR_IO
/// when it does not pin threads; Q_ERR_BUDGET; Q_ERR_ABI.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_runtime_create(params: *const q_runtime_params, out: *mut *mut q_runtime) -> q_error_code {
    ffi!({
        handle::check_out(out)?;
        let p = params::read(params)?;
        let isa = isa_of(p.isa)?;
        let limit = match p.memory_limit {
            0 => usize::MAX,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        let products = choice("bf16", p.bf16, &[(0, Products::F32), (1, Products::Bf16)])?;
        let pin = choice("pin", p.pin, &[(0, false), (1, true)])?;
        let engine = Runtime::with_products(p.threads as usize, isa, products)?;
        if pin {
            engine.pool.pin()?;
        }
        let stacks = (engine.pool.len() - 1) * STACK_BYTES;
        if stacks > limit {
            fail!(Budget, "the stacks of {} threads need {stacks} bytes, the limit is {limit}", engine.pool.len());
        }
        let (log, log_level, log_user, used) = (p.log, p.log_level, p.log_user, AtomicUsize::new(stacks));
        handle::create(Arc::new(Shared { engine, log, log_level, log_user, limit, used }), (), out)
    })
}

/// The number of threads, the caller's included, to `threads`, and the level that is used, a q_isa, to `isa`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_runtime_info(runtime: *const q_runtime, threads: *mut u32, isa: *mut u32) -> q_error_code {
    ffi!({
        let runtime = handle::shared(runtime)?;
        args::pointer(threads, "threads")?;
        args::pointer(isa, "isa")?;
        let level = match runtime.engine.kernels.isa() {
            Isa::Scalar => q_isa::Q_ISA_SCALAR,
            Isa::Avx2 => q_isa::Q_ISA_AVX2,
            Isa::AvxVnni => q_isa::Q_ISA_AVXVNNI,
            Isa::Avx512 => q_isa::Q_ISA_AVX512,
            Isa::Avx512Bf16 => q_isa::Q_ISA_AVX512BF16,
        };
        args::put(threads, runtime.engine.pool.len() as u32, "threads")?;
        args::put(isa, level as u32, "isa")
    })
}

/// Bytes that the runtime, its models and their contexts have reserved now, mapped files not counted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_runtime_memory_used(runtime: *const q_runtime, bytes: *mut u64) -> q_error_code {
    ffi!({
        let runtime = handle::shared(runtime)?;
        args::put(bytes, runtime.used.load(Ordering::Relaxed) as u64, "bytes")
    })
}

/// Frees a runtime; NULL is nothing. Its threads end when its last model is freed too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_runtime_free(runtime: *mut q_runtime) {
    // SAFETY: the caller's handle.
    unsafe { handle::free(runtime) }
}
