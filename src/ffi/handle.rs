//! What stands behind an opaque type: a value, with a tag that tells it from others and a state that tells whether a
//! call is using it.
//!
//! A value is used either by one call at a time ([`exclusive`]) or by any number at once ([`shared`]). Two calls that
//! would use one exclusively at once, from two threads or from a callback, are an error of state instead of a race.
//! After a panic inside a call the handle is poisoned and can only be freed.

use super::args::{pointer, put};
use crate::error::{Result, fail};
use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::panicking;

/// An opaque type of the header.
pub(super) trait Opaque {
    /// What it holds.
    type Value;
    /// What may be touched while a call is using the value: `()`, or a flag to cancel.
    type Side;
    /// Its name in C.
    const NAME: &'static str;
}

const IDLE: u32 = 0;
const BUSY: u32 = 1;
const POISONED: u32 = 2;

#[repr(C)]
struct Slot<O: Opaque> {
    tag: u64,
    state: AtomicU32,
    side: O::Side,
    value: UnsafeCell<O::Value>,
}

/// FNV-1a of the name: two types do not share one.
const fn tag<O: Opaque>() -> u64 {
    let (name, mut hash, mut i) = (O::NAME.as_bytes(), 0xcbf2_9ce4_8422_2325u64, 0);
    while i < name.len() {
        hash = (hash ^ name[i] as u64).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    hash
}

/// Makes a handle and hands it out. Check `out` before the work that makes the value: see [`check_out`].
///
/// # Safety
/// `out` may be written.
pub(super) unsafe fn create<O: Opaque>(value: O::Value, side: O::Side, out: *mut *mut O) -> Result<()>
where
    O::Value: Send, // the host may use it from another thread
{
    let slot = Slot::<O> { tag: tag::<O>(), state: AtomicU32::new(IDLE), side, value: UnsafeCell::new(value) };
    check_out(out)?;
    // SAFETY: checked; the rest is the caller's promise.
    unsafe { put(out, Box::into_raw(Box::new(slot)).cast::<O>(), O::NAME) }
}

/// `InvalidArgument` unless a handle can be written to `out`.
pub(super) fn check_out<O: Opaque>(out: *mut *mut O) -> Result<()> {
    pointer(out, "the place for the result")
}

unsafe fn slot<'a, O: Opaque>(ptr: *const O) -> Result<&'a Slot<O>> {
    let ptr = ptr.cast::<Slot<O>>();
    pointer(ptr, O::NAME)?;
    // SAFETY: a handle of this library that is alive, by the caller's word; its first field is its tag, whatever its type.
    if unsafe { ptr.cast::<u64>().read() } != tag::<O>() {
        fail!(InvalidArgument, "this is not a {}, or it was freed", O::NAME);
    }
    // SAFETY: the tag says that it is one.
    Ok(unsafe { &*ptr })
}

fn poisoned<T>(name: &str) -> Result<T> {
    fail!(State, "a defect inside an earlier call poisoned this {name}: it can only be freed")
}

/// The value of a handle, for this call alone.
pub(super) struct Exclusive<'a, O: Opaque> {
    slot: &'a Slot<O>,
    panicking: bool,
}

/// The value of a handle, for any number of calls at once.
pub(super) struct Shared<'a, O: Opaque> {
    slot: &'a Slot<O>,
    panicking: bool,
}

/// Takes the handle for this call.
///
/// # Safety
/// `ptr` is NULL or a living handle of this library.
pub(super) unsafe fn exclusive<'a, O: Opaque>(ptr: *const O) -> Result<Exclusive<'a, O>> {
    // SAFETY: the caller's promise.
    let slot = unsafe { slot(ptr) }?;
    match slot.state.compare_exchange(IDLE, BUSY, Ordering::Acquire, Ordering::Relaxed) {
        Ok(_) => Ok(Exclusive { slot, panicking: panicking() }),
        Err(POISONED) => poisoned(O::NAME),
        Err(_) => fail!(State, "another call is using this {}: one at a time, and none from its callbacks", O::NAME),
    }
}

/// Reads the handle.
///
/// # Safety
/// As [`exclusive`], and `O` is never taken exclusively.
pub(super) unsafe fn shared<'a, O: Opaque>(ptr: *const O) -> Result<Shared<'a, O>>
where
    O::Value: Sync,
{
    // SAFETY: the caller's promise.
    let slot = unsafe { slot(ptr) }?;
    match slot.state.load(Ordering::Acquire) {
        POISONED => poisoned(O::NAME),
        _ => Ok(Shared { slot, panicking: panicking() }),
    }
}

/// What may be touched while a call is using the value.
///
/// # Safety
/// As [`exclusive`].
pub(super) unsafe fn side<'a, O: Opaque + 'a>(ptr: *const O) -> Result<&'a O::Side> {
    // SAFETY: the caller's promise.
    Ok(&unsafe { slot(ptr) }?.side)
}

/// Frees a handle; NULL is nothing. One that a call is using, or that is none, stays, and the thread's message says so.
///
/// # Safety
/// As [`exclusive`]; nobody uses it afterwards.
pub(super) unsafe fn free<O: Opaque>(ptr: *mut O) {
    if ptr.is_null() {
        return;
    }
    super::boundary::call(|| {
        // SAFETY: the caller's promise.
        let found = unsafe { slot(ptr) }?;
        if found.state.swap(BUSY, Ordering::Acquire) == BUSY {
            fail!(State, "a call is using this {}: it was not freed", O::NAME);
        }
        let ptr = ptr.cast::<Slot<O>>();
        // SAFETY: it came from a box in `create`; no call uses it, and the caller will not either.
        unsafe {
            (*ptr).tag = 0;
            drop(Box::from_raw(ptr));
        }
        Ok(())
    });
}

impl<O: Opaque> Deref for Exclusive<'_, O> {
    type Target = O::Value;

    fn deref(&self) -> &O::Value {
        // SAFETY: this call holds the handle alone.
        unsafe { &*self.slot.value.get() }
    }
}

impl<O: Opaque> DerefMut for Exclusive<'_, O> {
    fn deref_mut(&mut self) -> &mut O::Value {
        // SAFETY: this call holds the handle alone.
        unsafe { &mut *self.slot.value.get() }
    }
}

impl<O: Opaque> Drop for Exclusive<'_, O> {
    fn drop(&mut self) {
        let state = if panicking() && !self.panicking { POISONED } else { IDLE };
        self.slot.state.store(state, Ordering::Release);
    }
}

impl<O: Opaque> Deref for Shared<'_, O> {
    type Target = O::Value;

    fn deref(&self) -> &O::Value {
        // SAFETY: nobody takes handles of this type exclusively.
        unsafe { &*self.slot.value.get() }
    }
}

impl<O: Opaque> Drop for Shared<'_, O> {
    fn drop(&mut self) {
        if panicking() && !self.panicking {
            self.slot.state.store(POISONED, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::boundary::call;
    use crate::ffi::error::q_error_code::*;

    struct One {
        _opaque: [u8; 0],
    }

    impl Opaque for One {
        type Value = u32;
        type Side = ();
        const NAME: &'static str = "one";
    }

    struct Other {
        _opaque: [u8; 0],
    }

    impl Opaque for Other {
        type Value = u32;
        type Side = ();
        const NAME: &'static str = "other";
    }

    #[test]
    fn misuse_is_an_error_of_state() {
        let mut one: *mut One = std::ptr::null_mut();
        // SAFETY: handles of this test, used as the functions demand.
        unsafe {
            assert!(exclusive(one).is_err());
            create::<One>(7, (), &mut one).unwrap();
            assert!(exclusive(one.cast::<Other>()).is_err());
            {
                let held = exclusive(one).unwrap();
                assert_eq!(*held, 7);
                assert!(exclusive(one).is_err());
                free(one);
                assert_eq!(*held, 7);
            }
            *exclusive(one).unwrap() += 1;
            let code = call(|| {
                let _held = exclusive(one)?;
                panic!("a defect")
            });
            assert_eq!(code, Q_ERR_INTERNAL);
            assert_eq!(call(|| exclusive(one).map(drop)), Q_ERR_STATE);
            free(one);
        }
    }
}
