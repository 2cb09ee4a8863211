//! The moments of an optimizer: where they lie in its memory, a step on a part of them, and a copy of one tensor's.

use super::method::{Method, Step};
use super::slots::UNIT;
use crate::error::{Result, fail};
use crate::memory::{Frame, Need};
use crate::threads::Shards;
use qorus_kernels::Kernels;
use qorus_kernels::dynamic::{self, BLOCK};
use std::ops::Range;

/// Bytes of the moments of so many elements.
pub(super) fn need(method: &Method, n: usize) -> Need {
    let need = Need::new();
    match *method {
        Method::Sgd { momentum, .. } => need.take::<f32>(if momentum > 0.0 { n } else { 0 }),
        Method::Adam(_) | Method::AdamW(_) => need.take::<f32>(n).take::<f32>(n),
        Method::AdamW8(_) => need.take::<u8>(n).take::<u8>(n).take::<f32>(n / BLOCK * 2),
    }
}

/// The moments, to be written in disjoint parts.
pub(super) enum Moments<'a> {
    None,
    One(Shards<'a, f32>),
    Two(Shards<'a, f32>, Shards<'a, f32>),
    Codes(Shards<'a, u8>, Shards<'a, u8>, Shards<'a, f32>),
}

impl<'a> Moments<'a> {
    /// As [`need`] has it.
    pub fn take(frame: &mut Frame<'a>, method: &Method, n: usize) -> Result<Moments<'a>> {
        Ok(match *method {
            Method::Sgd { momentum, .. } if momentum > 0.0 => Moments::One(Shards::new(frame.take(n)?)),
            Method::Sgd { .. } => Moments::None,
            Method::Adam(_) | Method::AdamW(_) => {
                Moments::Two(Shards::new(frame.take(n)?), Shards::new(frame.take(n)?))
            }
            Method::AdamW8(_) => {
                let (m, v) = (Shards::new(frame.take(n)?), Shards::new(frame.take(n)?));
                Moments::Codes(m, v, Shards::new(frame.take(n / BLOCK * 2)?))
            }
        })
    }

    /// Applies a step to the elements `at`, which begin at a whole block.
    ///
    /// # Safety
    /// Ranges in use at the same time must be disjoint.
    pub unsafe fn apply(&self, kernels: &Kernels, step: &Step, w: &mut [f32], g: &mut [f32], at: Range<usize>) {
        // SAFETY: the caller's promise; blocks belong to the range that holds their first element.
        unsafe {
            match (self, step) {
                (Moments::None, Step::Sgd(step)) => kernels.sgd(w, g, &mut [], step),
                (Moments::One(b), Step::Sgd(step)) => kernels.sgd(w, g, b.part(at), step),
                (Moments::Two(m, v), Step::Adam(step)) => kernels.adam(w, g, m.part(at.clone()), v.part(at), step),
                (Moments::Codes(m, v, scales), Step::Adam(step)) => {
                    let scales = scales.part(blocks(&at));
                    kernels.adam8(w, g, (m.part(at.clone()), v.part(at), scales), step);
                }
                (Moments::None | Moments::One(_), Step::Adam(_))
                | (Moments::Two(..) | Moments::Codes(..), Step::Sgd(_)) => {
                    unreachable!("the moments are those of the method")
                }
            }
        }
    }

    /// How many moments an element has.
    fn count(&self) -> usize {
        match self {
            Moments::None => 0,
            Moments::One(_) => 1,
            Moments::Two(..) | Moments::Codes(..) => 2,
        }
    }

    /// The `number`-th moment of the elements `at`, a tensor, to `out`.
    pub fn read(&mut self, number: usize, at: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.check(number)?;
        // SAFETY: this call alone uses them.
        unsafe {
            match self {
                Moments::None => {}
                Moments::One(b) => out.copy_from_slice(b.part(at)),
                Moments::Two(m, v) => out.copy_from_slice(if number == 0 { m.part(at) } else { v.part(at) }),
                Moments::Codes(m, v, scales) => {
                    let scales = scales.part(blocks(&at));
                    let (codes, map) = if number == 0 { (m, &dynamic::SIGNED) } else { (v, &dynamic::UNSIGNED) };
                    for (i, (x, code)) in out.iter_mut().zip(codes.part(at)).enumerate() {
                        *x = map[*code as usize] * scales[i / BLOCK * 2 + number];
                    }
                }
            }
        }
        Ok(())
    }

    /// Replaces the `number`-th moment of the elements `at`, a tensor. Those of 8 bits are rounded to their codes.
    pub fn write(&mut self, number: usize, at: Range<usize>, from: &[f32]) -> Result<()> {
        self.check(number)?;
        // SAFETY: this call alone uses them.
        unsafe {
            match self {
                Moments::None => {}
                Moments::One(b) => b.part(at).copy_from_slice(from),
                Moments::Two(m, v) => if number == 0 { m.part(at) } else { v.part(at) }.copy_from_slice(from),
                Moments::Codes(m, v, scales) => {
                    let scales = scales.part(blocks(&at));
                    let codes = if number == 0 { m.part(at) } else { v.part(at) };
                    for (i, (codes, from)) in codes.chunks_mut(BLOCK).zip(from.chunks(BLOCK)).enumerate() {
                        let greatest = from.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
                        let inverse = dynamic::inverse(greatest);
                        scales[2 * i + number] = greatest;
                        for (code, x) in codes.iter_mut().zip(from) {
                            let x = x * inverse;
                            *code = if number == 0 { dynamic::encode_signed(x) } else { dynamic::encode_unsigned(x) };
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn check(&self, number: usize) -> Result<()> {
        let count = self.count();
        if number >= count {
            fail!(
                State,
                "this method keeps {count} moments of an element, and no {}",
                ["first", "second"][number.min(1)]
            );
        }
        Ok(())
    }
}

/// The scales of the elements `at`, which begin at a whole block.
fn blocks(at: &Range<usize>) -> Range<usize> {
    at.start / BLOCK * 2..at.end.div_ceil(BLOCK) * 2
}

const _: () = assert!(UNIT.is_multiple_of(BLOCK) && super::slots::CHUNK.is_multiple_of(UNIT));
