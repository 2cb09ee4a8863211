//! Element by element, sixteen at a time; a rest shorter than that is worked on in a padded copy.

use super::Simd;

/// `x = f(x)`.
#[inline(always)]
pub fn map<S: Simd>(s: S, x: &mut [f32], f: impl Fn(S::V) -> S::V) {
    let (chunks, tail) = x.as_chunks_mut::<16>();
    for x in chunks {
        map16(s, x, &f);
    }
    if !tail.is_empty() {
        let mut x = padded(tail);
        map16(s, &mut x, &f);
        tail.copy_from_slice(&x[..tail.len()]);
    }
}

#[inline(always)]
fn map16<S: Simd>(s: S, x: &mut [f32; 16], f: &impl Fn(S::V) -> S::V) {
    for part in 0..S::PARTS {
        let v = f(s.load(x, part));
        s.store(x, part, v);
    }
}

/// `y = f(y, x)`; `x` must be as long as `y`.
#[inline(always)]
pub fn zip<S: Simd>(s: S, y: &mut [f32], x: &[f32], f: impl Fn(S::V, S::V) -> S::V) {
    assert_eq!(y.len(), x.len());
    let (y_chunks, y_tail) = y.as_chunks_mut::<16>();
    let (x_chunks, x_tail) = x.as_chunks::<16>();
    for (y, x) in y_chunks.iter_mut().zip(x_chunks) {
        zip16(s, y, x, &f);
    }
    if !y_tail.is_empty() {
        let mut y = padded(y_tail);
        zip16(s, &mut y, &padded(x_tail), &f);
        y_tail.copy_from_slice(&y[..y_tail.len()]);
    }
}

#[inline(always)]
fn zip16<S: Simd>(s: S, y: &mut [f32; 16], x: &[f32; 16], f: &impl Fn(S::V, S::V) -> S::V) {
    for part in 0..S::PARTS {
        let v = f(s.load(y, part), s.load(x, part));
        s.store(y, part, v);
    }
}

/// Fewer than so many elements, and zeros behind them.
#[inline(always)]
pub fn padded<T: Copy + Default, const N: usize>(tail: &[T]) -> [T; N] {
    let mut x = [T::default(); N];
    x[..tail.len()].copy_from_slice(tail);
    x
}

/// `outs = f(ins, outs)`, element by element; all slices must be of one length.
#[cfg(feature = "train")]
#[inline(always)]
pub fn each<S: Simd, const N: usize, const M: usize>(
    s: S,
    ins: [&[f32]; N],
    outs: [&mut [f32]; M],
    f: impl Fn([S::V; N], [S::V; M]) -> [S::V; M],
) {
    let len = outs[0].len();
    for x in &ins {
        assert_eq!(x.len(), len);
    }
    for x in &outs {
        assert_eq!(x.len(), len);
    }
    let whole = len / 16 * 16;
    for at in (0..whole).step_by(16) {
        for part in 0..S::PARTS {
            let (mut a, mut b) = ([s.splat(0.0); N], [s.splat(0.0); M]);
            for i in 0..N {
                if let Some(x) = ins[i][at..].first_chunk() {
                    a[i] = s.load(x, part);
                }
            }
            for i in 0..M {
                if let Some(x) = outs[i][at..].first_chunk() {
                    b[i] = s.load(x, part);
                }
            }
            let b = f(a, b);
            for i in 0..M {
                if let Some(x) = outs[i][at..].first_chunk_mut() {
                    s.store(x, part, b[i]);
                }
            }
        }
    }
    if whole < len {
        let (mut a, mut b) = ([[0.0; 16]; N], [[0.0; 16]; M]);
        for i in 0..N {
            a[i] = padded(&ins[i][whole..]);
        }
        for i in 0..M {
            b[i] = padded(&outs[i][whole..]);
        }
        for part in 0..S::PARTS {
            let (mut va, mut vb) = ([s.splat(0.0); N], [s.splat(0.0); M]);
            for i in 0..N {
                va[i] = s.load(&a[i], part);
            }
            for i in 0..M {
                vb[i] = s.load(&b[i], part);
            }
            let vb = f(va, vb);
            for i in 0..M {
                s.store(&mut b[i], part, vb[i]);
            }
        }
        for i in 0..M {
            outs[i][whole..].copy_from_slice(&b[i][..len - whole]);
        }
    }
}
