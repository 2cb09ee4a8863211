//! The C ABI called from Rust, as a host would.
#![allow(dead_code)] // no test uses all of it

use qorus::ffi::context::{q_context, q_context_create, q_context_free};
use qorus::ffi::error::{q_error_code, q_last_error};
use qorus::ffi::model::{q_model, q_model_free, q_model_load};
use qorus::ffi::runtime::{
    q_isa, q_runtime, q_runtime_create, q_runtime_free, q_runtime_params, q_runtime_params_init,
};
use qorus::tensor::Tensor;
use qorus::{Isa, Type};
use std::path::Path;
use std::ptr::{null, null_mut};

/// The message of this thread's last failure.
pub fn message() -> String {
    let mut text = [0u8; 513];
    // SAFETY: a buffer of 513 bytes.
    unsafe { q_last_error(text.as_mut_ptr().cast(), text.len(), null_mut()) };
    String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned()
}

/// Demands success.
#[track_caller]
pub fn ok(code: q_error_code) {
    assert_eq!(code, q_error_code::Q_OK, "{}", message());
}

/// A runtime, a model and a context.
pub struct Host {
    pub runtime: *mut q_runtime,
    pub model: *mut q_model,
    pub context: *mut q_context,
}

impl Host {
    pub fn new(threads: u32, isa: Isa) -> Host {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/llama.gguf");
        let path = path.to_str().unwrap();
        let mut host = Host { runtime: null_mut(), model: null_mut(), context: null_mut() };
        // SAFETY: arguments as the header asks for.
        unsafe {
            let mut p = std::mem::zeroed::<q_runtime_params>();
            ok(q_runtime_params_init(&mut p, size_of_val(&p)));
            p.threads = threads;
            p.isa = match isa {
                Isa::Scalar => q_isa::Q_ISA_SCALAR,
                Isa::Avx2 => q_isa::Q_ISA_AVX2,
                Isa::AvxVnni => q_isa::Q_ISA_AVXVNNI,
                Isa::Avx512 => q_isa::Q_ISA_AVX512,
                Isa::Avx512Bf16 => q_isa::Q_ISA_AVX512BF16,
            } as u32;
            ok(q_runtime_create(&p, &mut host.runtime));
            ok(q_model_load(host.runtime, path.as_ptr().cast(), path.len(), null(), &mut host.model));
            ok(q_context_create(host.model, null(), &mut host.context));
        }
        host
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // SAFETY: handles of its own.
        unsafe {
            q_context_free(self.context);
            q_model_free(self.model);
            q_runtime_free(self.runtime);
        }
    }
}

/// A tensor over floats that may be written.
pub fn floats_mut(x: &mut [f32], dims: &[usize]) -> Tensor {
    Tensor { data: x.as_mut_ptr().cast(), ..floats(x, dims) }
}

/// A tensor over floats to read.
pub fn floats(x: &[f32], dims: &[usize]) -> Tensor {
    let dims: Vec<u64> = dims.iter().map(|d| *d as u64).collect();
    assert_eq!(x.len() as u64, dims.iter().product::<u64>());
    Tensor::dense(Type::F32, &dims, x.as_ptr().cast_mut().cast()).unwrap()
}

/// A tensor over integers to read.
pub fn ints(x: &[i32], dims: &[usize]) -> Tensor {
    let dims: Vec<u64> = dims.iter().map(|d| *d as u64).collect();
    assert_eq!(x.len() as u64, dims.iter().product::<u64>());
    Tensor::dense(Type::I32, &dims, x.as_ptr().cast_mut().cast()).unwrap()
}
