//! Text generation: a prompt goes in, pieces of text come out, until something says stop.

use super::context::Context;
use super::model::Model;
use super::sampler::{Sampler, SamplerParams, log_prob};
use crate::error::{Code, Error, Result, fail, try_vec};
use crate::tokenizer::{Decoder, Tokenizer};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A generated token and the text that became certain with it.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The token.
    pub token: u32,
    /// Whole characters; empty while a character or a possible stop string is unfinished.
    pub text: &'a str,
    /// Natural logarithm of the token's probability before penalties and filters.
    pub log_prob: f32,
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

fn rate(n: usize, time: Duration) -> f64 {
    if n == 0 { 0.0 } else { n as f64 / time.as_secs_f64().max(1e-9) }
}

/// A sampler, a decoder and the text that is held back. Made once; nothing is allocated while it runs.
pub struct Generate {
    tokenizer: Arc<Tokenizer>,
    sampler: Sampler,
    stops: Vec<Box<[u8]>>,
    /// Text not handed out yet: it may be the head of a stop string.
    held: Vec<u8>,
    /// The text of one token.
    text: Vec<u8>,
}

/// Bytes for the text of one token; longer ones exist in theory, and then grow the buffer.
const TEXT_BYTES: usize = 1024;

impl Generate {
    /// A generation with texts from `stops` as its end.
    pub fn new(model: &Model, params: SamplerParams, stops: &[&str]) -> Result<Generate> {
        let Some(tokenizer) = &model.tokenizer else { fail!(State, "the model has no tokenizer") };
        if stops.iter().any(|s| s.is_empty()) {
            fail!(InvalidArgument, "an empty stop string would end every text before it begins");
        }
        let longest = stops.iter().map(|s| s.len()).max().unwrap_or(0);
        let mut text = try_vec(TEXT_BYTES, "bytes of text")?;
        text.resize(TEXT_BYTES, 0);
        Ok(Generate {
            tokenizer: Arc::clone(tokenizer),
            sampler: Sampler::new(params, model.graph.out_width())?,
            stops: stops.iter().map(|s| s.as_bytes().into()).collect(),
            held: try_vec(longest + TEXT_BYTES, "bytes of text")?,
            text,
        })
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
        if prompt.is_empty() {
            fail!(InvalidArgument, "the prompt has no tokens, so there is nothing to continue");
        }
        let tokenizer = Arc::clone(&self.tokenizer);
        let mut decoder = Decoder::continuing();
        let mut timing = Timing { prompt_tokens: prompt.len(), ..Timing::default() };
        self.held.clear();
        prompt.iter().for_each(|&id| self.sampler.accept(id));
        let start = Instant::now();
        ctx.append(seq, prompt)?;
        timing.prefill = start.elapsed();
        let start = Instant::now();
        let outcome = loop {
            if timing.tokens == max_tokens {
                break Outcome::Length;
            }
            let logits = ctx.logits_mut(0)?;
            hooks.logits(logits);
            let token = self.sampler.sample(logits)?;
            let log_prob = log_prob(logits, token)?;
            self.sampler.accept(token);
            // A model that begins another text has ended this one; some never say it otherwise.
            if tokenizer.is_end(token) || tokenizer.bos() == Some(token) {
                break Outcome::End;
            }
            timing.tokens += 1;
            self.push(&tokenizer, &mut decoder, token)?;
            let stop = self.find_stop();
            let ready = stop.unwrap_or_else(|| self.held.len() - self.doubtful());
            let text = String::from_utf8_lossy(&self.held[..ready]); // borrowed: only whole characters come in
            let go_on = hooks.piece(Piece { token, text: &text, log_prob });
            drop(text);
            self.held.drain(..ready);
            if stop.is_some() {
                self.held.clear();
                break Outcome::Stop;
            }
            if !go_on {
                break Outcome::Halted;
            }
            if timing.tokens == max_tokens {
                break Outcome::Length;
            }
            if ctx.len(seq) == ctx.params().n_ctx {
                break Outcome::ContextFull;
            }
            ctx.append(seq, &[token])?;
        };
        timing.decode = start.elapsed();
        let n = decoder.finish(&mut self.text)?;
        self.held.extend_from_slice(&self.text[..n]);
        if !self.held.is_empty() {
            hooks.rest(&String::from_utf8_lossy(&self.held));
        }
        Ok((outcome, timing))
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
