//! Tensors whose numbers were checked and whose memory is there: rows at addresses.

use super::{Q_TENSOR_READONLY, Tensor};
use crate::error::{Result, fail};
use qorus_kernels::Type;
use std::marker::PhantomData;

/// A tensor to read: `rows()` rows of `width()` elements.
///
/// Rows are handed out as pointers, since the one that is written may be the very row that is read.
#[derive(Clone, Copy)]
pub struct View<'a> {
    tensor: Tensor,
    ty: Type,
    life: PhantomData<&'a u8>,
}

/// A tensor to write; no two of its rows share a byte.
#[derive(Clone, Copy)]
pub struct ViewMut<'a> {
    view: View<'a>,
}

// SAFETY: a view is numbers and a pointer; who made it vouched for the memory, and what writes checks that threads
// write different rows.
unsafe impl Send for View<'_> {}
// SAFETY: as above.
unsafe impl Sync for View<'_> {}
// SAFETY: as above.
unsafe impl Send for ViewMut<'_> {}
// SAFETY: as above.
unsafe impl Sync for ViewMut<'_> {}

impl Tensor {
    /// The tensor to read. `Shape` for numbers that make no tensor; `InvalidArgument` for a pointer that is NULL or not
    /// aligned to the elements. `name` is for the message.
    ///
    /// # Safety
    /// The elements are there, and nobody else writes them during `'a`.
    pub unsafe fn view<'a>(&self, name: &str) -> Result<View<'a>> {
        let ty = self.check().map_err(|e| e.context(name))?;
        let dims = self.dims();
        let (width, stride) = (dims[dims.len() - 1], self.strides[dims.len() - 1]);
        // The span from the first byte to behind the last one.
        let row = usize::try_from(width).ok().and_then(|w| ty.row_bytes(w));
        let Some(mut span) = row else {
            fail!(Shape, "{name}: rows of {width} elements are no whole blocks of {}", ty.name())
        };
        if ty.block_len() > 1 {
            if stride != ty.block_bytes() as u64 {
                fail!(Shape, "{name}: blocks of {} are {stride} bytes apart, not {}", ty.name(), ty.block_bytes());
            }
        } else {
            let far = (width.max(1) - 1).checked_mul(stride).and_then(|far| far.checked_add(ty.block_bytes() as u64));
            span = far.and_then(|far| usize::try_from(far).ok()).unwrap_or(usize::MAX);
        }
        let outer = dims.iter().zip(self.strides).take(dims.len() - 1);
        for (&dim, stride) in outer.clone() {
            let more = (dim.max(1) - 1).checked_mul(stride).and_then(|more| usize::try_from(more).ok());
            span = more.and_then(|more| span.checked_add(more)).unwrap_or(usize::MAX);
        }
        let rows = outer.clone().try_fold(1usize, |n, (&dim, _)| n.checked_mul(usize::try_from(dim).ok()?));
        let (Some(rows), true) = (rows, span <= isize::MAX as usize) else {
            fail!(Shape, "{name}: a tensor of {dims:?} elements with these strides does not fit the address space")
        };
        if rows > 0 && width > 0 {
            if self.data.is_null() {
                fail!(InvalidArgument, "{name}: the tensor's data is NULL");
            }
            let align = if ty.block_len() > 1 { 1 } else { ty.block_bytes() };
            let uneven = |n: usize| !n.is_multiple_of(align);
            if uneven(self.data as usize) || self.strides.iter().take(dims.len()).any(|&s| uneven(s as usize)) {
                fail!(InvalidArgument, "{name}: elements of {} lie at no multiple of {align}", ty.name());
            }
        }
        Ok(View { tensor: *self, ty, life: PhantomData })
    }

    /// The tensor to write. Errors: as [`Tensor::view`]; `InvalidArgument` for a read-only one, `Shape` when its rows
    /// overlap.
    ///
    /// # Safety
    /// The elements are there, and nobody else uses them during `'a`, but for views of the same call.
    pub unsafe fn view_mut<'a>(&self, name: &str) -> Result<ViewMut<'a>> {
        // SAFETY: the caller's promise.
        let view = unsafe { self.view(name) }?;
        if self.flags & Q_TENSOR_READONLY != 0 {
            fail!(InvalidArgument, "{name}: the tensor is read-only");
        }
        // Dimensions by stride: each must step over all that the smaller ones reach.
        let mut order = [0, 1, 2, 3, 4, 5];
        let order = &mut order[..self.dims().len()];
        order.sort_unstable_by_key(|&i| self.strides[i]);
        let last = order.len() - 1;
        let mut reach = view.ty.block_bytes() as u64;
        for &i in order.iter() {
            let steps = if i == last { self.dims[i] / view.ty.block_len() as u64 } else { self.dims[i] };
            if steps > 1 {
                if self.strides[i] < reach {
                    fail!(Shape, "{name}: elements of the tensor share memory, so it cannot be written");
                }
                reach = reach.saturating_add((steps - 1).saturating_mul(self.strides[i]));
            }
        }
        Ok(ViewMut { view })
    }
}

impl<'a> View<'a> {
    /// The type.
    pub fn ty(&self) -> Type {
        self.ty
    }

    /// The dimensions.
    pub fn dims(&self) -> &[u64] {
        self.tensor.dims()
    }

    /// Elements of a row.
    pub fn width(&self) -> usize {
        self.dims()[self.dims().len() - 1] as usize
    }

    /// Rows: the product of all dimensions but the last.
    pub fn rows(&self) -> usize {
        self.dims()[..self.dims().len() - 1].iter().map(|&dim| dim as usize).product()
    }

    /// Whether the elements of a row lie one after another.
    pub fn rows_are_dense(&self) -> bool {
        self.width() <= 1 || self.stride() == self.ty.block_bytes()
    }

    /// Bytes between the elements (or blocks) of a row.
    pub fn stride(&self) -> usize {
        self.tensor.strides[self.dims().len() - 1] as usize
    }

    /// Bytes of a dense row.
    pub fn row_bytes(&self) -> usize {
        self.ty.row_bytes(self.width()).unwrap_or(0)
    }

    /// The first element of row `row`.
    pub fn row(&self, row: usize) -> *const u8 {
        let (mut rest, mut offset) = (row, 0);
        let outer = self.dims().len() - 1;
        for i in (0..outer).rev() {
            let dim = (self.tensor.dims[i] as usize).max(1);
            offset += rest % dim * self.tensor.strides[i] as usize;
            rest /= dim;
        }
        self.tensor.data.cast::<u8>().cast_const().wrapping_add(offset)
    }

    /// All bytes of a dense tensor; `Shape` for another.
    pub fn bytes(&self, name: &str) -> Result<&'a [u8]> {
        let len = self.dense_bytes(name)?;
        if len == 0 {
            return Ok(&[]);
        }
        // SAFETY: the elements are there, by the word of who made the view.
        Ok(unsafe { std::slice::from_raw_parts(self.tensor.data.cast::<u8>(), len) })
    }

    fn dense_bytes(&self, name: &str) -> Result<usize> {
        if !self.tensor.is_dense() {
            fail!(Shape, "{name}: the tensor is not dense: convert it to a dense one first");
        }
        super::bytes(self.ty, self.dims())
    }

    /// All elements of a dense F32 tensor; `Shape` for another.
    pub fn f32s(&self, name: &str) -> Result<&'a [f32]> {
        self.is(Type::F32, name)?;
        self.cast(name)
    }

    /// All elements of a dense I32 tensor; `Shape` for another.
    pub fn i32s(&self, name: &str) -> Result<&'a [i32]> {
        self.is(Type::I32, name)?;
        self.cast(name)
    }

    fn cast<T: bytemuck::Pod>(&self, name: &str) -> Result<&'a [T]> {
        match self.bytes(name)? {
            // Which need not be aligned.
            [] => Ok(&[]),
            // Aligned: see `Tensor::view`.
            bytes => Ok(bytemuck::cast_slice(bytes)),
        }
    }

    /// `Shape` unless the tensor is of type `ty`.
    pub fn is(&self, ty: Type, name: &str) -> Result<()> {
        if self.ty != ty {
            fail!(Shape, "{name}: the tensor is {}, expected {}", self.ty.name(), ty.name());
        }
        Ok(())
    }

    /// `Shape` unless both have the same dimensions.
    pub fn same_dims(&self, other: &View, names: &str) -> Result<()> {
        if self.dims() != other.dims() {
            fail!(Shape, "{names} have different dimensions: {:?} and {:?}", self.dims(), other.dims());
        }
        Ok(())
    }

    fn span(&self) -> std::ops::Range<usize> {
        let start = self.tensor.data as usize;
        let far = |i: usize| (self.tensor.dims[i].max(1) - 1) as usize * self.tensor.strides[i] as usize;
        let outer = self.dims().len() - 1;
        let row = if self.ty.block_len() > 1 { self.row_bytes() } else { far(outer) + self.ty.block_bytes() };
        start..start + (0..outer).map(far).sum::<usize>() + row
    }
}

impl<'a> ViewMut<'a> {
    /// The same tensor to read.
    pub fn view(&self) -> &View<'a> {
        &self.view
    }

    /// The first element of row `row`.
    pub fn row(&self, row: usize) -> *mut u8 {
        self.view.row(row).cast_mut()
    }

    /// All elements of a dense F32 tensor; `Shape` for another.
    ///
    /// # Safety
    /// No other view of this memory is in use: see [`ViewMut::apart`].
    pub unsafe fn f32s(&mut self, name: &str) -> Result<&'a mut [f32]> {
        self.view.is(Type::F32, name)?;
        let len = self.view.dense_bytes(name)?;
        if len == 0 {
            return Ok(&mut []);
        }
        // SAFETY: the elements are there and nobody else uses them, by the word of who made the view; aligned and whole
        // floats, as `Tensor::view` checked.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.view.tensor.data.cast::<f32>(), len / size_of::<f32>()) })
    }

    /// `InvalidArgument` when the two share memory.
    pub fn apart(&self, x: &View, names: &str) -> Result<()> {
        let empty = |v: &View| v.rows() == 0 || v.width() == 0;
        let (a, b) = (self.view.span(), x.span());
        if empty(x) || empty(&self.view) || a.end <= b.start || b.end <= a.start {
            return Ok(());
        }
        fail!(InvalidArgument, "{names} share memory")
    }

    /// Whether the rows of the two begin at the same byte.
    pub fn same_row(&self, x: &View) -> bool {
        self.view.tensor.data == x.tensor.data
    }

    /// `InvalidArgument` when row i of the one shares memory with any row of the other.
    pub fn rows_apart(&self, x: &View, names: &str) -> Result<()> {
        if self.same_row(x) { self.apart(x, names) } else { self.same_or_apart(x, names) }
    }

    /// Whether row i may be written once row i of `x` was read, whatever happens to other rows meanwhile: the two
    /// are the same tensor, or share nothing. `InvalidArgument` otherwise.
    pub fn same_or_apart(&self, x: &View, names: &str) -> Result<()> {
        let (y, x_) = (&self.view.tensor, &x.tensor);
        if y.data == x_.data && y.dims() == x_.dims() && y.strides == x_.strides && self.view.ty == x.ty {
            return Ok(());
        }
        // Columns side by side in one matrix: rows of both begin at the same multiples, each in its own part.
        let n = y.dims().len();
        if n >= 2 && n == x_.dims().len() && y.strides[..n - 1] == x_.strides[..n - 1] {
            let step = y.strides[..n - 1].iter().zip(y.dims()).filter(|s| *s.1 > 1).map(|s| *s.0).min().unwrap_or(0);
            let whole = step > 0 && y.strides[..n - 1].iter().all(|s| s % step == 0);
            let row = |v: &View| -> u64 {
                let far = (v.width().max(1) - 1) * v.stride() + v.ty.block_bytes();
                if v.ty.block_len() > 1 { v.row_bytes() as u64 } else { far as u64 }
            };
            if whole {
                let ahead = (x_.data as i128 - y.data as i128).rem_euclid(step.into()) as u64;
                if ahead >= row(&self.view) && step - ahead >= row(x) {
                    return Ok(());
                }
            }
        }
        self.apart(x, names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    fn over(memory: &mut [f32], dims: &[u64]) -> Tensor {
        Tensor::dense(Type::F32, dims, memory.as_mut_ptr().cast()).unwrap()
    }

    #[test]
    fn rows_are_where_their_strides_say() {
        let mut memory: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let t = over(&mut memory, &[2, 3, 4]).transpose(0, 1).unwrap().slice(2, 1, 2).unwrap();
        // SAFETY: `memory` is there and only this test uses it.
        let view = unsafe { t.view("t") }.unwrap();
        assert_eq!((view.rows(), view.width()), (6, 2));
        // SAFETY: as above.
        let firsts: Vec<f32> = (0..6).map(|i| unsafe { view.row(i).cast::<f32>().read() }).collect();
        assert_eq!(firsts, [1.0, 13.0, 5.0, 17.0, 9.0, 21.0]);
    }

    #[test]
    fn what_is_no_tensor_is_refused() {
        let mut memory = [0.0f32; 24];
        let t = over(&mut memory, &[6, 4]);
        // SAFETY: every tensor below is refused, or lies in `memory`.
        unsafe {
            let code = |t: Tensor| t.view_mut("t").map(drop).unwrap_err().code();
            assert_eq!(code(Tensor { r#type: 5, ..t }), Code::Shape);
            assert_eq!(code(Tensor { n_dims: 0, ..t }), Code::Shape);
            assert_eq!(code(Tensor { n_dims: 7, ..t }), Code::Shape);
            assert_eq!(code(Tensor { flags: 2, ..t }), Code::Abi);
            assert_eq!(code(Tensor { flags: 1, ..t }), Code::InvalidArgument);
            assert_eq!(code(Tensor { data: std::ptr::null_mut(), ..t }), Code::InvalidArgument);
            assert_eq!(code(Tensor { data: t.data.wrapping_byte_add(2), ..t }), Code::InvalidArgument);
            assert_eq!(code(Tensor { strides: [18, 4, 0, 0, 0, 0], ..t }), Code::InvalidArgument);
            assert_eq!(code(Tensor { strides: [u64::MAX, 4, 0, 0, 0, 0], ..t }), Code::Shape);
            assert_eq!(code(Tensor { dims: [u64::MAX, 4, 1, 1, 1, 1], ..t }), Code::Shape);
            // Rows on top of each other can be read but not written.
            for strides in [[0, 4, 0, 0, 0, 0], [12, 4, 0, 0, 0, 0], [16, 0, 0, 0, 0, 0]] {
                let shared = Tensor { strides, ..t };
                assert!(shared.view("t").is_ok());
                assert_eq!(code(shared), Code::Shape, "{strides:?}");
            }
        }
    }

    #[test]
    fn shared_memory_is_found() {
        let mut memory = [0.0f32; 24];
        let t = over(&mut memory, &[4, 6]);
        let part = |dim, start, len| t.slice(dim, start, len).unwrap();
        // SAFETY: all lie in `memory`.
        let check = |y: Tensor, x: Tensor| unsafe {
            y.view_mut("y").unwrap().same_or_apart(&x.view("x").unwrap(), "x and y").is_ok()
        };
        assert!(check(t, t));
        assert!(check(part(0, 0, 2), part(0, 2, 2)));
        assert!(!check(part(0, 0, 2), part(0, 1, 2)));
        assert!(check(part(1, 0, 3), part(1, 3, 3)) && check(part(1, 3, 3), part(1, 0, 3)));
        assert!(!check(part(1, 0, 3), part(1, 2, 3)) && !check(part(1, 2, 3), part(1, 0, 3)));
    }
}
