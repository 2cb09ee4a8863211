//! The examples of a fine-tuning: what of them is taken, and the batches they make.

use crate::args;
use crate::failure::{Result, run};
use crate::output;
use crate::train::folder::Folder;
use qorus::gguf::Gguf;
use qorus::models::Graph;
use qorus::tokenizer::Tokenizer;
use qorus::train::Feed;
use qorus::train::data::{
    BatchParams, Batches, Fill, Ids, Kind, PairBatches, Part, Sift, Source, Split, Teacher, prepare,
};
use qorus::train::examples::DistillFeed;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(clap::Args)]
pub struct Data {
    /// Tokens of a row; samples are packed into rows, and one that is longer is an error [default: 512, or what the model has]
    #[arg(long, value_name = "N", value_parser = args::count())]
    ctx: Option<usize>,
    /// Cut answers behind this many tokens of a sample, and say how many were
    #[arg(long, value_name = "N", value_parser = args::count())]
    max_length: Option<usize>,
    /// Leave samples out that were there before: none, exact, or near[:RESEMBLANCE] (MinHash over stretches of 5 characters)
    #[arg(long, value_name = "HOW", default_value = "exact", value_parser = dedup)]
    dedup: Dedup,
    /// The share of the samples that is kept for validation [default: 0.05, or none of a few samples]
    #[arg(long, value_name = "SHARE")]
    validation: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Dedup {
    None,
    Exact,
    Near(f32),
}

fn dedup(text: &str) -> std::result::Result<Dedup, String> {
    match text.split_once(':') {
        None if text == "none" => Ok(Dedup::None),
        None if text == "exact" => Ok(Dedup::Exact),
        None if text == "near" => Ok(Dedup::Near(0.8)),
        Some(("near", share)) => {
            let share = share.parse().ok().filter(|s: &f32| *s > 0.0 && *s <= 1.0);
            share.map(Dedup::Near).ok_or_else(|| "give a resemblance above 0 and at most 1, as near:0.8".into())
        }
        _ => Err("give none, exact, near or near:0.8".into()),
    }
}

impl Data {
    /// Tokens of a row.
    pub fn length(&self, graph: &Graph) -> Result<usize> {
        let most = graph.ctx_train;
        let length = self.ctx.unwrap_or(if most > 0 { most.min(512) } else { 512 });
        if most > 0 && length > most {
            return run(format_args!("--ctx {length}: the model's context has {most} positions, give 1 to {most}"));
        }
        Ok(length)
    }

    /// The samples as ids, made once.
    #[allow(clippy::too_many_arguments)] // each is one thing, and it is called once
    pub fn ids(
        &self,
        kind: Kind,
        files: &[PathBuf],
        folder: &Folder,
        gguf: &Gguf,
        tokenizer: &Tokenizer,
        length: usize,
        json: bool,
    ) -> Result<Ids> {
        let sift = Sift {
            exact: self.dedup != Dedup::None,
            near: if let Dedup::Near(share) = self.dedup { Some(share) } else { None },
            longest: self.max_length.map_or(length, |n| n.min(length)),
            cut: self.max_length.is_some(),
        };
        let source = Source { kind, sift, ..Source::jsonl(files) };
        let bar = if json { indicatif::ProgressBar::hidden() } else { output::progress_bytes() };
        bar.set_message("reading");
        let ids = prepare(&source, gguf, tokenizer, &folder.file("data.ids"), &mut |done, of| {
            bar.set_length(of);
            bar.set_position(done);
            true
        });
        bar.finish_and_clear();
        Ok(ids?)
    }

    fn share(&self) -> f64 {
        self.validation.unwrap_or(0.05)
    }

    /// What is kept for validation. Unless it was asked for it may be nothing.
    fn kept<F>(&self, made: qorus::Result<F>) -> Result<Option<F>> {
        match made {
            Ok(kept) => Ok((self.share() > 0.0).then_some(kept)),
            Err(_) if self.validation.is_none_or(|share| share <= 0.0) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// The settings as a file keeps them.
    pub fn describe(&self) -> String {
        let (cut, share) = (self.max_length.unwrap_or(0), self.share());
        format!("max_length = {cut}\ndedup = \"{:?}\"\nvalidation = {share}\n", self.dedup)
    }
}

/// What is learned from, and what is kept.
pub struct Feeds {
    train: Box<dyn Feed>,
    kept: Option<Box<dyn Feed>>,
    /// Tokens of an epoch, and of what is kept, places that pairs leave empty included.
    pub tokens: u64,
    pub kept_tokens: u64,
}

impl Feeds {
    /// Batches of `micro` rows, or pairs.
    pub fn new(
        args: &Data,
        ids: &Arc<Ids>,
        kind: Kind,
        (micro, length): (usize, usize),
        (seed, teacher): (u64, Option<Arc<Teacher>>),
    ) -> Result<Feeds> {
        let share = args.share();
        if kind.is_paired() {
            let side = |part| PairBatches::new(Arc::clone(ids), (micro, length), share, part, seed);
            let train = side(Part::Train)?;
            let kept = args.kept(side(Part::Validation))?;
            let tokens = |pairs: u64| pairs * 2 * length as u64;
            let (tokens, kept_tokens) = (tokens(train.pairs()), kept.as_ref().map_or(0, |k| tokens(k.pairs())));
            let kept = kept.map(|k| Box::new(k) as Box<dyn Feed>);
            return Ok(Feeds { train: Box::new(train), kept, tokens, kept_tokens });
        }
        let split = if share > 0.0 { Split::Hash { share, seed } } else { Split::None };
        let params = BatchParams { split, seed, ..BatchParams::train(micro, length, Fill::Whole) };
        let train = Batches::new(Arc::clone(ids), &params)?;
        let kept = BatchParams { part: Part::Validation, ..params }.validation();
        let kept = args.kept(Batches::new(Arc::clone(ids), &kept))?;
        let (tokens, kept_tokens) = (train.tokens(), kept.as_ref().map_or(0, Batches::tokens));
        let feed = |batches: Batches| -> Result<Box<dyn Feed>> {
            Ok(match &teacher {
                Some(teacher) => Box::new(DistillFeed::new(batches, teacher, micro * length)?),
                None => Box::new(batches),
            })
        };
        Ok(Feeds { train: feed(train)?, kept: kept.map(feed).transpose()?, tokens, kept_tokens })
    }

    /// Whether anything is kept for validation.
    pub fn validates(&self) -> bool {
        self.kept.is_some()
    }

    pub fn both(&mut self) -> (&mut dyn Feed, Option<&mut dyn Feed>) {
        (&mut *self.train, self.kept.as_mut().map(|kept| &mut **kept as &mut dyn Feed))
    }
}
