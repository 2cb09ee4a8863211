//! Structs that grow: their first field says how much of them the host knows.

use super::args::{pointer, slice};
use crate::error::{Result, fail};

/// The largest struct any version may have: what is beyond is a size that was never set.
const MAX_SIZE: usize = 4096;

/// A struct of parameters.
///
/// # Safety
/// `repr(C)`, the first field is `size: u32`, the size is a multiple of 8 and so is the offset of every field that is
/// wider than 4 bytes, and all fields are integers, floats, raw pointers or optional functions.
pub unsafe trait Params: Copy {
    /// The struct's name in C.
    const NAME: &'static str;

    /// The defaults.
    fn defaults() -> Self;
}

/// A struct of results.
///
/// # Safety
/// As [`Params`].
pub unsafe trait Report: Copy {
    /// The struct's name in C.
    const NAME: &'static str;
}

fn check_size(name: &str, size: usize, hint: &str) -> Result<()> {
    if !(8..=MAX_SIZE).contains(&size) || !size.is_multiple_of(8) {
        fail!(Abi, "the size of {name} is {size}: {hint}");
    }
    Ok(())
}

/// The parameters at `ptr`: the defaults where it is NULL, or where the host's struct ends before a field.
///
/// # Safety
/// `ptr` is NULL or points to as many bytes as its first field says.
pub unsafe fn read<P: Params>(ptr: *const P) -> Result<P> {
    let mut params = P::defaults();
    if ptr.is_null() {
        return Ok(params);
    }
    pointer(ptr, P::NAME)?;
    // SAFETY: the first field of every struct of parameters.
    let size = unsafe { ptr.cast::<u32>().read() } as usize;
    check_size(P::NAME, size, "fill the struct with its init function first")?;
    // SAFETY: the caller's promise.
    let (known, tail) = unsafe { slice(ptr.cast::<u8>(), size, P::NAME) }?.split_at(size.min(size_of::<P>()));
    if tail.iter().any(|&b| b != 0) {
        fail!(Abi, "{} has fields that this version of the library does not know: leave them 0", P::NAME);
    }
    // SAFETY: a prefix of whole fields, each of which may have any bits (see `Params`).
    unsafe { (&raw mut params).cast::<u8>().copy_from_nonoverlapping(known.as_ptr(), known.len()) };
    Ok(params)
}

/// Fills the host's struct of `size` bytes with the defaults.
///
/// # Safety
/// `ptr` has `size` bytes.
pub unsafe fn init<P: Params>(ptr: *mut P, size: usize) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { copy_out(P::NAME, P::defaults(), ptr, size) }
}

/// Writes results to the host's struct of `size` bytes; what the host does not know is left out.
///
/// # Safety
/// `ptr` has `size` bytes.
pub unsafe fn report<R: Report>(value: R, ptr: *mut R, size: usize) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { copy_out(R::NAME, value, ptr, size) }
}

/// What [`report`] would refuse, before the work that makes the results.
#[cfg(any(feature = "train", feature = "qubo"))]
pub fn check_report<R: Report>(ptr: *const R, size: usize) -> Result<()> {
    pointer(ptr, R::NAME)?;
    check_size(R::NAME, size, "give sizeof of the struct")
}

unsafe fn copy_out<T: Copy>(name: &str, value: T, ptr: *mut T, size: usize) -> Result<()> {
    pointer(ptr, name)?;
    check_size(name, size, "give sizeof of the struct")?;
    let known = size.min(size_of::<T>());
    // SAFETY: `size` bytes by the caller's promise, of which the first are a prefix of `T`.
    unsafe {
        ptr.cast::<u8>().write_bytes(0, size);
        ptr.cast::<u8>().copy_from_nonoverlapping((&raw const value).cast::<u8>(), known);
        ptr.cast::<u32>().write(size as u32);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    #[derive(Clone, Copy, Debug, PartialEq)]
    #[repr(C)]
    struct P {
        size: u32,
        a: u32,
        b: u64,
    }

    // SAFETY: as the trait demands.
    unsafe impl Params for P {
        const NAME: &'static str = "P";

        fn defaults() -> P {
            P { size: 16, a: 1, b: 2 }
        }
    }

    #[repr(C, align(8))]
    struct Bytes([u8; 32]);

    fn read_words(words: &[u32]) -> Result<P> {
        let mut bytes = Bytes([0; 32]);
        bytes.0[..4 * words.len()].copy_from_slice(bytemuck::cast_slice(words));
        // SAFETY: 32 bytes, and the tests say at most that or are refused before.
        unsafe { read((&raw const bytes).cast::<P>()) }
    }

    #[test]
    fn structs_of_every_version_are_read() {
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { read(std::ptr::null::<P>()) }.unwrap(), P::defaults());
        assert_eq!(read_words(&[16, 5, 6, 0]).unwrap(), P { size: 16, a: 5, b: 6 });
        assert_eq!(read_words(&[8, 5, 6, 0]).unwrap(), P { size: 8, a: 5, b: 2 });
        assert_eq!(read_words(&[24, 5, 6, 0, 0, 0]).unwrap(), P { size: 24, a: 5, b: 6 });
        for words in [&[24, 5, 6, 0, 1][..], &[24, 5, 6, 0, 0, 1 << 31], &[0, 5, 6], &[12, 5, 6], &[4], &[u32::MAX]] {
            assert_eq!(read_words(words).unwrap_err().code(), Code::Abi, "{words:?}");
        }
    }

    #[test]
    fn no_byte_behind_the_hosts_struct_is_written() {
        let mut bytes = Bytes([0xaa; 32]);
        for (size, expected) in [(8, &[8u32, 1][..]), (16, &[16, 1, 2, 0]), (24, &[24, 1, 2, 0, 0, 0])] {
            bytes.0.fill(0xaa);
            // SAFETY: 32 bytes.
            unsafe { init((&raw mut bytes).cast::<P>(), size) }.unwrap();
            assert_eq!(&bytes.0[..size], bytemuck::cast_slice::<u32, u8>(expected));
            assert!(bytes.0[size..].iter().all(|&b| b == 0xaa));
        }
    }
}
