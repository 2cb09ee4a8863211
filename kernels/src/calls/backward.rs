//! The kernels of backward passes: from the gradient of a result, those of what it was made of.

use crate::Type;
use crate::table::{Kernels, found};

impl Kernels {
    /// Of `y = rmsnorm(x, w)` and its gradient `dy`: writes `dx`, and adds the row's part to `dw`; all of one length.
    pub fn rmsnorm_backward(&self, x: &[f32], w: &[f32], eps: f32, dy: &[f32], dx: &mut [f32], dw: &mut [f32]) {
        let n = x.len();
        assert!(w.len() == n && dy.len() == n && dx.len() == n && dw.len() == n);
        call!(self.rmsnorm_backward[Type::F32](x, w, eps, dy, dx, dw))
    }

    /// Of `y = layernorm(x, w, b)` and its gradient `dy`: writes `dx`, and adds the row's parts to `dw` and `db`; all of one
    /// length.
    pub fn layernorm_backward(
        &self,
        (x, w, eps): (&[f32], &[f32], f32),
        dy: &[f32],
        dx: &mut [f32],
        (dw, db): (&mut [f32], &mut [f32]),
    ) {
        let n = x.len();
        assert!(w.len() == n && dy.len() == n && dx.len() == n && dw.len() == n && db.len() == n);
        call!(self.layernorm_backward[Type::F32](x, w, eps, dy, dx, dw, db))
    }

    /// Of `y = softmax(x, scale)`: `d`, the gradient of y, becomes that of x; of one length.
    pub fn softmax_backward(&self, d: &mut [f32], scale: f32, y: &[f32]) {
        assert_eq!(d.len(), y.len());
        call!(self.softmax_backward[Type::F32](d, scale, y))
    }

    /// `d = d * silu'(x)`; of one length.
    pub fn silu_backward(&self, d: &mut [f32], x: &[f32]) {
        assert_eq!(d.len(), x.len());
        call!(self.silu_backward[Type::F32](d, x))
    }

    /// `d = d * gelu'(x)`, in the tanh form; of one length.
    pub fn gelu_backward(&self, d: &mut [f32], x: &[f32]) {
        assert_eq!(d.len(), x.len());
        call!(self.gelu_backward[Type::F32](d, x))
    }

    /// `d = d * gelu_erf'(x)`; of one length.
    pub fn gelu_erf_backward(&self, d: &mut [f32], x: &[f32]) {
        assert_eq!(d.len(), x.len());
        call!(self.gelu_erf_backward[Type::F32](d, x))
    }

    /// `d` where x is positive, else 0; of one length.
    pub fn relu_backward(&self, d: &mut [f32], x: &[f32]) {
        assert_eq!(d.len(), x.len());
        call!(self.relu_backward[Type::F32](d, x))
    }

    /// `d = d * (1 - tanh(x / cap)^2)`; of one length.
    pub fn softcap_backward(&self, d: &mut [f32], cap: f32, x: &[f32]) {
        assert_eq!(d.len(), x.len());
        call!(self.softcap_backward[Type::F32](d, cap, x))
    }

    /// Of `h = silu(gate) * up` and its gradient `d`: `gate` and `up` become their gradients, `d` becomes h; of one
    /// length.
    pub fn silu_mul_backward(&self, gate: &mut [f32], up: &mut [f32], d: &mut [f32]) {
        assert!(gate.len() == d.len() && up.len() == d.len());
        call!(self.silu_mul_backward[Type::F32](gate, up, d))
    }

    /// The same with GELU in the tanh form.
    pub fn gelu_mul_backward(&self, gate: &mut [f32], up: &mut [f32], d: &mut [f32]) {
        assert!(gate.len() == d.len() && up.len() == d.len());
        call!(self.gelu_mul_backward[Type::F32](gate, up, d))
    }
}
