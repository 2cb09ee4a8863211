//! `q_optimizer_params`: the numbers of a rule, and the method they describe.

use crate::error::{Result, fail};
use crate::ffi::error::choice;
use crate::ffi::params::{Params, Report};
use crate::train::optim::{Betas, Method};

/// How weights follow their gradients g; w -= learning_rate * what is said.
#[repr(u32)]
pub enum q_optimizer_type {
    /// Gradient descent: g, or with a momentum b = momentum * b + g. Decay is added to the gradient.
    Q_OPTIM_SGD = 0,
    /// Adam: m / (sqrt(v) + epsilon), both moments corrected for their start at 0. Decay is added to the gradient.
    Q_OPTIM_ADAM = 1,
    /// Adam whose decay bypasses the moments: + weight_decay * w.
    Q_OPTIM_ADAMW = 2,
}

/// The numbers of an optimizer. Fill it with q_optimizer_params_init first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_optimizer_params {
    /// sizeof(q_optimizer_params), set by q_optimizer_params_init.
    pub size: u32,
    /// A q_optimizer_type (Q_OPTIM_ADAMW).
    pub r#type: u32,
    /// The learning rate (0.001).
    pub learning_rate: f64,
    /// Adam: decay of the first moment, from 0 to below 1 (0.9).
    pub beta1: f64,
    /// Adam: decay of the second moment, from 0 to below 1 (0.999).
    pub beta2: f64,
    /// Adam: what is added to the root of the second moment, above 0 (1e-8).
    pub epsilon: f64,
    /// The weight decay (0).
    pub weight_decay: f64,
    /// Factor of the L1 penalty, l1 * sum(|w|), whose gradient is added (0).
    pub l1_regularization: f64,
    /// SGD: the momentum, from 0 to below 1 (0). It keeps one moment of each weight unless it is 0.
    pub momentum: f64,
    /// SGD: 1 for Nesterov's momentum, which looks a step ahead (0).
    pub nesterov: u32,
    /// Q_OPTIM_ADAMW: 8 for moments of 8 bits, in blocks of 256, which take a quarter of the memory; else 32, the default.
    pub moment_bits: u32,
    /// Bytes that the moments of all bound tensors may take together; 0: no limit but the context's budget and the runtime's.
    pub memory_limit: u64,
}

// SAFETY: as the trait demands.
unsafe impl Params for q_optimizer_params {
    const NAME: &'static str = "q_optimizer_params";

    fn defaults() -> Self {
        let betas = Betas::default();
        q_optimizer_params {
            size: size_of::<Self>() as u32,
            r#type: q_optimizer_type::Q_OPTIM_ADAMW as u32,
            learning_rate: 1e-3,
            beta1: betas.beta1,
            beta2: betas.beta2,
            epsilon: betas.eps,
            weight_decay: 0.0,
            l1_regularization: 0.0,
            momentum: 0.0,
            nesterov: 0,
            moment_bits: 32,
            memory_limit: 0,
        }
    }
}

// SAFETY: as the trait demands.
unsafe impl Report for q_optimizer_params {
    const NAME: &'static str = "q_optimizer_params";
}

/// Flag of q_optimizer_bind: the tensors have neither weight decay nor L1 penalty, as norms and biases usually have none.
pub const Q_OPTIM_NO_DECAY: u32 = 1;

/// The method that parameters describe.
pub(in crate::ffi::train) fn method(p: &q_optimizer_params) -> Result<Method> {
    let betas = Betas { beta1: p.beta1, beta2: p.beta2, eps: p.epsilon };
    let nesterov = choice("nesterov", p.nesterov, &[(0, false), (1, true)])?;
    let eight = choice("moment_bits", p.moment_bits, &[(32, false), (8, true)])?;
    let types = [q_optimizer_type::Q_OPTIM_SGD, q_optimizer_type::Q_OPTIM_ADAM, q_optimizer_type::Q_OPTIM_ADAMW];
    let [sgd, adam, adamw] = types.map(|t| t as u32);
    let methods = [
        (sgd, Method::Sgd { momentum: p.momentum, nesterov }),
        (adam, Method::Adam(betas)),
        (adamw, if eight { Method::AdamW8(betas) } else { Method::AdamW(betas) }),
    ];
    let method = choice("the type of the optimizer", p.r#type, &methods)?;
    if eight && p.r#type != adamw {
        fail!(Unsupported, "moments of 8 bits go with Q_OPTIM_ADAMW only");
    }
    method.check()?;
    Ok(method)
}
