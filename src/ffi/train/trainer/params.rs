//! `q_trainer_params`: what a trainer is made for.

use crate::adapter::Kind;
use crate::error::{Result, fail, try_vec};
use crate::ffi::boundary;
use crate::ffi::error::{choice, unused};
use crate::ffi::params::{self, Params};
use crate::ffi::tensor::view_opt;
use crate::ffi::train::loss::q_loss_type;
use crate::ffi::train::optimizer::params::{self as numbers, q_optimizer_params};
use crate::layers::keep::Keep;
use crate::tensor::Tensor;
use crate::train::optim::Group;
use crate::train::trainer::TrainerParams;
use crate::train::{AdapterParams, Objective};
use std::ffi::{CStr, c_char, c_void};

/// Says of the tensor `name` (`len` bytes, no NUL) whether it is trained: other than 0 if so.
pub type q_trained_fn = Option<unsafe extern "C" fn(name: *const c_char, len: usize, user: *mut c_void) -> i32>;

/// What a trainer is made for. Fill it with q_trainer_params_init first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_trainer_params {
    /// sizeof(q_trainer_params), set by q_trainer_params_init.
    pub size: u32,
    /// A q_loss_type: Q_LOSS_CROSSENTROPY (the default) with a class for each row, Q_LOSS_MSE with values. For q_model_train;
    /// between q_model_forward_train and q_model_backward any loss can stand.
    pub r#type: u32,
    /// The most rows (tokens) of a pass (512).
    pub max_rows: u32,
    /// The most rows of a sequence; 0: `max_rows`.
    pub max_len: u32,
    /// Rows whose results are computed together; 0: as many as take 32 MB, and 128 at least of a head that is not stored as F32.
    pub slice: u32,
    /// What is kept of a forward pass for the way back. 0: everything, in f32. 1: the inputs of residual branches, and the rest is
    /// computed again: less memory, more time, the same bits. 2: what lies inside layers rounded to bf16.
    pub activations: u32,
    /// The share of the target that is spread evenly over all classes, from 0 (the default) to 1.
    pub label_smoothing: f32,
    /// The most batches whose gradients make one step of q_model_train (1).
    pub accumulate: u32,
    /// A weight for each class: F32 [classes], or NULL. Copied.
    pub class_weights: *const Tensor,
    /// The optimizer's numbers, copied; NULL: AdamW with a weight decay of 0.01. The rate is given with each step; norms and
    /// biases have neither decay nor L1 penalty.
    pub optimizer: *const q_optimizer_params,
    /// Decides dropout.
    pub seed: u64,
    /// Bytes that model and trainer may come to, mapped weights not counted; 0: no limit but the context's and the runtime's.
    pub budget: u64,
    /// Which tensors are trained; NULL: all. Called while the trainer is made.
    pub trained: q_trained_fn,
    /// Handed to `trained`.
    pub user: *mut c_void,
    /// The rank of an adapter to train; 0 (the default): none. With one, tensors themselves are trained only where `trained` says so.
    pub adapter_rank: u32,
    /// A q_adapter_kind (Q_ADAPTER_LORA).
    pub adapter_kind: u32,
    /// The numerator of the adapter's scale; 0: twice the rank.
    pub adapter_alpha: f32,
    /// The probability that an element of the adapter's inputs is dropped, from 0 (the default) to below 1.
    pub adapter_dropout: f32,
    /// What the adapter is on, NUL-terminated words with commas between: q, k, v, o, gate, up, down, experts, shared, head; NULL: all but
    /// the head. Copied.
    pub adapter_targets: *const c_char,
    /// 1: the products of frozen blocks round what goes in to 8 bits on the way forward, as inference does; faster, and the way back is
    /// that of exact products (0).
    pub eight_bit: u32,
    /// 0.
    pub reserved: u32,
}

/// How an adapter changes its matrices.
#[repr(u32)]
pub enum q_adapter_kind {
    /// W + alpha / rank * B A
    Q_ADAPTER_LORA = 0,
    /// W + alpha / sqrt(rank) * B A
    Q_ADAPTER_RSLORA = 1,
    /// As Q_ADAPTER_LORA, each row brought to a length of its own.
    Q_ADAPTER_DORA = 2,
}

// SAFETY: as the trait demands.
unsafe impl Params for q_trainer_params {
    const NAME: &'static str = "q_trainer_params";

    fn defaults() -> Self {
        q_trainer_params {
            size: size_of::<Self>() as u32,
            r#type: q_loss_type::Q_LOSS_CROSSENTROPY as u32,
            max_rows: 512,
            max_len: 0,
            slice: 0,
            activations: 0,
            label_smoothing: 0.0,
            accumulate: 1,
            class_weights: std::ptr::null(),
            optimizer: std::ptr::null(),
            seed: 0,
            budget: 0,
            trained: None,
            user: std::ptr::null_mut(),
            adapter_rank: 0,
            adapter_kind: q_adapter_kind::Q_ADAPTER_LORA as u32,
            adapter_alpha: 0.0,
            adapter_dropout: 0.0,
            adapter_targets: std::ptr::null(),
            eight_bit: 0,
            reserved: 0,
        }
    }
}

/// The library's parameters of those of the host.
pub unsafe fn engine_params(p: &q_trainer_params) -> Result<TrainerParams> {
    if p.accumulate == 0 || p.accumulate > 1 << 16 {
        fail!(InvalidArgument, "accumulate is {}: give 1 to 65536 batches of a step", p.accumulate);
    }
    // SAFETY: the host's pointer.
    let weights = match unsafe { view_opt(p.class_weights, "class_weights") }? {
        None => None,
        Some(w) if w.dims().len() != 1 => fail!(Shape, "class_weights {:?}: expected [classes]", w.dims()),
        Some(w) => {
            let mut own = try_vec(w.width(), "weights of classes")?;
            own.extend_from_slice(w.f32s("class_weights")?);
            Some(own)
        }
    };
    let (mse, classes) = (q_loss_type::Q_LOSS_MSE as u32, q_loss_type::Q_LOSS_CROSSENTROPY as u32);
    let objective = match choice("the type of the loss", p.r#type, &[(mse, true), (classes, false)])? {
        true if weights.is_some() => fail!(InvalidArgument, "class_weights do not go with Q_LOSS_MSE"),
        true => Objective::Values,
        false => Objective::Classes { smoothing: p.label_smoothing, weights },
    };
    // SAFETY: the host's pointer.
    let mut o = unsafe { params::read(p.optimizer) }?;
    if p.optimizer.is_null() {
        o.weight_decay = 0.01;
    }
    let group = Group { decay: o.weight_decay, l1: o.l1_regularization, ..Group::default() };
    Ok(TrainerParams {
        rows: p.max_rows as usize,
        longest: if p.max_len == 0 { p.max_rows } else { p.max_len } as usize,
        slice: p.slice as usize,
        counts: 0,
        keep: choice("activations", p.activations, &[(0, Keep::F32), (1, Keep::Inputs), (2, Keep::Bf16)])?,
        objective,
        method: numbers::method(&o)?,
        groups: [group, Group::default()],
        // One more, for the rows of passes by hand.
        passes: p.accumulate as usize + 1,
        // SAFETY: the host's string.
        adapter: unsafe { adapter_params(p) }?,
        eight: choice("eight_bit", p.eight_bit, &[(0, false), (1, true)])?,
        // Hosts see gradients as whole tensors, and accumulate as often as they like.
        sparse: false,
        seed: p.seed,
        budget: usize::try_from(p.budget).unwrap_or(usize::MAX),
    })
}

/// The adapter that the host wants trained.
unsafe fn adapter_params(p: &q_trainer_params) -> Result<Option<AdapterParams>> {
    unused("reserved", p.reserved)?;
    if p.adapter_rank == 0 {
        return Ok(None);
    }
    let kinds = [
        (q_adapter_kind::Q_ADAPTER_LORA as u32, Kind::Lora),
        (q_adapter_kind::Q_ADAPTER_RSLORA as u32, Kind::RsLora),
        (q_adapter_kind::Q_ADAPTER_DORA as u32, Kind::Dora),
    ];
    let mut targets = Vec::new();
    if !p.adapter_targets.is_null() {
        // SAFETY: the host's string, which ends in NUL as the header says.
        let Ok(words) = unsafe { CStr::from_ptr(p.adapter_targets) }.to_str() else {
            fail!(InvalidArgument, "adapter_targets is not UTF-8")
        };
        targets.extend(words.split(',').map(|word| word.trim().to_owned()));
    }
    Ok(Some(AdapterParams {
        kind: choice("adapter_kind", p.adapter_kind, &kinds)?,
        rank: p.adapter_rank as usize,
        alpha: if p.adapter_alpha == 0.0 { 2.0 * p.adapter_rank as f32 } else { p.adapter_alpha },
        dropout: p.adapter_dropout,
        targets,
    }))
}

/// Whether the host wants a tensor trained.
pub fn wanted(p: &q_trainer_params, name: &str) -> bool {
    match p.trained {
        // SAFETY: the host's function, called as the header says.
        Some(trained) => boundary::outside(|| unsafe { trained(name.as_ptr().cast(), name.len(), p.user) }) != 0,
        None => p.adapter_rank == 0,
    }
}
