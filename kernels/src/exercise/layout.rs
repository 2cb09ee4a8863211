//! Where the arguments of an exercise lie.

use super::Shape;
use crate::attend::{ATTEND_BLOCK, AttendBlock};
use crate::panel_bytes;
use crate::table::{Entry, Func};
use core::ops::Range;

/// Bytes after each slice that nobody may touch.
const GUARD: usize = 64;
/// Columns of a product's output that are not part of it.
pub const MARGIN: usize = 3;

/// The columns that are.
pub fn margin(rows: usize) -> Range<usize> {
    1..1 + rows
}

/// Where the gradient of a loss goes, of the three ways that there are.
#[cfg(feature = "train")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Gradient {
    InPlace,
    Apart,
    None,
}

#[cfg(feature = "train")]
impl Gradient {
    /// In turn with the tokens of a shape, which a loss has no other use for.
    pub fn of(shape: &Shape) -> Gradient {
        [Gradient::None, Gradient::InPlace, Gradient::Apart][shape.tokens % 3]
    }
}

/// What a kernel does with a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
    Change,
    Scratch,
}

/// What a slice holds.
#[derive(Clone, Copy, Debug)]
pub enum Content {
    /// f32 between -limit and limit.
    Floats(f32),
    /// f32 that are positive.
    Positive,
    /// Greatest scores: every other one none yet.
    Maxima,
    /// Elements of the entry's type.
    Stored,
    /// Keys of the entry's type, in a block.
    Keys,
    /// For rows in turn the positions that they see: all of so many, or only some of them.
    Seen(usize, bool),
    /// Signed bytes, not -128.
    Quants,
    /// Any bytes.
    #[cfg(feature = "train")]
    Codes,
    /// i32 between -100 and 100.
    #[cfg(feature = "qubo")]
    Fields,
    /// i32 of 0 or -1.
    #[cfg(feature = "qubo")]
    Masks,
    /// Any bytes.
    #[cfg(feature = "qubo")]
    Any,
    /// Sums of sixteen of those.
    QuantSums,
    /// Nothing: poison.
    Empty,
}

/// One argument.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    pub access: Access,
    pub content: Content,
    pub index: usize,
    pub at: usize,
    pub bytes: usize,
}

/// All arguments of an entry, in their order.
pub struct Layout {
    slots: [Option<Slot>; 8],
    skew: usize,
    end: usize,
}

impl Layout {
    /// The arguments of `entry` at a shape that fits.
    pub fn new(entry: &Entry, shape: &Shape) -> Layout {
        use Access::{Change, Read, Scratch, Write};
        use Content::{Empty, Floats, Maxima, Positive, QuantSums, Quants, Stored};
        let Shape { k, rows, tokens, skew, .. } = *shape;
        let row = entry.ty.row_bytes(k).unwrap_or(0);
        let vector = 4 * k;
        let (unit, wide) = (Floats(1.0), Floats(4.0));
        let mut l = Layout { slots: [None; 8], skew, end: 0 };
        match entry.func {
            Func::MatmulQ8(_) => {
                l.bytes_of(Read, Stored, row * rows);
                l.bytes_of(Read, Quants, k * tokens);
                l.put(Read, Positive, k / 32 * 4 * tokens, 4);
                l.put(Read, QuantSums, k / 16 * 2 * tokens, 2);
                l.put(Write, Empty, (rows + MARGIN) * tokens * 4, 4);
                l.bytes_of(Scratch, Empty, panel_bytes(k));
            }
            Func::MatmulF32(_) => {
                l.bytes_of(Read, Stored, row * rows);
                l.put(Read, unit, vector * tokens, 4);
                l.put(Write, Empty, (rows + MARGIN) * tokens * 4, 4);
            }
            Func::QuantizeAct(_) => {
                l.put(Read, wide, vector, 4);
                l.bytes_of(Write, Empty, k);
                l.put(Write, Empty, k / 32 * 4, 4);
                l.put(Write, Empty, k / 16 * 2, 2);
            }
            Func::Dequantize(_) => {
                l.bytes_of(Read, Stored, row);
                l.put(Write, Empty, vector, 4);
            }
            Func::Quantize(_) => {
                l.put(Read, unit, vector, 4);
                l.bytes_of(Write, Empty, row);
            }
            Func::RmsNorm(_) => {
                l.floats(Read, &[wide, unit], vector);
                l.floats(Write, &[Empty], vector);
            }
            Func::LayerNorm(_) => {
                l.floats(Read, &[wide, unit, unit], vector);
                l.floats(Write, &[Empty], vector);
            }
            Func::Unary(_) | Func::Scaled(_) => l.floats(Change, &[wide], vector),
            Func::Binary(_) | Func::Axpy(_) => {
                l.floats(Change, &[wide], vector);
                l.floats(Read, &[unit], vector);
            }
            Func::Dot(_) => {
                l.floats(Read, &[unit, unit], vector);
                l.floats(Write, &[Empty], 4);
            }
            Func::Rope(_) => {
                l.floats(Change, &[wide], vector);
                l.floats(Read, &[unit, unit], 4 * if shape.other { k / 4 } else { k / 2 });
            }
            Func::Attend(_) => {
                l.floats(Read, &[wide], vector * tokens);
                l.bytes_of(Read, Content::Keys, row * ATTEND_BLOCK);
                l.bytes_of(Read, Stored, row * rows);
                l.bytes_of(Read, Content::Seen(rows, shape.other), 2 * shape.attend_rows());
                l.floats(Scratch, &[Empty], 4 * AttendBlock::scratch(k));
                l.floats(Change, &[Maxima, Positive], 4 * tokens);
                l.floats(Change, &[unit], vector * tokens);
            }
            #[cfg(feature = "train")]
            Func::Gemm(_) => {
                l.floats(Read, &[unit], vector * tokens);
                l.floats(Read, &[unit], vector * rows);
                let (access, content) = if shape.other { (Change, unit) } else { (Write, Empty) };
                l.floats(access, &[content], (rows + MARGIN) * tokens * 4);
                l.floats(Scratch, &[Empty], 4 * crate::gemm::SCRATCH);
            }
            Func::AttendMerge(_) => {
                l.floats(Change, &[Maxima, Positive], 4 * tokens);
                l.floats(Change, &[unit], vector * tokens);
                l.floats(Read, &[unit, Positive], 4 * tokens);
                l.floats(Read, &[unit], vector * tokens);
            }
            #[cfg(feature = "train")]
            Func::Reduce(_) => {
                l.floats(Read, &[wide], vector);
                l.floats(Write, &[Empty], 4);
            }
            #[cfg(feature = "train")]
            Func::Clamp(_) => l.floats(Change, &[wide], vector),
            #[cfg(feature = "train")]
            Func::MseGrad(_) => {
                l.floats(Read, &[wide, unit], vector);
                l.floats(Write, &[Empty], vector);
            }
            #[cfg(feature = "train")]
            Func::CrossEntropy(_) => {
                let gradient = Gradient::of(shape);
                l.floats(if gradient == Gradient::InPlace { Change } else { Read }, &[wide], vector);
                l.floats(Write, &[Empty], if gradient == Gradient::Apart { vector } else { 0 });
                l.floats(Read, &[Positive], if shape.other { vector } else { 0 });
                l.floats(Write, &[Empty], 8);
            }
            #[cfg(feature = "train")]
            Func::Sgd(_) => {
                l.floats(Change, &[wide, unit], vector);
                l.floats(Change, &[unit], if shape.other { 0 } else { vector });
            }
            #[cfg(feature = "train")]
            Func::Adam(_) => l.floats(Change, &[wide, unit, unit, Positive], vector),
            #[cfg(feature = "train")]
            Func::Adam8(_) => {
                l.floats(Change, &[wide, unit], vector);
                l.bytes_of(Change, Content::Codes, k);
                l.bytes_of(Change, Content::Codes, k);
                l.floats(Change, &[Positive], 8 * k.div_ceil(crate::dynamic::BLOCK));
            }
            #[cfg(feature = "train")]
            Func::RmsNormBackward(_) => {
                l.floats(Read, &[wide, unit, unit], vector);
                l.floats(Write, &[Empty], vector);
                l.floats(Change, &[unit], vector);
            }
            #[cfg(feature = "train")]
            Func::LayerNormBackward(_) => {
                l.floats(Read, &[wide, unit, unit], vector);
                l.floats(Write, &[Empty], vector);
                l.floats(Change, &[unit, unit], vector);
            }
            #[cfg(feature = "qubo")]
            Func::NextFlip(_) => {
                l.floats(Read, &[Content::Fields, Content::Masks, unit], vector);
                l.put(Write, Empty, 32, 4);
            }
            #[cfg(feature = "qubo")]
            Func::BestFlip(_) => {
                l.floats(Read, &[Content::Fields, Content::Masks, Content::Fields], vector);
                l.put(Write, Empty, 16, 4);
            }
            #[cfg(feature = "qubo")]
            Func::AddRow(_) => {
                l.floats(Change, &[Content::Fields], vector);
                l.bytes_of(Read, Content::Any, row);
            }
            #[cfg(feature = "qubo")]
            Func::RotateNear(_) => l.floats(Change, &[unit, unit], vector),
            #[cfg(feature = "qubo")]
            Func::RotateFar(_) => l.floats(Change, &[unit, unit, unit, unit], vector),
            #[cfg(feature = "qubo")]
            Func::Phase(_) => {
                l.floats(Change, &[unit, unit], vector);
                l.floats(Read, &[wide], vector);
            }
            #[cfg(feature = "train")]
            Func::GatedBackward(_) => l.floats(Change, &[wide, unit, unit], vector),
        }
        l
    }

    /// Slices of f32, all of `bytes` bytes.
    fn floats(&mut self, access: Access, contents: &[Content], bytes: usize) {
        for content in contents {
            self.put(access, *content, bytes, 4);
        }
    }

    /// A slice of bytes.
    fn bytes_of(&mut self, access: Access, content: Content, bytes: usize) {
        self.put(access, content, bytes, 1);
    }

    /// A slice of elements of `size` bytes.
    fn put(&mut self, access: Access, content: Content, bytes: usize, size: usize) {
        let at = self.end.next_multiple_of(64) + self.skew * size;
        self.end = at + bytes + GUARD;
        if let Some(index) = self.slots.iter().position(Option::is_none) {
            self.slots[index] = Some(Slot { access, content, index, at, bytes });
        }
    }

    fn slots(&self) -> impl Iterator<Item = Slot> {
        self.slots.into_iter().flatten()
    }

    /// Bytes of all arguments and guards.
    pub fn bytes(&self) -> usize {
        self.end
    }

    /// Whether a run changes what the next one reads.
    pub fn changes(&self) -> bool {
        self.slots().any(|slot| slot.access == Access::Change)
    }

    /// Bytes that a run reads and writes.
    pub fn bytes_moved(&self) -> u64 {
        let times = |access| match access {
            Access::Read | Access::Write => 1,
            Access::Change => 2,
            Access::Scratch => 0,
        };
        self.slots().map(|slot| slot.bytes as u64 * times(slot.access)).sum()
    }

    /// The slices themselves.
    pub fn split<'m>(&self, memory: &'m mut [u8]) -> impl Iterator<Item = (Slot, &'m mut [u8])> + use<'m> {
        let (mut rest, mut start) = (memory, 0);
        self.slots.into_iter().flatten().map(move |slot| {
            let (bytes, after) = core::mem::take(&mut rest)[slot.at - start..].split_at_mut(slot.bytes);
            (rest, start) = (after, slot.at + slot.bytes);
            (slot, bytes)
        })
    }
}
