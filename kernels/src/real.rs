//! The number a scalar kernel computes with: f32 at run time, f64 where training checks its gradients
//! by finite differences.

use crate::math;
use core::ops::{Add, Div, Mul, Neg, Sub};

/// f32 or f64. The functions of f32 are those of [`crate::math`], which every level shares; those of f64
/// are the accurate ones of libm.
pub trait Real:
    Copy
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Less than every other number.
    const NEG_INFINITY: Self;
    /// The nearest value to a count.
    fn from_count(n: usize) -> Self;
    /// `self * b + c`, rounded once.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// e to a power that is not positive; of f32 0 where that is not normal.
    fn decay(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// `self / (1 + exp(-self))`.
    fn silu(self) -> Self;
    /// GELU in its tanh form.
    fn gelu(self) -> Self;
    /// GELU by the normal distribution's integral.
    fn gelu_erf(self) -> Self;
    /// Derivative of [`Real::silu`].
    #[cfg(feature = "train")]
    fn silu_slope(self) -> Self;
    /// Derivative of [`Real::gelu`].
    #[cfg(feature = "train")]
    fn gelu_slope(self) -> Self;
    /// Derivative of [`Real::gelu_erf`].
    #[cfg(feature = "train")]
    fn gelu_erf_slope(self) -> Self;
}

impl Real for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
    const NEG_INFINITY: f32 = f32::NEG_INFINITY;
    #[inline(always)]
    fn from_count(n: usize) -> f32 {
        n as f32
    }
    #[inline(always)]
    fn mul_add(self, b: f32, c: f32) -> f32 {
        f32::mul_add(self, b, c)
    }
    #[inline(always)]
    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }
    fn decay(self) -> f32 {
        math::decay(self)
    }
    fn ln(self) -> f32 {
        libm::logf(self)
    }
    fn tanh(self) -> f32 {
        math::tanh(self)
    }
    fn silu(self) -> f32 {
        math::silu(self)
    }
    fn gelu(self) -> f32 {
        math::gelu(self)
    }
    fn gelu_erf(self) -> f32 {
        math::gelu_erf(self)
    }
    #[cfg(feature = "train")]
    fn silu_slope(self) -> f32 {
        math::silu_slope(self)
    }
    #[cfg(feature = "train")]
    fn gelu_slope(self) -> f32 {
        math::gelu_slope(self)
    }
    #[cfg(feature = "train")]
    fn gelu_erf_slope(self) -> f32 {
        math::gelu_erf_slope(self)
    }
}

impl Real for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    const NEG_INFINITY: f64 = f64::NEG_INFINITY;
    fn from_count(n: usize) -> f64 {
        n as f64
    }
    fn mul_add(self, b: f64, c: f64) -> f64 {
        f64::mul_add(self, b, c)
    }
    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }
    fn decay(self) -> f64 {
        libm::exp(self)
    }
    fn ln(self) -> f64 {
        libm::log(self)
    }
    fn tanh(self) -> f64 {
        libm::tanh(self)
    }
    fn silu(self) -> f64 {
        self / (1.0 + libm::exp(-self))
    }
    fn gelu(self) -> f64 {
        let sqrt_2_over_pi = core::f64::consts::FRAC_2_SQRT_PI * core::f64::consts::FRAC_1_SQRT_2;
        0.5 * self * (1.0 + libm::tanh(sqrt_2_over_pi * (self + 0.044715 * self * self * self)))
    }
    fn gelu_erf(self) -> f64 {
        0.5 * self * libm::erfc(-self * core::f64::consts::FRAC_1_SQRT_2)
    }
    #[cfg(feature = "train")]
    fn silu_slope(self) -> f64 {
        let open = 1.0 / (1.0 + libm::exp(-self));
        open * (1.0 + self * (1.0 - open))
    }
    #[cfg(feature = "train")]
    fn gelu_slope(self) -> f64 {
        let factor = core::f64::consts::FRAC_2_SQRT_PI * core::f64::consts::FRAC_1_SQRT_2;
        let t = libm::tanh(factor * (self + 0.044715 * self * self * self));
        0.5 * (1.0 + t) + 0.5 * self * (1.0 - t * t) * factor * (1.0 + 3.0 * 0.044715 * self * self)
    }
    #[cfg(feature = "train")]
    fn gelu_erf_slope(self) -> f64 {
        let density = 0.5 * core::f64::consts::FRAC_2_SQRT_PI * core::f64::consts::FRAC_1_SQRT_2;
        0.5 * libm::erfc(-self * core::f64::consts::FRAC_1_SQRT_2) + self * density * libm::exp(-0.5 * self * self)
    }
}
