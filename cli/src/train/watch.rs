//! Whoever watches a run: a bar with the time left, a line of JSON for each step, a curve.

use super::curve::{self, Series};
use super::folder::Folder;
use crate::failure::Result;
use crate::output;
use indicatif::ProgressBar;
use qorus::train::Trainer;
use qorus::train::run::{Report, Watch};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Texts that a model writes on its way.
pub trait Writes {
    /// A text of the trainer's weights, when one is due after `step`.
    fn sample(&mut self, step: u64, trainer: &Trainer) -> qorus::Result<Option<String>>;
}

/// See the module.
pub struct Watcher<'a> {
    folder: &'a Folder,
    log: BufWriter<File>,
    bar: ProgressBar,
    json: bool,
    /// Bytes of text for a token, for language models.
    bytes_per_token: Option<f64>,
    sampler: Option<Box<dyn Writes + 'a>>,
    pub train: Series,
    pub validation: Series,
    drawn: Instant,
    said: Instant,
    /// What a token's share of the run took: rows and seconds.
    rows: usize,
    seconds: f64,
}

impl<'a> Watcher<'a> {
    /// Goes on with the log of a run that has done `step` steps of `steps`.
    pub fn new(
        folder: &'a Folder,
        (step, steps): (u64, u64),
        json: bool,
        bytes_per_token: Option<f64>,
        sampler: Option<Box<dyn Writes + 'a>>,
    ) -> Result<Watcher<'a>> {
        let (mut train, mut validation) = (Series::default(), Series::default());
        let mut text = String::new();
        for line in folder.log(step) {
            let at = line["step"].as_u64().unwrap_or(0);
            train.push(at, line["loss"].as_f64());
            validation.push(at, line["val_loss"].as_f64());
            text += &format!("{line}\n");
        }
        folder.write("log.jsonl", text.as_bytes())?;
        let log = File::options().append(true).open(folder.file("log.jsonl"));
        let log = BufWriter::new(log.or_else(|e| crate::failure::run(format_args!("log.jsonl: {e}")))?);
        let bar = if json { ProgressBar::hidden() } else { output::progress(steps as usize) };
        bar.set_position(step);
        bar.reset_eta();
        let now = Instant::now();
        Ok(Watcher {
            folder,
            log,
            bar,
            json,
            bytes_per_token,
            sampler,
            train,
            validation,
            drawn: now,
            said: now,
            rows: 0,
            seconds: 0.0,
        })
    }

    fn line(&mut self, report: &Report) -> Value {
        let mut line = json!({
            "step": report.step,
            "loss": number(report.loss),
            "lr": number(report.rate),
            "grad_norm": number(report.norm),
            "tokens_per_s": number(report.rows as f64 / report.seconds),
            "accuracy": number(report.accuracy),
            "epoch": number(report.epochs),
        });
        if let Some(margin) = report.margin {
            line["reward_margin"] = number(margin);
        }
        if let Some(margin) = report.validation.and_then(|v| v.margin) {
            line["val_reward_margin"] = number(margin);
        }
        if let Some(v) = report.validation {
            line["val_loss"] = number(v.loss);
            line["val_accuracy"] = number(v.accuracy);
            if let Some(bytes) = self.bytes_per_token {
                line["val_perplexity"] = number(v.loss.exp());
                line["val_bits_per_byte"] = number(v.loss / std::f64::consts::LN_2 / bytes);
            }
        }
        line
    }

    /// A line for people: on the terminal above the bar, elsewhere now and then.
    fn say(&mut self, report: &Report) {
        let Report { step, loss, rate, norm, .. } = report;
        let speed = self.rows as f64 / self.seconds;
        self.bar.set_position(*step);
        self.bar.set_message(format!("loss {loss:.4}  {speed:.0} rows/s"));
        let Some(v) = report.validation else {
            if !std::io::stderr().is_terminal() && self.said.elapsed() > Duration::from_secs(10) {
                self.said = Instant::now();
                let _ = writeln!(std::io::stderr(), "step {step}: loss {loss:.4}, {speed:.0} rows/s");
            }
            return;
        };
        let bits = self
            .bytes_per_token
            .map_or(String::new(), |bytes| format!(" ({:.3} bits per byte)", v.loss / std::f64::consts::LN_2 / bytes));
        let margin =
            v.margin.map_or(String::new(), |m| format!(", reward margin {m:.3} ({:.0} % right)", 100.0 * v.accuracy));
        let best = format!("{margin}{}", if v.best { ", the best so far" } else { "" });
        let said = format!(
            "step {step}: loss {loss:.4}, validation {:.4}{bits}{best}; rate {rate:.2e}, gradient norm {norm:.2}, {speed:.0} rows/s",
            v.loss
        );
        self.print(&said);
    }

    /// A line above the bar.
    pub fn print(&mut self, text: &str) {
        self.said = Instant::now();
        self.bar.suspend(|| drop(writeln!(std::io::stderr(), "{text}")));
    }

    fn draw(&mut self) -> Result {
        self.drawn = Instant::now();
        let text = curve::svg(&[("training", &self.train), ("validation", &self.validation)]);
        self.folder.write("loss.svg", text.as_bytes())
    }

    /// Rows per second of all steps.
    pub fn speed(&self) -> f64 {
        self.rows as f64 / self.seconds
    }

    /// The last curve, in the folder, and on a terminal.
    pub fn finish(mut self) -> Result<(Series, Series, f64)> {
        self.bar.finish_and_clear();
        if let Err(e) = self.log.flush() {
            return crate::failure::run(format_args!("log.jsonl: {e}"));
        }
        self.draw()?;
        if !self.json && std::io::stderr().is_terminal() {
            let text = curve::terminal(&[("training", &self.train), ("validation", &self.validation)], 72, 14);
            let _ = write!(std::io::stderr(), "{text}");
        }
        // Of no steps, a run that was over, there is none.
        let speed = Some(self.speed()).filter(|speed| speed.is_finite()).unwrap_or(0.0);
        Ok((self.train, self.validation, speed))
    }
}

/// A number, or null for what is none.
fn number(x: f64) -> Value {
    // Seven digits say all that an f32 can, and keep the log short.
    if x.is_finite() { Value::from(format!("{x:.6e}").parse::<f64>().unwrap_or(x)) } else { Value::Null }
}

impl Watch for Watcher<'_> {
    fn step(&mut self, report: &Report, trainer: &Trainer) -> qorus::Result<()> {
        self.rows += report.rows;
        self.seconds += report.seconds;
        let line = self.line(report);
        self.train.push(report.step, Some(report.loss));
        self.validation.push(report.step, report.validation.map(|v| v.loss));
        let written = writeln!(self.log, "{line}").and_then(|()| self.log.flush());
        if let Err(e) = written {
            return Err(qorus::Error::new(qorus::Code::Io, format!("log.jsonl: {e}")));
        }
        if self.json {
            let _ = output::json(&line);
        } else {
            self.say(report);
        }
        if report.validation.is_some() || self.drawn.elapsed() > Duration::from_secs(30) {
            // The curve is drawn again later, and at the end its failure counts.
            let _ = self.draw();
        }
        let text = match &mut self.sampler {
            Some(sampler) => sampler.sample(report.step, trainer)?,
            None => None,
        };
        match text {
            Some(text) if self.json => drop(output::json(&json!({"step": report.step, "sample": text}))),
            Some(text) => self.print(&format!("--- step {}\n{}\n---", report.step, text.trim())),
            None => {}
        }
        Ok(())
    }

    fn saved(&mut self, path: &Path, step: u64) {
        if !self.json {
            self.bar.set_message(format!("step {step} saved as {}", path.display()));
        }
    }

    fn fault(&mut self, step: u64, what: &str) {
        self.print(&format!("step {step} left out: {what}"));
    }
}
