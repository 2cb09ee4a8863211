//! Pointers of the caller, checked before they are used: NULL, alignment, lengths, UTF-8.

use crate::error::{Result, fail};
use std::ffi::c_char;
use std::path::Path;

/// The number of a `q_optimizer_type`, as the header writes it: a host may pass any.
#[cfg(feature = "train")]
pub type OptimizerType = u32;

/// `InvalidArgument` unless `ptr` may point to a `T`.
pub fn pointer<T>(ptr: *const T, name: &str) -> Result<()> {
    if ptr.is_null() {
        fail!(InvalidArgument, "{name} is NULL");
    }
    if !ptr.is_aligned() {
        fail!(InvalidArgument, "{name} is at {ptr:p}, not at a multiple of {}", align_of::<T>());
    }
    Ok(())
}

fn array<T>(ptr: *const T, len: usize, name: &str) -> Result<()> {
    pointer(ptr, name)?;
    if len.checked_mul(size_of::<T>()).is_none_or(|bytes| bytes > isize::MAX as usize) {
        fail!(InvalidArgument, "{name} cannot have {len} elements");
    }
    Ok(())
}

/// The `len` elements at `ptr`, which may be NULL when there are none.
///
/// # Safety
/// They are there, and nobody writes to them as long as `'a` lasts.
pub unsafe fn slice<'a, T>(ptr: *const T, len: usize, name: &str) -> Result<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    array(ptr, len, name)?;
    // SAFETY: checked above; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(ptr, len) })
}

/// As [`slice`], to write.
///
/// # Safety
/// They are there, and nobody else uses them as long as `'a` lasts.
pub unsafe fn slice_mut<'a, T>(ptr: *mut T, len: usize, name: &str) -> Result<&'a mut [T]> {
    if len == 0 {
        return Ok(&mut []);
    }
    array(ptr, len, name)?;
    // SAFETY: checked above; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts_mut(ptr, len) })
}

/// Text of `len` bytes.
///
/// # Safety
/// As [`slice`].
pub unsafe fn text<'a>(ptr: *const c_char, len: usize, name: &str) -> Result<&'a str> {
    // SAFETY: the caller's promise.
    match str::from_utf8(unsafe { slice(ptr.cast::<u8>(), len, name) }?) {
        Ok(text) => Ok(text),
        Err(e) => fail!(InvalidArgument, "{name} is not UTF-8 from byte {} on", e.valid_up_to()),
    }
}

/// A path of `len` bytes.
///
/// # Safety
/// As [`slice`].
pub unsafe fn path<'a>(ptr: *const c_char, len: usize, name: &str) -> Result<&'a Path> {
    // SAFETY: the caller's promise.
    let bytes: &[u8] = unsafe { slice(ptr.cast::<u8>(), len, name) }?;
    if bytes.is_empty() {
        fail!(InvalidArgument, "{name} is empty");
    }
    if bytes.contains(&0) {
        fail!(InvalidArgument, "{name} has a NUL among its {len} bytes: give the length without the terminating one");
    }
    #[cfg(unix)]
    return Ok(Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes)));
    #[cfg(not(unix))]
    // SAFETY: the caller's promise.
    return unsafe { text(ptr, len, name) }.map(Path::new);
}

/// Writes `value` to `out`.
///
/// # Safety
/// `out` may be written.
pub unsafe fn put<T>(out: *mut T, value: T, name: &str) -> Result<()> {
    pointer(out, name)?;
    // SAFETY: checked above; the rest is the caller's promise.
    unsafe { out.write(value) };
    Ok(())
}

/// Says the need, and whether `cap` meets it.
///
/// # Safety
/// `needed` is NULL or may be written.
pub unsafe fn room(need: usize, cap: usize, needed: *mut usize, unit: &str) -> Result<()> {
    if !needed.is_null() {
        // SAFETY: the caller's promise.
        unsafe { put(needed, need, "needed") }?;
    }
    if need > cap {
        fail!(BufferTooSmall, "the buffer has room for {cap} {unit}, {need} are needed");
    }
    Ok(())
}

/// Copies `from` to a buffer of `cap` elements, and says how many there are.
///
/// # Safety
/// `out` has room for `cap` elements; `needed` is NULL or may be written.
pub unsafe fn give<T: Copy>(from: &[T], out: *mut T, cap: usize, needed: *mut usize, unit: &str) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe {
        room(from.len(), cap, needed, unit)?;
        slice_mut(out, from.len(), "the buffer")?.copy_from_slice(from);
    }
    Ok(())
}
