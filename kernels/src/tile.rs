//! A window of a row-major matrix, so that several threads can write columns of one output.

use core::marker::PhantomData;
use core::ops::Range;

/// A window of `rows` x `cols` elements of a row-major matrix whose rows lie `stride` apart; of f32 but in the definitions,
/// which compute in f64 too.
///
/// Two windows never overlap: they come from [`TileMut::new`] and [`TileMut::strided`], which borrow the whole matrix, and
/// from [`TileMut::part_shared`] and [`TileMut::cols_shared`], whose caller promises disjoint ranges.
pub struct TileMut<'a, R = f32> {
    ptr: *mut R,
    rows: usize,
    cols: usize,
    stride: usize,
    life: PhantomData<&'a mut [R]>,
}

// SAFETY: a tile is an exclusive borrow of its elements, as `&mut [R]` is.
unsafe impl<R: Send> Send for TileMut<'_, R> {}
// SAFETY: a shared tile gives no access to its elements but through the unsafe `part_shared`.
unsafe impl<R: Send> Sync for TileMut<'_, R> {}

impl<'a, R> TileMut<'a, R> {
    /// The whole of a `rows` x `cols` matrix. Panics unless `data` holds exactly that many elements.
    pub fn new(data: &'a mut [R], rows: usize, cols: usize) -> Self {
        assert_eq!(Some(data.len()), rows.checked_mul(cols), "a tile covers its whole matrix");
        TileMut { ptr: data.as_mut_ptr(), rows, cols, stride: cols, life: PhantomData }
    }

    /// A matrix whose rows begin `stride` elements apart. Panics unless `data` holds them all and `stride` is at least `cols`.
    pub fn strided(data: &'a mut [R], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(crate::mat::fits(data.len(), rows, cols, stride), "a tile lies inside its matrix");
        TileMut { ptr: data.as_mut_ptr(), rows, cols, stride, life: PhantomData }
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
    pub fn row_mut(&mut self, row: usize) -> &mut [R] {
        assert!(row < self.rows);
        // SAFETY: the row lies inside the borrowed matrix, and `&mut self` makes the access exclusive.
        unsafe { core::slice::from_raw_parts_mut(self.ptr.add(row * self.stride), self.cols) }
    }

    /// Where the rows and columns of the given ranges, not empty, lie: their first element and the distance of rows. Panics when out of range.
    #[cfg(feature = "train")]
    #[inline(always)]
    pub(crate) fn place_mut(&mut self, rows: Range<usize>, cols: Range<usize>) -> (*mut R, usize) {
        assert!(rows.start < rows.end && rows.end <= self.rows);
        assert!(cols.start < cols.end && cols.end <= self.cols);
        // SAFETY: the element lies inside the matrix.
        (unsafe { self.ptr.add(rows.start * self.stride + cols.start) }, self.stride)
    }

    /// The rows and columns of the given ranges, for one of several threads. Panics when out of range.
    ///
    /// # Safety
    /// Windows that are alive at the same time must be disjoint, and the parent must not be used meanwhile.
    pub unsafe fn part_shared(&self, rows: Range<usize>, cols: Range<usize>) -> TileMut<'a, R> {
        assert!(rows.start <= rows.end && rows.end <= self.rows);
        assert!(cols.start <= cols.end && cols.end <= self.cols);
        // What has no elements begins where the parent does.
        let start = if rows.is_empty() || cols.is_empty() { 0 } else { rows.start * self.stride + cols.start };
        TileMut {
            // SAFETY: the first of its elements, which lies inside the matrix.
            ptr: unsafe { self.ptr.add(start) },
            rows: rows.len(),
            cols: cols.len(),
            stride: self.stride,
            life: PhantomData,
        }
    }

    /// The columns `range` of the window, for one of several threads. Panics when out of range.
    ///
    /// # Safety
    /// As [`TileMut::part_shared`].
    pub unsafe fn cols_shared(&self, range: Range<usize>) -> TileMut<'a, R> {
        // SAFETY: promised by the caller.
        unsafe { self.part_shared(0..self.rows, range) }
    }

    /// The columns `range` of the window, while this one is borrowed. Panics when out of range.
    pub fn cols_mut(&mut self, range: Range<usize>) -> TileMut<'_, R> {
        // SAFETY: the parent is mutably borrowed for as long as the window lives.
        unsafe { self.cols_shared(range) }
    }
}
