//! What a fine-tuning learns from its examples: answers, which of two answers is better, which are good, or what a teacher says.

use crate::failure::{Result, usage};
use crate::output;
use crate::train::folder::Folder;
use qorus::engine::{self, Context, ContextParams, Runtime};
use qorus::train::Objective;
use qorus::train::data::{Ids, Kind, Teacher};
use qorus::train::distill::Distill;
use qorus::train::preference::Preference;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(clap::Args)]
pub struct What {
    /// What is learned
    #[arg(long, value_enum, default_value_t = Method::Sft)]
    method: Method,
    /// For dpo and kto: the less, the further from the base
    #[arg(long, value_name = "B", default_value_t = 0.1)]
    beta: f64,
    /// For dpo: the share of labels that may be wrong
    #[arg(long, value_name = "E", default_value_t = 0.0)]
    smoothing: f64,
    /// For kto: the weight of good answers
    #[arg(long, value_name = "W", default_value_t = 1.0)]
    desirable: f64,
    /// For kto: the weight of bad answers
    #[arg(long, value_name = "W", default_value_t = 1.0)]
    undesirable: f64,
    /// For distill: the teacher, a GGUF file with the base's vocabulary; its logits are kept beside the run
    #[arg(long, value_name = "FILE")]
    teacher: Option<PathBuf>,
    /// For distill: logits that the teacher gives for each token
    #[arg(long, value_name = "K", default_value_t = 32)]
    teacher_top: usize,
    /// For distill: by what both's logits are divided
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f32,
    /// For distill: the teacher's share of the loss; the rest is the examples'
    #[arg(long, value_name = "SHARE", default_value_t = 0.9)]
    teacher_share: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Method {
    /// The answers, token by token
    Sft,
    /// Which of two answers is better (arXiv 2305.18290)
    Dpo,
    /// Which answers are good (arXiv 2402.01306)
    Kto,
    /// What a larger model says of each token (arXiv 1503.02531)
    Distill,
}

impl What {
    /// How the files are written.
    pub fn kind(&self) -> Kind {
        match self.method {
            Method::Sft | Method::Distill => Kind::Jsonl,
            Method::Dpo => Kind::Preferences,
            Method::Kto => Kind::Judged,
        }
    }

    /// What is made small.
    pub fn objective(&self) -> Objective {
        let (beta, smoothing) = (self.beta, self.smoothing);
        let (desirable, undesirable) = (self.desirable, self.undesirable);
        match self.method {
            Method::Sft => Objective::default(),
            Method::Dpo => Objective::Preference(Preference::Dpo { beta, smoothing }),
            Method::Kto => Objective::Preference(Preference::Kto { beta, desirable, undesirable }),
            Method::Distill => {
                let (temperature, share, top) = (self.temperature, self.teacher_share, self.teacher_top);
                Objective::Distill(Distill { temperature, share, top })
            }
        }
    }

    /// The teacher's logits of all tokens, asked for once.
    pub fn teacher(
        &self,
        runtime: &Arc<Runtime>,
        ids: &Ids,
        folder: &Folder,
        length: usize,
        json: bool,
    ) -> Result<Option<Arc<Teacher>>> {
        let path = match (self.method, &self.teacher) {
            (Method::Distill, Some(path)) => path,
            (Method::Distill, None) => return usage("--method distill needs a teacher: give one with --teacher FILE"),
            _ => return Ok(None),
        };
        let model = engine::Model::open(runtime, path)?;
        let params = ContextParams { n_ctx: length, n_outputs: length.min(64), ..ContextParams::default() };
        let mut ctx = Context::new(&model, &params)?;
        let bar = if json { indicatif::ProgressBar::hidden() } else { output::progress(0) };
        bar.set_message("asking the teacher");
        let teacher =
            Teacher::prepare(&folder.file("teacher.top"), ids, &mut ctx, self.teacher_top, &mut |done, of| {
                bar.set_length(of);
                bar.set_position(done);
                true
            });
        bar.finish_and_clear();
        Ok(Some(Arc::new(teacher?)))
    }

    /// The settings as a file keeps them.
    pub fn describe(&self) -> String {
        format!(
            "method = \"{:?}\"\nbeta = {}\nsmoothing = {}\ndesirable = {}\nundesirable = {}\nteacher = {:?}\nteacher_top = {}\ntemperature = {}\n\
             teacher_share = {}\n",
            self.method,
            self.beta,
            self.smoothing,
            self.desirable,
            self.undesirable,
            self.teacher.as_ref().map(|t| t.display().to_string()).unwrap_or_default(),
            self.teacher_top,
            self.temperature,
            self.teacher_share
        )
    }
}
