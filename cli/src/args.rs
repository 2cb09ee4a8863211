//! Arguments that several commands share, and how texts and numbers are read.

use crate::failure::{Result, run, usage};
use clap::builder::RangedU64ValueParser;
use qorus::adapter::Kind;
use qorus::engine::generate::DEFAULT_LOOKUP;
use qorus::engine::sampler::MAX_AHEAD;
use qorus::engine::{self, Context, ContextParams, Runtime, SamplerParams};
use qorus::gguf::Gguf;
use qorus::{Isa, Products, Type};
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The model to use.
#[derive(clap::Args)]
pub struct Model {
    /// A GGUF file; of a split model, its first part [default: a small one that tells stories]
    #[arg(short, long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Read the file into memory instead of mapping it: it costs its size in memory that is not shared, and speeds
    /// up decoding where the system has huge pages
    #[arg(long, requires = "model")]
    copy: bool,
}

impl Model {
    /// Maps the file, or reads it.
    pub fn open(&self) -> Result<Arc<Gguf>> {
        match &self.model {
            Some(path) if self.copy => Ok(Arc::new(Gguf::open_copy(path)?)),
            Some(path) => Ok(Arc::new(Gguf::open(path)?)),
            #[cfg(feature = "default-model")]
            None => Ok(Arc::new(crate::embedded::open()?)),
            #[cfg(not(feature = "default-model"))]
            None => usage("no model, and this build carries none: give one with -m FILE"),
        }
    }
}

/// How tokens are chosen.
#[derive(clap::Args)]
pub struct Sampling {
    /// Temperature; 0 always takes the most probable token
    #[arg(long, value_name = "T", default_value_t = SamplerParams::default().temperature, allow_negative_numbers = true)]
    temp: f32,
    /// Choose among the K most probable tokens; 0: among all
    #[arg(long, value_name = "K", default_value_t = SamplerParams::default().top_k)]
    top_k: usize,
    /// Choose among the most probable tokens that together reach P; 1: among all
    #[arg(long, value_name = "P", default_value_t = SamplerParams::default().top_p, allow_negative_numbers = true)]
    top_p: f32,
    /// Choose among tokens at least P times as probable as the best; 0: among all
    #[arg(long, value_name = "P", default_value_t = SamplerParams::default().min_p, allow_negative_numbers = true)]
    min_p: f32,
    /// Make the last 64 tokens less likely to come again; 1: not
    #[arg(long, value_name = "R", default_value_t = SamplerParams::default().repeat_penalty, allow_negative_numbers = true)]
    repeat_penalty: f32,
    /// Of the random draws: the same seed gives the same text
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
}

impl Sampling {
    /// The parameters, checked.
    pub fn params(&self) -> Result<SamplerParams> {
        let params = SamplerParams {
            temperature: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            seed: self.seed,
            ..SamplerParams::default()
        };
        params.check().or_else(usage)?;
        Ok(params)
    }
}

/// Guesses of what comes next.
#[derive(clap::Args)]
pub struct Ahead {
    /// Guess up to N tokens at once where the text repeats itself: faster, and the same text; 0: none
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LOOKUP, value_parser = ahead())]
    pub lookup: usize,
    /// A smaller model of the same vocabulary that guesses where the text does not repeat itself: the same text
    #[arg(long, value_name = "FILE")]
    draft: Option<PathBuf>,
}

impl Ahead {
    /// Rows of logits that a context has to keep.
    pub fn outputs(&self) -> usize {
        1 + if self.draft.is_some() { self.lookup.max(DEFAULT_LOOKUP) } else { self.lookup }
    }

    /// A context of the draft, as long as `ctx`.
    pub fn draft(&self, ctx: &Context) -> Result<Option<Context>> {
        let Some(path) = &self.draft else { return Ok(None) };
        let model = engine::Model::open(&ctx.model().runtime, path)?;
        let ContextParams { n_ctx, kv, .. } = *ctx.params();
        Ok(Some(Context::new(&model, &ContextParams { n_ctx, kv, ..ContextParams::default() })?))
    }
}

/// A number of guesses.
pub fn ahead() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(..=MAX_AHEAD as u64)
}

/// Threads; more than one machine has are of no use but allowed.
#[derive(clap::Args)]
pub struct Threads {
    /// Threads [default: one for each core]
    #[arg(short, long, value_name = "N", value_parser = count())]
    threads: Option<usize>,
    /// Keep each thread but the first on a core of its own
    #[arg(long)]
    pin: bool,
}

impl Threads {
    /// How many; 0 stands for one for each core.
    pub fn get(&self) -> usize {
        self.threads.unwrap_or(0)
    }

    /// A runtime of them, at the level that QORUS_ISA allows.
    pub fn runtime(&self, products: Products) -> Result<Arc<Runtime>> {
        let runtime = Runtime::with_products(self.get(), None, products)?;
        if self.pin {
            runtime.pool.pin()?;
        }
        Ok(runtime)
    }
}

/// Which float products are computed.
#[derive(clap::Args)]
pub struct Bf16 {
    /// Let weights that are stored as BF16 meet activations rounded to bf16: other results, and faster where the CPU multiplies
    /// bf16 fast, as `qorus bench` with and without it tells
    #[arg(long)]
    bf16: bool,
}

impl Bf16 {
    /// The products.
    pub fn products(&self) -> Products {
        if self.bf16 { Products::Bf16 } else { Products::F32 }
    }
}

/// How keys and values are stored.
#[derive(clap::Args)]
pub struct Kv {
    /// Storage type of keys and values: f32, f16, q8_0 or q4_0
    #[arg(long = "kv", value_name = "TYPE", default_value = "f16", value_parser = kv_type)]
    pub ty: Type,
}

/// A number of at least 1.
pub fn count() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// Bytes, with k, M or G for powers of 1024.
pub fn bytes(text: &str) -> std::result::Result<usize, String> {
    let shift = match text.chars().last() {
        Some('k' | 'K') => 10,
        Some('m' | 'M') => 20,
        Some('g' | 'G') => 30,
        _ => 0,
    };
    let digits = if shift > 0 { &text[..text.len() - 1] } else { text };
    let number = digits.parse::<usize>().ok().and_then(|n| n.checked_mul(1 << shift));
    number.filter(|&n| n > 0).ok_or_else(|| "give a number of bytes, as 1000000, 512k, 300M or 2G".into())
}

/// A type in which keys and values are stored.
fn kv_type(name: &str) -> std::result::Result<Type, String> {
    let known = |ty: &Type| matches!(ty, Type::F32 | Type::F16 | Type::Q8_0 | Type::Q4_0);
    Type::from_name(name).filter(known).ok_or_else(|| "give f32, f16, q8_0 or q4_0".into())
}

/// A kind of adapters.
pub fn adapter_kind(name: &str) -> std::result::Result<Kind, String> {
    Kind::from_name(name).ok_or_else(|| format!("give {}", Kind::ALL.map(Kind::name).join(", ")))
}

/// A level of instruction sets.
pub fn isa(name: &str) -> std::result::Result<Isa, String> {
    Isa::from_name(name).ok_or_else(|| format!("give {}", Isa::names()))
}

/// A text: the argument, or else the whole file, or stdin for `-`, exactly as it is.
pub fn text(argument: Option<String>, file: Option<&Path>) -> Result<String> {
    let Some(path) = file else { return Ok(argument.unwrap_or_default()) };
    let stdin = path == Path::new("-");
    let name = if stdin { "stdin".to_owned() } else { path.display().to_string() };
    let read = if stdin {
        if std::io::stdin().is_terminal() {
            let _ = writeln!(std::io::stderr(), "Reading from the terminal; Ctrl-D ends the text.");
        }
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(e) => return run(format_args!("{name}: cannot be read: {e}")),
    };
    String::from_utf8(bytes).or_else(|e| {
        let at = e.utf8_error().valid_up_to();
        run(format_args!("{name}: is not UTF-8 at byte {at}: convert the text, for instance with iconv"))
    })
}
