//! `q_tensor`: views of memory, made, cut, converted and exchanged.

use super::arena::q_arena;
use super::args;
use super::error::q_error_code;
use super::handle;
use super::ops::exec;
use super::runtime::q_runtime;
use super::types::type_of;
use crate::error::{Result, fail};
use crate::ops::tensors;
use crate::tensor::dlpack::DlTensor;
use crate::tensor::{self, Q_MAX_DIMS, Tensor, View, ViewMut};
use std::ffi::c_void;

/// A copy of the host's tensor.
pub(super) unsafe fn tensor(ptr: *const Tensor, name: &str) -> Result<Tensor> {
    args::pointer(ptr, name)?;
    // SAFETY: checked; the rest is the caller's promise.
    Ok(unsafe { ptr.read() })
}

/// The host's tensor, to read.
pub(super) unsafe fn view<'a>(ptr: *const Tensor, name: &str) -> Result<View<'a>> {
    // SAFETY: the caller's promise, and the host's about the tensor's memory.
    unsafe { tensor(ptr, name)?.view(name) }
}

/// The host's tensor, or none for NULL.
pub(super) unsafe fn view_opt<'a>(ptr: *const Tensor, name: &str) -> Result<Option<View<'a>>> {
    // SAFETY: the caller's promise.
    if ptr.is_null() { Ok(None) } else { unsafe { view(ptr, name) }.map(Some) }
}

/// The host's tensor, to write.
pub(super) unsafe fn view_mut<'a>(ptr: *const Tensor, name: &str) -> Result<ViewMut<'a>> {
    // SAFETY: the caller's promise, and the host's about the tensor's memory.
    unsafe { tensor(ptr, name)?.view_mut(name) }
}

unsafe fn dims<'a>(n_dims: u32, dims: *const u64) -> Result<&'a [u64]> {
    if n_dims == 0 || n_dims as usize > Q_MAX_DIMS {
        fail!(Shape, "{n_dims} dimensions: give 1 to {Q_MAX_DIMS}");
    }
    // SAFETY: the caller's pointer.
    unsafe { args::slice(dims, n_dims as usize, "dims") }
}

/// The bytes of a dense tensor of q_type `type` with `n_dims` dimensions, to `bytes`.
/// Errors: Q_ERR_SHAPE when rows are no whole blocks of the type.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_bytes(r#type: u32, n_dims: u32, dims: *const u64, bytes: *mut usize) -> q_error_code {
    ffi!({ args::put(bytes, tensor::bytes(type_of("type", r#type)?, self::dims(n_dims, dims)?)?, "bytes") })
}

/// Makes `tensor` a dense view of the host's `bytes` bytes at `data`. Nothing is copied or kept.
/// Errors: Q_ERR_BUFFER_TOO_SMALL when the elements take more; Q_ERR_SHAPE; Q_ERR_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_wrap(
    r#type: u32,
    n_dims: u32,
    dims: *const u64,
    data: *mut c_void,
    bytes: usize,
    tensor: *mut Tensor,
) -> q_error_code {
    ffi!({
        let (ty, dims) = (type_of("type", r#type)?, self::dims(n_dims, dims)?);
        let made = Tensor::dense(ty, dims, data)?;
        let need = tensor::bytes(ty, dims)?;
        if need > bytes {
            fail!(BufferTooSmall, "a tensor of {dims:?} elements of {} takes {need} bytes, not {bytes}", ty.name());
        }
        made.view("the tensor")?;
        args::put(tensor, made, "tensor")
    })
}

/// Makes `tensor` a dense tensor in `arena`, at a multiple of 64, of undefined content; it lives as long as the arena's
/// other memory. Errors: Q_ERR_BUDGET when the arena is spent; Q_ERR_SHAPE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_alloc(
    arena: *mut q_arena,
    r#type: u32,
    n_dims: u32,
    dims: *const u64,
    tensor: *mut Tensor,
) -> q_error_code {
    ffi!({
        let mut arena = handle::exclusive(arena)?;
        args::pointer(tensor, "tensor")?;
        let (ty, dims) = (type_of("type", r#type)?, self::dims(n_dims, dims)?);
        let data = arena.alloc(tensor::bytes(ty, dims)?)?;
        args::put(tensor, Tensor::dense(ty, dims, data.as_ptr().cast())?, "tensor")
    })
}

/// Whether the elements lie one after another, in order: 1 or 0 to `dense`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_is_dense(tensor: *const Tensor, dense: *mut u32) -> q_error_code {
    ffi!({
        let tensor = self::tensor(tensor, "tensor")?;
        tensor.check()?;
        args::put(dense, tensor.is_dense().into(), "dense")
    })
}

/// Makes `out` the part `start` to `start + len` of dimension `dim`, over the same memory. `out` may be `tensor`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_slice(
    tensor: *const Tensor,
    dim: u32,
    start: u64,
    len: u64,
    out: *mut Tensor,
) -> q_error_code {
    ffi!({ args::put(out, self::tensor(tensor, "tensor")?.slice(dim as usize, start, len)?, "out") })
}

/// Makes `out` the same elements, which must be dense, under other dimensions. `out` may be `tensor`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_reshape(
    tensor: *const Tensor,
    n_dims: u32,
    dims: *const u64,
    out: *mut Tensor,
) -> q_error_code {
    ffi!({ args::put(out, self::tensor(tensor, "tensor")?.reshape(self::dims(n_dims, dims)?)?, "out") })
}

/// Makes `out` the same elements with dimensions `a` and `b` exchanged. `out` may be `tensor`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_transpose(tensor: *const Tensor, a: u32, b: u32, out: *mut Tensor) -> q_error_code {
    ffi!({ args::put(out, self::tensor(tensor, "tensor")?.transpose(a as usize, b as usize)?, "out") })
}

/// Copies the elements of `src` to `dst`, which has the same dimensions, in the type and with the strides of `dst`: so it
/// quantizes, dequantizes, and makes dense. Floats become integers by rounding to the nearest, within their range.
/// Errors: Q_ERR_UNSUPPORTED for a type that can be read but not written (IQ2_XXS ...); Q_ERR_SHAPE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_convert(
    runtime: *const q_runtime,
    src: *const Tensor,
    dst: *mut Tensor,
) -> q_error_code {
    ffi!({
        let runtime = handle::shared(runtime)?;
        let (src, dst) = (view(src, "src")?, view_mut(dst, "dst")?);
        exec(&runtime, |exec| tensors::convert(exec, &src, &dst))
    })
}

/// Describes `tensor` as a DLTensor over the same memory. `shape` and `strides` have room for 6 numbers each, and must
/// live as long as `out` is used. Errors: Q_ERR_UNSUPPORTED for block types.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_to_dlpack(
    tensor: *const Tensor,
    shape: *mut i64,
    strides: *mut i64,
    out: *mut DlTensor,
) -> q_error_code {
    ffi!({
        let tensor = self::tensor(tensor, "tensor")?;
        args::pointer(shape, "shape")?;
        args::pointer(strides, "strides")?;
        let (mut own_shape, mut own_strides) = ([1; Q_MAX_DIMS], [0; Q_MAX_DIMS]);
        let described = tensor.to_dlpack(&mut own_shape, &mut own_strides)?;
        args::put(out, DlTensor { shape, strides, ..described }, "out")?;
        args::slice_mut(shape, Q_MAX_DIMS, "shape")?.copy_from_slice(&own_shape);
        args::slice_mut(strides, Q_MAX_DIMS, "strides")?.copy_from_slice(&own_strides);
        Ok(())
    })
}

/// Makes `tensor` a view of what a DLTensor describes. Errors: Q_ERR_UNSUPPORTED for memory that is not the CPU's, for other
/// types, for more than 6 dimensions, and for strides that go backwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_tensor_from_dlpack(dl: *const DlTensor, tensor: *mut Tensor) -> q_error_code {
    ffi!({
        args::pointer(dl, "dl")?;
        let dl = dl.read();
        let n = usize::try_from(dl.ndim).ok().filter(|&n| (1..=Q_MAX_DIMS).contains(&n));
        let Some(n) = n else { fail!(Unsupported, "{} dimensions: 1 to {Q_MAX_DIMS} are possible", dl.ndim) };
        let shape: &[i64] = args::slice(dl.shape, n, "shape")?;
        let strides = if dl.strides.is_null() { None } else { Some(args::slice(dl.strides, n, "strides")?) };
        let made = Tensor::from_dlpack(&dl, shape, strides)?;
        made.view("the tensor")?;
        args::put(tensor, made, "tensor")
    })
}
