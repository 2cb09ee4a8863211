//! `q_sampler`: the choice of the next token.

use super::args;
use super::context::q_context;
use super::error::q_error_code;
use super::handle::{self, Opaque};
use super::model::q_model;
use super::params::{self, Params};
use crate::engine::{Sampler, SamplerParams};

/// Chooses tokens, and remembers recent ones. One call at a time.
pub struct q_sampler {
    _opaque: [u8; 0],
}

/// How tokens are chosen: penalty, top-k, top-p, min-p, temperature, in this order. Fill it with q_sampler_params_init
/// first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_sampler_params {
    /// sizeof(q_sampler_params), set by q_sampler_params_init.
    pub size: u32,
    /// Divides the logits before the draw (0.8); 0: always the most probable token.
    pub temperature: f32,
    /// Only the k most probable tokens (40); 0: all.
    pub top_k: u32,
    /// Only the most probable tokens that together reach this probability (0.95); 1: all.
    pub top_p: f32,
    /// Only tokens at least this fraction as probable as the best one (0.05); 0: all.
    pub min_p: f32,
    /// Logits of recent tokens are divided by this when positive and multiplied when negative; 1 (the default): none.
    pub repeat_penalty: f32,
    /// How many tokens are recent (64).
    pub repeat_last: u32,
    /// 0.
    pub reserved: u32,
    /// Of the draws: the same seed gives the same tokens (0).
    pub seed: u64,
}

// SAFETY: as the trait demands.
unsafe impl Params for q_sampler_params {
    const NAME: &'static str = "q_sampler_params";

    fn defaults() -> Self {
        let p = SamplerParams::default();
        q_sampler_params {
            size: size_of::<Self>() as u32,
            temperature: p.temperature,
            top_k: p.top_k as u32,
            top_p: p.top_p,
            min_p: p.min_p,
            repeat_penalty: p.repeat_penalty,
            repeat_last: p.repeat_last as u32,
            reserved: 0,
            seed: p.seed,
        }
    }
}

/// The engine's parameters of those of the host.
pub fn engine_params(p: &q_sampler_params) -> crate::Result<SamplerParams> {
    super::error::unused("reserved", p.reserved)?;
    Ok(SamplerParams {
        temperature: p.temperature,
        top_k: p.top_k as usize,
        top_p: p.top_p,
        min_p: p.min_p,
        repeat_penalty: p.repeat_penalty,
        repeat_last: p.repeat_last as usize,
        seed: p.seed,
    })
}

impl Opaque for q_sampler {
    type Value = Sampler;
    type Side = ();
    const NAME: &'static str = "q_sampler";
}

/// Fills `params` with defaults. `size` is sizeof(q_sampler_params).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_sampler_params_init(params: *mut q_sampler_params, size: usize) -> q_error_code {
    ffi!({ params::init(params, size) })
}

/// Makes a sampler for the logits of `model`. `params` may be NULL. Free it with q_sampler_free; it does not keep the
/// model alive. Errors: Q_ERR_INVALID_ARGUMENT for a number outside its range (NaN too), Q_ERR_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_sampler_create(
    model: *const q_model,
    params: *const q_sampler_params,
    out: *mut *mut q_sampler,
) -> q_error_code {
    ffi!({
        let model = handle::shared(model)?;
        handle::check_out(out)?;
        let p = engine_params(&params::read(params)?)?;
        handle::create(Sampler::new(p, model.engine.graph.out_width())?, (), out)
    })
}

/// Chooses a token by the logits of `index` of the context's last call. It is not remembered: see q_sampler_accept.
/// Errors: Q_ERR_INVALID_ARGUMENT when there are no such logits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_sampler_sample(
    sampler: *mut q_sampler,
    context: *mut q_context,
    index: u32,
    token: *mut u32,
) -> q_error_code {
    ffi!({
        let mut sampler = handle::exclusive(sampler)?;
        let context = handle::exclusive(context)?;
        args::pointer(token, "token")?;
        args::put(token, sampler.sample(context.engine.logits(index as usize)?)?, "token")
    })
}

/// Chooses a token by `n` logits of the host. NaN is never chosen. Errors: Q_ERR_SHAPE for another number of logits than
/// 1 to the width of the model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_sampler_sample_logits(
    sampler: *mut q_sampler,
    logits: *const f32,
    n: usize,
    token: *mut u32,
) -> q_error_code {
    ffi!({
        let mut sampler = handle::exclusive(sampler)?;
        args::pointer(token, "token")?;
        args::put(token, sampler.sample(args::slice(logits, n, "logits")?)?, "token")
    })
}

/// Tells the sampler of a token of the text, for the penalty.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_sampler_accept(sampler: *mut q_sampler, token: u32) -> q_error_code {
    ffi!({
        handle::exclusive(sampler)?.accept(token);
        Ok(())
    })
}

/// Forgets recent tokens and starts the draws again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_sampler_reset(sampler: *mut q_sampler) -> q_error_code {
    ffi!({
        handle::exclusive(sampler)?.reset();
        Ok(())
    })
}

/// Frees a sampler; NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_sampler_free(sampler: *mut q_sampler) {
    // SAFETY: the caller's handle.
    unsafe { handle::free(sampler) }
}
