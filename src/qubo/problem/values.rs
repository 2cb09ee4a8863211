//! Couplings in the narrowest type that holds them: what a flip reads is what it costs.

use crate::error::{Result, fail};
use crate::memory::{ALIGN, Region};

/// The type couplings are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    I8,
    I16,
    I32,
    I64,
    F64,
}

impl Width {
    /// The narrowest for integers of at most that magnitude.
    pub fn of(max: u64) -> Width {
        match max {
            0..=0x7f => Width::I8,
            0x80..=0x7fff => Width::I16,
            0x8000..=0x7fff_ffff => Width::I32,
            _ => Width::I64,
        }
    }

    pub fn bytes(self) -> usize {
        match self {
            Width::I8 => 1,
            Width::I16 => 2,
            Width::I32 => 4,
            Width::I64 | Width::F64 => 8,
        }
    }
}

/// A fixed number of couplings of one type, aligned to [`ALIGN`], zero at first.
pub(crate) struct Values {
    pub width: Width,
    region: Region,
}

impl Values {
    /// Room for `len` of them. `OutOfMemory`.
    pub fn new(width: Width, len: usize) -> Result<Values> {
        let Some(bytes) = len.checked_mul(width.bytes()) else {
            fail!(OutOfMemory, "{len} couplings do not fit the address space")
        };
        Ok(Values { width, region: Region::new(bytes)? })
    }

    /// Bytes reserved.
    pub fn bytes(&self) -> usize {
        self.region.len()
    }

    /// All of them, of the type that `width` says.
    pub fn slice<T: bytemuck::Pod>(&self) -> &[T] {
        bytemuck::try_cast_slice(self.region.bytes()).unwrap_or(&[])
    }

    /// The same to be written.
    pub fn slice_mut<T: bytemuck::Pod>(&mut self) -> &mut [T] {
        bytemuck::try_cast_slice_mut(self.region.bytes_mut()).unwrap_or(&mut [])
    }

    /// Number `i` as an integer; 0 of floats.
    pub fn int(&self, i: usize) -> i64 {
        match self.width {
            Width::I8 => i64::from(self.slice::<i8>()[i]),
            Width::I16 => i64::from(self.slice::<i16>()[i]),
            Width::I32 => i64::from(self.slice::<i32>()[i]),
            Width::I64 => self.slice::<i64>()[i],
            Width::F64 => 0,
        }
    }

    /// Number `i` as a float.
    pub fn float(&self, i: usize) -> f64 {
        match self.width {
            Width::F64 => self.slice::<f64>()[i],
            _ => self.int(i) as f64,
        }
    }

    /// Stores integers from a place on, divided by `1 << shift`; they fit then.
    pub fn set_ints(&mut self, at: usize, row: &[i64], shift: u32) {
        match self.width {
            Width::I8 => each(&mut self.slice_mut::<i8>()[at..], row, |v| (v >> shift) as i8),
            Width::I16 => each(&mut self.slice_mut::<i16>()[at..], row, |v| (v >> shift) as i16),
            Width::I32 => each(&mut self.slice_mut::<i32>()[at..], row, |v| (v >> shift) as i32),
            Width::I64 => each(&mut self.slice_mut::<i64>()[at..], row, |v| v >> shift),
            Width::F64 => {}
        }
    }

    /// Stores floats from a place on, where floats are stored.
    pub fn set_floats(&mut self, at: usize, row: &[f64]) {
        if self.width == Width::F64 {
            self.slice_mut::<f64>()[at..at + row.len()].copy_from_slice(row);
        }
    }
}

fn each<T>(to: &mut [T], from: &[i64], of: impl Fn(i64) -> T) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = of(*from);
    }
}

/// Elements from one dense row to the next: whole cache lines, whatever the type.
pub(crate) fn stride(n: usize) -> usize {
    n.next_multiple_of(ALIGN)
}
