//! `q_generator`: text from a prompt, token by token, with stop strings and callbacks.

use super::args;
use super::boundary::outside;
use super::context::q_context;
use super::error::{choice, q_error_code};
use super::handle::{self, Opaque};
use super::model::q_model;
use super::params::{self, Params, Report};
use super::sampler::{self, q_sampler_params};
use super::tokenizer::{Q_TOKEN_NONE, q_text};
use crate::engine::generate::{DEFAULT_LOOKUP, Generate, Hooks, Outcome, Piece};
use crate::error::{fail, try_vec};
use std::ffi::{c_char, c_void};
use std::time::Duration;

/// A sampler, a decoder and stop strings. One call at a time.
pub struct q_generator {
    _opaque: [u8; 0],
}

impl Opaque for q_generator {
    type Value = Generate;
    type Side = ();
    const NAME: &'static str = "q_generator";
}

/// A generated token and the text that became certain with it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_piece {
    /// The token; Q_TOKEN_NONE for text that was held back when the generation ended.
    pub token: u32,
    /// Natural logarithm of its probability before penalties and filters.
    pub log_prob: f32,
    /// Whole characters, without a NUL; valid during the callback. Empty while a character or a possible stop string is
    /// unfinished.
    pub text: *const c_char,
    /// Bytes of `text`.
    pub text_len: usize,
}

/// Receives each token; other than 0 ends the generation. Must not unwind (C++: must not throw), and must not use the
/// context or the generator it is called from, but for q_context_cancel.
pub type q_piece_fn = Option<unsafe extern "C" fn(piece: *const q_piece, user: *mut c_void) -> i32>;

/// May change the `n` logits before a token is drawn. The same rules as q_piece_fn.
pub type q_logits_fn = Option<unsafe extern "C" fn(logits: *mut f32, n: usize, user: *mut c_void)>;

/// What a generation does. Fill it with q_generate_params_init first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_generate_params {
    /// sizeof(q_generate_params), set by q_generate_params_init.
    pub size: u32,
    /// The sequence that is continued (0).
    pub seq: u32,
    /// The most tokens to generate (256).
    pub max_tokens: u32,
    /// 0.
    pub reserved: u32,
    /// Receives the tokens; may be NULL.
    pub on_piece: q_piece_fn,
    /// May change the logits; may be NULL.
    pub on_logits: q_logits_fn,
    /// Handed to both.
    pub user: *mut c_void,
    /// The most tokens that are guessed from the text itself, where its end stood before, and computed together with the one
    /// before them (15); at most 64, and one less than `n_outputs` and `n_batch` of the context: a context that keeps one
    /// row of logits guesses nothing. It changes the speed, never the tokens.
    pub lookup: u32,
    /// 1 (the default): q_piece.log_prob is filled, which takes a look at the whole vocabulary; 0: it is NaN.
    pub log_probs: u32,
    /// A context of a smaller model with the same vocabulary, which guesses where the text itself does not; NULL (the
    /// default): none. It needs a sequence `seq`, whose tokens are replaced. It changes the speed, never the tokens.
    pub draft: *mut q_context,
}

// SAFETY: as the trait demands.
unsafe impl Params for q_generate_params {
    const NAME: &'static str = "q_generate_params";

    fn defaults() -> Self {
        q_generate_params {
            size: size_of::<Self>() as u32,
            seq: 0,
            max_tokens: 256,
            reserved: 0,
            on_piece: None,
            on_logits: None,
            user: std::ptr::null_mut(),
            lookup: DEFAULT_LOOKUP as u32,
            log_probs: 1,
            draft: std::ptr::null_mut(),
        }
    }
}

/// Why a generation ended.
#[repr(u32)]
pub enum q_outcome {
    /// The model said so.
    Q_OUTCOME_END = 0,
    /// A stop string appeared; it is not part of the text.
    Q_OUTCOME_STOP = 1,
    /// As many tokens as were asked for.
    Q_OUTCOME_LENGTH = 2,
    /// The context is full.
    Q_OUTCOME_CONTEXT_FULL = 3,
    /// The callback said so.
    Q_OUTCOME_HALTED = 4,
}

/// What a generation did.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct q_generate_result {
    /// Bytes of this struct that were filled.
    pub size: u32,
    /// A q_outcome.
    pub outcome: u32,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub tokens: u32,
    /// Nanoseconds for the prompt.
    pub prefill_ns: u64,
    /// Nanoseconds for all generated tokens but the first, which comes with the prompt.
    pub decode_ns: u64,
    /// Tokens that were guessed and computed together with the one before them.
    pub proposed: u32,
    /// How many of those were right.
    pub accepted: u32,
}

// SAFETY: as the trait demands.
unsafe impl Report for q_generate_result {
    const NAME: &'static str = "q_generate_result";
}

/// Makes a generator for contexts of `model`, with `n_stops` texts whose appearance ends a generation. `params` may be
/// NULL; `stops` may be NULL when there are none, and is copied.
///
/// Free it with q_generator_free; it keeps what it needs of the model alive.
/// Errors: Q_ERR_STATE for a model without tokenizer; Q_ERR_INVALID_ARGUMENT, also for an empty stop; Q_ERR_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_generator_create(
    model: *const q_model,
    params: *const q_sampler_params,
    stops: *const q_text,
    n_stops: usize,
    out: *mut *mut q_generator,
) -> q_error_code {
    ffi!({
        let model = handle::shared(model)?;
        handle::check_out(out)?;
        let p = sampler::engine_params(&params::read(params)?)?;
        let stops = args::slice(stops, n_stops, "stops")?;
        let mut texts = try_vec(stops.len(), "stop strings")?;
        for stop in stops {
            texts.push(args::text(stop.data, stop.len, "a stop string")?);
        }
        handle::create(Generate::new(&model.engine, p, &texts)?, (), out)
    })
}

/// Fills `params` with defaults. `size` is sizeof(q_generate_params).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_generate_params_init(params: *mut q_generate_params, size: usize) -> q_error_code {
    ffi!({ params::init(params, size) })
}

/// The host's functions as the engine's hooks.
struct Callbacks {
    piece: q_piece_fn,
    logits: q_logits_fn,
    log_probs: bool,
    user: *mut c_void,
}

impl Callbacks {
    fn hand(&self, token: u32, log_prob: f32, text: &str) -> bool {
        let Some(f) = self.piece else { return true };
        let piece = q_piece { token, log_prob, text: text.as_ptr().cast(), text_len: text.len() };
        // SAFETY: the host's function, called as the header says.
        outside(|| unsafe { f(&piece, self.user) }) == 0
    }
}

impl Hooks for Callbacks {
    fn logits(&mut self, logits: &mut [f32]) {
        if let Some(f) = self.logits {
            // SAFETY: the host's function, called as the header says.
            outside(|| unsafe { f(logits.as_mut_ptr(), logits.len(), self.user) });
        }
    }

    fn piece(&mut self, piece: Piece<'_>) -> bool {
        self.hand(piece.token, if self.log_probs { piece.log_prob() } else { f32::NAN }, piece.text)
    }

    fn rest(&mut self, text: &str) {
        self.hand(Q_TOKEN_NONE, 0.0, text);
    }
}

/// Appends the `n` tokens of `prompt` to a sequence of `context`, then generates. `params` may be NULL. `result` may be
/// NULL, and then `size` is not read; otherwise it is sizeof(q_generate_result).
///
/// The last generated token is not appended, so that the sequence can be continued by it or by something else. Nothing
/// is allocated. On Q_ERR_CANCELLED the sequence keeps what was finished: see q_context_len.
/// Errors: Q_ERR_INVALID_ARGUMENT for an empty prompt; those of q_context_append; Q_ERR_SHAPE for a context of another model
/// and for a draft with another vocabulary.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_generator_run(
    generator: *mut q_generator,
    context: *mut q_context,
    prompt: *const u32,
    n: usize,
    params: *const q_generate_params,
    result: *mut q_generate_result,
    size: usize,
) -> q_error_code {
    ffi!({
        let mut generator = handle::exclusive(generator)?;
        let mut context = handle::exclusive(context)?;
        let p = params::read(params)?;
        super::error::unused("reserved", p.reserved)?;
        let prompt = args::slice(prompt, n, "prompt")?;
        if !generator.fits(&context.model.engine) {
            fail!(Shape, "the generator is of another model than the context");
        }
        let log_probs = choice("log_probs", p.log_probs, &[(0, false), (1, true)])?;
        let mut hooks = Callbacks { piece: p.on_piece, logits: p.on_logits, log_probs, user: p.user };
        let mut draft = if p.draft.is_null() { None } else { Some(handle::exclusive(p.draft)?) };
        let draft = draft.as_mut().map(|draft| &mut draft.engine);
        generator.lookup = p.lookup as usize;
        let (seq, max) = (p.seq as usize, p.max_tokens as usize);
        let (outcome, timing) = generator.run_with(&mut context.engine, draft, seq, prompt, max, &mut hooks)?;
        if result.is_null() {
            return Ok(());
        }
        let outcome = match outcome {
            Outcome::End => q_outcome::Q_OUTCOME_END,
            Outcome::Stop => q_outcome::Q_OUTCOME_STOP,
            Outcome::Length => q_outcome::Q_OUTCOME_LENGTH,
            Outcome::ContextFull => q_outcome::Q_OUTCOME_CONTEXT_FULL,
            Outcome::Halted => q_outcome::Q_OUTCOME_HALTED,
        };
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let done = q_generate_result {
            size: 0,
            outcome: outcome as u32,
            prompt_tokens: timing.prompt_tokens as u32,
            tokens: timing.tokens as u32,
            prefill_ns: nanoseconds(timing.prefill),
            decode_ns: nanoseconds(timing.decode),
            proposed: timing.proposed as u32,
            accepted: timing.accepted as u32,
        };
        params::report(done, result, size)
    })
}

/// Forgets recent tokens and starts the draws again, as for a new text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_generator_reset(generator: *mut q_generator) -> q_error_code {
    ffi!({
        handle::exclusive(generator)?.sampler().reset();
        Ok(())
    })
}

/// Frees a generator; NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn q_generator_free(generator: *mut q_generator) {
    // SAFETY: the caller's handle.
    unsafe { handle::free(generator) }
}
