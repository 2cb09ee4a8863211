//! A window of a row-major matrix, so that several threads can write columns of one output.

use core::marker::PhantomData;
use core::ops::Range;

/// A window of `rows` x `cols` elements of a row-major f32 matrix whose rows lie `stride` apart.
///
/// Two windows never overlap: they come from [`TileMut::new`], which borrows the whole matrix, and
/// from [`TileMut::cols_shared`], whose caller promises disjoint ranges.
pub struct TileMut<'a> {
    ptr: *mut f32,
    rows: usize,
    cols: usize,
    stride: usize,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: a tile is an exclusive borrow of its elements, as `&mut [f32]` is.
unsafe impl Send for TileMut<'_> {}
// SAFETY: a shared tile gives no access to its elements but through the unsafe `cols`.
unsafe impl Sync for TileMut<'_> {}

impl<'a> TileMut<'a> {
    /// The whole of a `rows` x `cols` matrix. Panics unless `data` holds exactly that many elements.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(Some(data.len()), rows.checked_mul(cols), "a tile covers its whole matrix");
        TileMut { ptr: data.as_mut_ptr(), rows, cols, stride: cols, life: PhantomData }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// One row of the window.
    #[inline(always)]
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows);
        // SAFETY: the row lies inside the borrowed matrix, and `&mut self` makes the access exclusive.
        unsafe { core::slice::from_raw_parts_mut(self.ptr.add(row * self.stride), self.cols) }
    }

    /// The columns `range` of the window, for one of several threads. Panics when out of range.
    ///
    /// # Safety
    /// Windows that are alive at the same time must have disjoint ranges, and the parent must not be
    /// used meanwhile.
    pub unsafe fn cols_shared(&self, range: Range<usize>) -> TileMut<'a> {
        assert!(range.start <= range.end && range.end <= self.cols);
        TileMut {
            // SAFETY: `range.start` is at most `cols`, so the pointer stays inside the matrix or one past it.
            ptr: unsafe { self.ptr.add(range.start) },
            rows: self.rows,
            cols: range.len(),
            stride: self.stride,
            life: PhantomData,
        }
    }

    /// The columns `range` of the window, while this one is borrowed. Panics when out of range.
    pub fn cols_mut(&mut self, range: Range<usize>) -> TileMut<'_> {
        // SAFETY: the parent is mutably borrowed for as long as the window lives.
        unsafe { self.cols_shared(range) }
    }
}
