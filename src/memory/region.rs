//! One block of memory, reserved once, from which buffers are taken in stack order.
//!
//! A [`Region`] owns the bytes. A [`Frame`] hands out typed buffers from it and gives them back when it
//! goes out of scope, so buffers that are never live together share bytes. [`Need`] computes, from
//! shapes alone, how many bytes the same sequence of takes will use: the plan. The region keeps its
//! high-water mark, and tests hold the two equal.

use super::{ALIGN, align_up};
use crate::error::{Code, Error, Result, fail};
use bytemuck::Pod;
use memmap2::MmapMut;
use std::cell::Cell;

/// Zero-filled memory of fixed size, aligned to [`ALIGN`]; pages cost nothing until they are touched.
pub struct Region {
    map: Option<MmapMut>,
    high: usize,
}

impl Region {
    /// Reserves `bytes`. `OutOfMemory` when the system refuses.
    pub fn new(bytes: usize) -> Result<Region> {
        if bytes == 0 {
            return Ok(Region { map: None, high: 0 });
        }
        match MmapMut::map_anon(bytes) {
            Ok(map) => Ok(Region { map: Some(map), high: 0 }),
            Err(e) => fail!(OutOfMemory, "the system refused {bytes} bytes of working memory: {e}"),
        }
    }

    /// The same, asking for large pages: for memory that is used again and again, and as a whole.
    pub fn large(bytes: usize) -> Result<Region> {
        let region = Region::new(bytes)?;
        #[cfg(target_os = "linux")]
        if let Some(map) = &region.map {
            let _ = map.advise(memmap2::Advice::HugePage); // a hint
        }
        Ok(region)
    }

    /// All bytes of the region.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.map.as_deref_mut().unwrap_or(&mut [])
    }

    /// All bytes of the region, to read.
    pub fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.map.as_ref().map_or(0, |m| m.len())
    }

    /// Whether the region has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The greatest number of bytes that were in use at once through [`Region::with_frame`].
    pub fn high_water(&self) -> usize {
        self.high
    }

    /// Runs `f` with a frame over the whole region and records the high-water mark.
    pub fn with_frame<R>(&mut self, f: impl FnOnce(&mut Frame<'_>) -> R) -> R {
        let high = Cell::new(self.high);
        let rest = self.map.as_deref_mut().unwrap_or(&mut []);
        let result = f(&mut Frame { rest, used: 0, high: &high });
        self.high = high.get();
        result
    }
}

/// Buffers taken from a region in stack order. Their contents are whatever was there before.
pub struct Frame<'a> {
    rest: &'a mut [u8],
    used: usize,
    high: &'a Cell<usize>,
}

/// Runs `f` with a frame over memory of somebody else. What precedes its first multiple of [`ALIGN`] is left out.
pub fn with_bytes<R>(bytes: &mut [u8], f: impl FnOnce(&mut Frame<'_>) -> R) -> R {
    let skip = bytes.as_ptr().align_offset(ALIGN).min(bytes.len());
    f(&mut Frame { rest: &mut bytes[skip..], used: 0, high: &Cell::new(0) })
}

impl<'a> Frame<'a> {
    /// A buffer of `len` elements that lives as long as this frame's borrow.
    pub fn take<T: Pod>(&mut self, len: usize) -> Result<&'a mut [T]> {
        let bytes = len.checked_mul(size_of::<T>());
        let Some((bytes, padded)) = bytes.and_then(|b| Some((b, align_up(b)?))) else {
            fail!(OutOfMemory, "a buffer of {len} elements does not fit the address space");
        };
        if padded > self.rest.len() {
            fail!(Internal, "the plan was too small: {padded} bytes asked for, {} left", self.rest.len());
        }
        if bytes == 0 {
            return Ok(&mut []);
        }
        let (taken, rest) = std::mem::take(&mut self.rest).split_at_mut(padded);
        self.rest = rest;
        self.used += padded;
        self.high.set(self.high.get().max(self.used));
        bytemuck::try_cast_slice_mut(&mut taken[..bytes])
            .map_err(|_| Error::new(Code::Internal, "a region is not aligned for its elements"))
    }

    /// Counts `need` as used, without taking it: for steps whose size depends on data and may reach it another time.
    pub fn claim(&mut self, need: Need) -> Result<()> {
        if need.peak > self.rest.len() {
            fail!(Internal, "the plan was too small: {} bytes claimed, {} left", need.peak, self.rest.len());
        }
        self.high.set(self.high.get().max(self.used + need.peak));
        Ok(())
    }

    /// A frame on top of this one: what it takes is given back when it is dropped.
    pub fn sub(&mut self) -> Frame<'_> {
        Frame { rest: self.rest, used: self.used, high: self.high }
    }
}

/// The bytes a sequence of [`Frame::take`]s needs. Saturates: an impossible size is refused by the budget check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    now: usize,
    peak: usize,
}

impl Need {
    /// Nothing taken yet.
    pub fn new() -> Need {
        Need::default()
    }

    /// As [`Frame::take`] of `len` elements of `T`.
    #[must_use]
    pub fn take<T>(self, len: usize) -> Need {
        let bytes = len.checked_mul(size_of::<T>()).and_then(align_up).unwrap_or(usize::MAX);
        let now = self.now.saturating_add(bytes);
        Need { now, peak: self.peak.max(now) }
    }

    /// As a frame on top that needs `inner` and is dropped again.
    #[must_use]
    #[allow(clippy::should_implement_trait)] // named as what it is the need of, [`Frame::sub`]
    pub fn sub(self, inner: Need) -> Need {
        Need { now: self.now, peak: self.peak.max(self.now.saturating_add(inner.peak)) }
    }

    /// The greatest number of bytes in use at once.
    pub fn peak(self) -> usize {
        self.peak
    }
}

const _: () = assert!(ALIGN.is_power_of_two());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn need_equals_high_water() {
        let mut region = Region::new(4096).unwrap();
        region.with_frame(|f| {
            f.take::<f32>(3).unwrap();
            {
                let mut inner = f.sub();
                inner.take::<u8>(65).unwrap();
                inner.take::<f32>(16).unwrap();
            }
            f.sub().take::<u8>(1).unwrap();
            f.take::<u8>(1).unwrap();
        });
        let inner = Need::new().take::<u8>(65).take::<f32>(16);
        let need = Need::new().take::<f32>(3).sub(inner).sub(Need::new().take::<u8>(1)).take::<u8>(1);
        assert_eq!(region.high_water(), need.peak());
        assert_eq!(need.peak(), 64 + 128 + 64);
    }

    #[test]
    fn more_than_planned_is_an_error() {
        let mut region = Region::new(64).unwrap();
        region.with_frame(|f| {
            assert!(f.take::<f32>(16).is_ok());
            assert_eq!(f.take::<u8>(1).unwrap_err().code(), Code::Internal);
            assert_eq!(f.take::<f32>(usize::MAX).unwrap_err().code(), Code::OutOfMemory);
        });
        // Nothing can be had of nothing.
        Region::new(0).unwrap().with_frame(|f| assert!(f.take::<f32>(0).unwrap().is_empty()));
    }
}
