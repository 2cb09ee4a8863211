//! Matrices to read, whichever of their sides is contiguous.

use core::ops::Range;

/// A matrix of `rows` x `cols` elements, of which either the rows or the columns are contiguous: so the transpose of a
/// matrix is a view of it too.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a, R = f32> {
    data: &'a [R],
    rows: usize,
    cols: usize,
    stride: usize,
    /// Whether it is the columns that are contiguous.
    transposed: bool,
}

/// Whether `len` elements hold `rows` rows of `cols` elements that begin `stride` apart and do not overlap.
pub(crate) fn fits(len: usize, rows: usize, cols: usize, stride: usize) -> bool {
    let end = rows.checked_sub(1).map_or(Some(0), |last| last.checked_mul(stride)?.checked_add(cols));
    cols <= stride && end.is_some_and(|end| end <= len)
}

impl<'a, R: Copy> Mat<'a, R> {
    /// Rows of `cols` elements that begin `stride` elements apart. Panics unless `data` holds them all and `stride` is at
    /// least `cols`.
    pub fn new(data: &'a [R], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(fits(data.len(), rows, cols, stride), "a matrix lies inside its data");
        Mat { data, rows, cols, stride, transposed: false }
    }

    /// The transpose.
    pub fn t(self) -> Self {
        Mat { rows: self.cols, cols: self.rows, transposed: !self.transposed, ..self }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The rows and columns of the given ranges. Panics when out of range.
    pub fn part(self, rows: Range<usize>, cols: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.rows);
        assert!(cols.start <= cols.end && cols.end <= self.cols);
        let (from, across) = if self.transposed { (cols.start, rows.start) } else { (rows.start, cols.start) };
        // What has no elements has no place either.
        let start = if rows.is_empty() || cols.is_empty() { 0 } else { from * self.stride + across };
        Mat { data: &self.data[start..], rows: rows.len(), cols: cols.len(), ..self }
    }

    /// An element. Panics when out of range.
    #[inline(always)]
    pub fn get(&self, row: usize, col: usize) -> R {
        assert!(row < self.rows && col < self.cols);
        let (line, at) = if self.transposed { (col, row) } else { (row, col) };
        self.data[line * self.stride + at]
    }

    /// Elements from a contiguous line to the next.
    #[cfg(feature = "train")]
    #[inline(always)]
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Whether it is the columns that are contiguous.
    #[inline(always)]
    pub fn is_transposed(&self) -> bool {
        self.transposed
    }

    /// The elements from that at `row` and `col` on, how far from each other contiguous lines lie, and whether those are columns. Panics
    /// when out of range.
    #[cfg(feature = "train")]
    #[inline(always)]
    pub(crate) fn from(&self, row: usize, col: usize) -> (&'a [R], usize, bool) {
        assert!(row < self.rows && col < self.cols);
        let at = if self.transposed { col * self.stride + row } else { row * self.stride + col };
        (&self.data[at..], self.stride, self.transposed)
    }

    /// A row, or a column of a transposed matrix: one of those that are contiguous. Panics when out of range.
    #[inline(always)]
    pub fn line(&self, line: usize) -> &'a [R] {
        let (lines, len) = if self.transposed { (self.cols, self.rows) } else { (self.rows, self.cols) };
        assert!(line < lines);
        &self.data[line * self.stride..][..len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_transposes_are_views() {
        let data: Vec<f32> = (0..40).map(|i| i as f32).collect();
        let m = Mat::new(&data, 5, 6, 8);
        assert_eq!(m.get(4, 5), 37.0);
        let t = m.t();
        assert_eq!((t.rows(), t.cols(), t.get(5, 4)), (6, 5, 37.0));
        assert_eq!(m.line(1), &data[8..14]);
        assert_eq!(t.line(1), &data[8..14]);
        for p in [m.part(2..5, 3..6), t.part(3..6, 2..5).t()] {
            assert_eq!((p.rows(), p.cols(), p.get(0, 0), p.get(2, 2)), (3, 3, 19.0, 37.0));
        }
        assert_eq!(m.part(5..5, 0..6).rows(), 0);
    }

    #[test]
    fn what_does_not_fit_is_no_matrix() {
        assert!(fits(38, 5, 6, 8));
        assert!(!fits(37, 5, 6, 8), "too short");
        assert!(!fits(100, 5, 9, 8), "overlapping");
        assert!(!fits(100, usize::MAX, 8, 8), "overflowing");
        assert!(fits(0, 0, 6, 8) && fits(0, 1, 0, 0));
    }
}
