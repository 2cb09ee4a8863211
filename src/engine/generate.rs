//! Text generation: a prompt goes in, pieces of text come out, until something says stop.
//!
//! Where the next tokens can be guessed, several rows go through the layers at once and as many tokens are taken from them
//! as would have come one by one: each is chosen by its row's logits as ever, and a row is used only if the tokens before
//! it are those that were chosen. Since a row's logits are the same bits in any batch, so are the tokens, drawn ones too
//! (Leviathan et al., arXiv 2211.17192, have the idea for drafts; with random numbers by counting nothing needs correcting).

use super::ahead::{self, Credit};
use super::context::Context;
use super::model::Model;
use super::plan::Pooling;
use super::sampler::{MAX_AHEAD, Sampler, SamplerParams};
use super::weigh::log_prob;
use crate::error::{Code, Error, Result, fail, try_vec};
use crate::tokenizer::{Decoder, Tokenizer};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A generated token and the text that became certain with it.
#[derive(Clone, Copy)]
pub struct Piece<'a> {
    /// The token.
    pub token: u32,
    /// Whole characters; empty while a character or a possible stop string is unfinished.
    pub text: &'a str,
    /// What it was chosen by, before penalties and filters.
    pub logits: &'a [f32],
}

impl Piece<'_> {
    /// Natural logarithm of the token's probability before penalties and filters. It takes a look at the whole vocabulary.
    pub fn log_prob(&self) -> f32 {
        log_prob(self.logits, self.token).unwrap_or(f32::NAN) // the token is one of them
    }
}

/// What a caller may do while text is generated.
pub trait Hooks {
    /// Changes the logits before a token is drawn.
    fn logits(&mut self, _logits: &mut [f32]) {}

    /// Receives each token; `false` stops.
    fn piece(&mut self, piece: Piece<'_>) -> bool;

    /// Receives text that was held back when the generation ended.
    fn rest(&mut self, _text: &str) {}
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The model said so.
    End,
    /// A stop string appeared; it is not part of the text.
    Stop,
    /// As many tokens as were asked for.
    Length,
    /// The context is full.
    ContextFull,
    /// The caller said so.
    Halted,
}

/// How many tokens went through and how long that took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Time for them.
    pub prefill: Duration,
    /// Tokens generated.
    pub tokens: usize,
    /// Time for all of them but the first, which comes with the prompt.
    pub decode: Duration,
    /// Tokens that were guessed and computed with the one before them.
    pub proposed: usize,
    /// How many of those were right.
    pub accepted: usize,
}

impl Timing {
    /// Tokens of the prompt per second.
    pub fn prefill_rate(&self) -> f64 {
        rate(self.prompt_tokens, self.prefill)
    }

    /// Generated tokens per second.
    pub fn decode_rate(&self) -> f64 {
        rate(self.tokens.saturating_sub(1), self.decode)
    }
}

/// Bytes for text that is held back.
fn held_bytes(stops: &[&str]) -> usize {
    stops.iter().map(|s| s.len()).max().unwrap_or(0) + TEXT_BYTES
}

fn rate(n: usize, time: Duration) -> f64 {
    if n == 0 { 0.0 } else { n as f64 / time.as_secs_f64().max(1e-9) }
}

/// A sampler, a decoder and the text that is held back. Made once; nothing is allocated while it runs.
pub struct Generate {
    /// The most tokens that are guessed from the text itself, and computed together with the one before them; at most
    /// [`MAX_AHEAD`], and one less than a context's `n_outputs` and `n_batch`. It changes the speed, never the tokens.
    pub lookup: usize,
    tokenizer: Arc<Tokenizer>,
    sampler: Sampler,
    stops: Vec<Box<[u8]>>,
    /// Text not handed out yet: it may be the head of a stop string.
    held: Vec<u8>,
    /// The text of one token.
    text: Vec<u8>,
    /// The tokenizer of a draft whose vocabulary was found to be the same.
    drafted: Option<Arc<Tokenizer>>,
}

/// Guesses from the text itself that are worth their rows where a text repeats itself.
pub const DEFAULT_LOOKUP: usize = 15;

/// Bytes for the text of one token; longer ones exist in theory, and then grow the buffer.
const TEXT_BYTES: usize = 1024;

/// How far a run is.
struct Progress {
    /// Tokens of the sequence that are certain: what it holds beyond are guesses.
    len: usize,
    /// Guesses, which the sequence holds, and how many of them.
    ahead: [u32; MAX_AHEAD],
    guessed: usize,
    /// How many of them were right so far: the row of the logits that come next.
    row: usize,
    /// What guessing is worth, from the text itself and by a draft; and by which of them `ahead` was guessed.
    credit: [Credit; 2],
    by: usize,
    timing: Timing,
}

impl Generate {
    /// A generation with texts from `stops` as its end.
    pub fn new(model: &Model, params: SamplerParams, stops: &[&str]) -> Result<Generate> {
        let Some(tokenizer) = &model.tokenizer else { fail!(State, "the model has no tokenizer") };
        if stops.iter().any(|s| s.is_empty()) {
            fail!(InvalidArgument, "an empty stop string would end every text before it begins");
        }
        let mut text = try_vec(TEXT_BYTES, "bytes of text")?;
        text.resize(TEXT_BYTES, 0);
        Ok(Generate {
            lookup: DEFAULT_LOOKUP,
            tokenizer: Arc::clone(tokenizer),
            sampler: Sampler::new(params, model.graph.out_width())?,
            stops: stops.iter().map(|s| s.as_bytes().into()).collect(),
            held: try_vec(held_bytes(stops), "bytes of text")?,
            text,
            drafted: None,
        })
    }

    /// Bytes that a generation reserves. A plan counts them for one with default parameters and no stop strings.
    pub fn bytes(params: &SamplerParams, stops: &[&str]) -> usize {
        let texts: usize = stops.iter().map(|s| s.len()).sum();
        Sampler::bytes(params) + size_of_val(stops) + texts + held_bytes(stops) + TEXT_BYTES
    }

    /// Whether it was made for `model`.
    pub fn fits(&self, model: &Model) -> bool {
        model.tokenizer.as_ref().is_some_and(|tokenizer| Arc::ptr_eq(tokenizer, &self.tokenizer))
    }

    /// The sampler.
    pub fn sampler(&mut self) -> &mut Sampler {
        &mut self.sampler
    }

    /// Appends `prompt` to sequence `seq` of `ctx` and then up to `max_tokens` tokens, each handed to `hooks`.
    /// The last token is not appended, so the sequence can be continued by it or by something else.
    pub fn run(
        &mut self,
        ctx: &mut Context,
        seq: usize,
        prompt: &[u32],
        max_tokens: usize,
        hooks: &mut dyn Hooks,
    ) -> Result<(Outcome, Timing)> {
        self.run_with(ctx, None, seq, prompt, max_tokens, hooks)
    }

    /// As [`Generate::run`], for the text `ids` of which the sequence may hold a beginning: only the rest is computed
    /// (see [`Context::reuse`]). Of earlier texts the sampler remembers nothing.
    pub fn answer(
        &mut self,
        ctx: &mut Context,
        draft: Option<&mut Context>,
        seq: usize,
        ids: &[u32],
        max_tokens: usize,
        hooks: &mut dyn Hooks,
    ) -> Result<(Outcome, Timing)> {
        let held = ctx.reuse(seq, ids)?;
        self.sampler.forget();
        ids[..held].iter().for_each(|&id| self.sampler.accept(id));
        self.run_with(ctx, draft, seq, &ids[held..], max_tokens, hooks)
    }

    /// As [`Generate::run`], with a context of a smaller model that guesses what comes: the same tokens, sooner when the
    /// guesses are good. Its vocabulary must be the same, and it needs a sequence `seq`; what that holds is replaced.
    pub fn run_with(
        &mut self,
        ctx: &mut Context,
        mut draft: Option<&mut Context>,
        seq: usize,
        prompt: &[u32],
        max_tokens: usize,
        hooks: &mut dyn Hooks,
    ) -> Result<(Outcome, Timing)> {
        if prompt.is_empty() {
            fail!(InvalidArgument, "the prompt has no tokens, so there is nothing to continue");
        }
        if let Some(draft) = &mut draft {
            self.check_draft(ctx, draft, seq)?;
        }
        let tokenizer = Arc::clone(&self.tokenizer);
        let mut decoder = Decoder::continuing();
        self.held.clear();
        prompt.iter().for_each(|&id| self.sampler.accept(id));
        let start = Instant::now();
        ctx.append(seq, prompt)?;
        let mut p = Progress {
            len: ctx.len(seq),
            ahead: [0; MAX_AHEAD],
            guessed: 0,
            row: 0,
            credit: [Credit::new(); 2],
            by: 0,
            timing: Timing { prompt_tokens: prompt.len(), prefill: start.elapsed(), ..Timing::default() },
        };
        let start = Instant::now();
        let outcome = self.decode(ctx, draft, seq, max_tokens, &mut p, &mut decoder, &tokenizer, hooks);
        // The context is left as if nothing had been guessed.
        match &outcome {
            Ok(_) if p.row > 0 || ctx.len(seq) > p.len => ctx.settle(seq, p.len, p.row)?,
            Err(_) if ctx.len(seq) > p.len => ctx.truncate(seq, p.len)?,
            _ => {}
        }
        let outcome = outcome?;
        p.timing.decode = start.elapsed();
        let n = decoder.finish(&mut self.text)?;
        self.held.extend_from_slice(&self.text[..n]);
        if !self.held.is_empty() {
            hooks.rest(&String::from_utf8_lossy(&self.held));
        }
        Ok((outcome, p.timing))
    }

    /// Token after token, until something says stop.
    #[allow(clippy::too_many_arguments)] // the parts of one run
    fn decode(
        &mut self,
        ctx: &mut Context,
        mut draft: Option<&mut Context>,
        seq: usize,
        max_tokens: usize,
        p: &mut Progress,
        decoder: &mut Decoder,
        tokenizer: &Tokenizer,
        hooks: &mut dyn Hooks,
    ) -> Result<Outcome> {
        loop {
            if p.timing.tokens == max_tokens {
                return Ok(Outcome::Length);
            }
            let logits = ctx.logits_mut(p.row)?;
            hooks.logits(logits);
            let token = self.sampler.sample(logits)?;
            self.sampler.accept(token);
            // A model that begins another text has ended this one; some never say it otherwise.
            if tokenizer.is_end(token) || tokenizer.bos() == Some(token) {
                return Ok(Outcome::End);
            }
            p.timing.tokens += 1;
            self.push(tokenizer, decoder, token)?;
            let stop = self.find_stop();
            let ready = stop.unwrap_or_else(|| self.held.len() - self.doubtful());
            let text = String::from_utf8_lossy(&self.held[..ready]); // borrowed: only whole characters come in
            let go_on = hooks.piece(Piece { token, text: &text, logits });
            drop(text);
            self.held.drain(..ready);
            if stop.is_some() {
                self.held.clear();
                return Ok(Outcome::Stop);
            }
            if !go_on {
                return Ok(Outcome::Halted);
            }
            if p.timing.tokens == max_tokens {
                return Ok(Outcome::Length);
            }
            if p.len == ctx.params().n_ctx {
                return Ok(Outcome::ContextFull);
            }
            if p.row < p.guessed && p.ahead[p.row] == token {
                ctx.check_cancel()?;
                p.row += 1;
                p.timing.accepted += 1;
            } else {
                p.credit[p.by].settle(p.guessed, p.row);
                (p.guessed, p.row) = (0, 0);
                ctx.truncate(seq, p.len)?;
                let left = max_tokens - p.timing.tokens;
                let guessed = self.guess(ctx, draft.as_deref_mut(), seq, token, left, p)?;
                let mut pass = [token; MAX_AHEAD + 1];
                pass[1..=guessed].copy_from_slice(&p.ahead[..guessed]);
                ctx.append_all(seq, &pass[..=guessed])?;
                p.guessed = guessed;
                p.timing.proposed += guessed;
            }
            p.len += 1;
            p.credit.iter_mut().for_each(Credit::earn);
        }
    }

    /// Guesses what follows the sequence and then `token`, of a text that ends after `left` tokens at the latest, into
    /// `p.ahead`; returns how many.
    fn guess(
        &mut self,
        ctx: &Context,
        draft: Option<&mut Context>,
        seq: usize,
        token: u32,
        left: usize,
        p: &mut Progress,
    ) -> Result<usize> {
        let c = ctx.params();
        let room = (c.n_ctx - p.len).min(c.n_outputs).min(c.n_batch).min(left).min(MAX_AHEAD + 1) - 1;
        // Embeddings are made of all rows that go through the layers.
        if room == 0 || c.pooling != Pooling::None {
            return Ok(0);
        }
        let text = ctx.tokens(seq);
        let n = room.min(self.lookup).min(p.credit[0].rows());
        let n = if n > 0 { ahead::lookup(text, token, &mut p.ahead[..n]) } else { 0 };
        p.by = usize::from(n == 0);
        match draft {
            Some(draft) if n == 0 => {
                let (n, vocab) = (room.min(p.credit[1].rows()), ctx.model().graph.out_width());
                ahead::draft(draft, seq, text, token, &mut self.sampler, vocab, &mut p.ahead[..n])
            }
            _ => Ok(n),
        }
    }

    /// Whether `draft` may guess for `ctx`; the vocabularies are compared once.
    fn check_draft(&mut self, ctx: &Context, draft: &Context, seq: usize) -> Result<()> {
        if seq >= draft.params().n_seqs {
            fail!(InvalidArgument, "sequence {seq}: the context of the draft has {}", draft.params().n_seqs);
        }
        let theirs = &draft.model().tokenizer;
        let same = |a: &Arc<Tokenizer>| theirs.as_ref().is_some_and(|b| Arc::ptr_eq(a, b));
        if !same(&self.tokenizer) && !self.drafted.as_ref().is_some_and(same) {
            ahead::check_vocabularies(ctx.model(), draft.model())?;
            self.drafted.clone_from(theirs);
        }
        Ok(())
    }

    /// Appends the text of `token` to what is held.
    fn push(&mut self, tokenizer: &Tokenizer, decoder: &mut Decoder, token: u32) -> Result<()> {
        loop {
            match decoder.push(tokenizer, token, false, &mut self.text) {
                Ok(n) => {
                    self.held.extend_from_slice(&self.text[..n]);
                    return Ok(());
                }
                Err(e) if e.code() == Code::BufferTooSmall => {
                    let more = self.text.len();
                    let grown = self.text.try_reserve_exact(more);
                    grown.map_err(|_| Error::new(Code::OutOfMemory, "no memory for the text of a token"))?;
                    self.text.resize(2 * more, 0);
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Where the first stop string begins in what is held.
    fn find_stop(&self) -> Option<usize> {
        let find = |stop: &[u8]| self.held.windows(stop.len()).position(|w| w == stop);
        self.stops.iter().filter_map(|stop| find(stop)).min()
    }

    /// Length of the longest end of what is held with which a stop string may begin.
    fn doubtful(&self) -> usize {
        let overlap = |stop: &[u8]| {
            let most = (stop.len() - 1).min(self.held.len());
            (1..=most).rev().find(|&n| self.held.ends_with(&stop[..n])).unwrap_or(0)
        };
        self.stops.iter().map(|stop| overlap(stop)).max().unwrap_or(0)
    }
}
