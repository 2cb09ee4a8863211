//! The folder of a run: its description, log, curve, checkpoints and model.

use crate::failure::{Result, run};
use qorus::train::run::{EXTENSION, checkpoints};
use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// What becomes of a run that is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// There must be none.
    New,
    /// It is gone on with.
    Resume,
    /// It is thrown away.
    Restart,
}

/// The folder, ready for a run.
pub struct Folder {
    path: PathBuf,
    /// Whether it was not there before.
    made: bool,
    /// The checkpoint to go on from.
    pub resume: Option<PathBuf>,
}

impl Folder {
    /// Makes the folder, or finds what is there; keeps a copy of the description.
    pub fn new(path: &Path, source: &str, begin: Begin) -> Result<Folder> {
        let (name, made) = (path.display(), !path.exists());
        if let Err(e) = fs::create_dir_all(path) {
            return run(format_args!("{name}: the run's folder cannot be made: {e}"));
        }
        let there = checkpoints(path)?;
        let folder = |resume| Folder { path: path.to_owned(), made, resume };
        let folder = match (begin, there.last()) {
            (Begin::New, Some(last)) => {
                return run(format_args!(
                    "{name}: a run is there, up to {}: give --resume to go on with it or --restart to begin anew",
                    last.file_name().unwrap_or_default().display()
                ));
            }
            (Begin::Resume, Some(last)) => folder(Some(last.clone())),
            (Begin::Restart, _) | (_, None) => {
                let best = path.join(format!("best.{EXTENSION}"));
                for old in there.iter().chain([&best, &path.join("log.jsonl")]) {
                    if let Err(e) = fs::remove_file(old)
                        && e.kind() != std::io::ErrorKind::NotFound
                    {
                        return run(format_args!("{}: cannot be removed: {e}", old.display()));
                    }
                }
                folder(None)
            }
        };
        folder.write("config.toml", source.as_bytes())?;
        Ok(folder)
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes it away again if it was made for a run that never began: no step was logged.
    pub fn discard_unbegun(&self) {
        if self.made && !self.file("log.jsonl").exists() {
            let _ = fs::remove_dir_all(&self.path); // it can also stay
        }
    }

    /// Writes a small file, whole or not at all.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result {
        let mut file = qorus::memory::save::SaveFile::create(&self.file(name))?;
        match file.write_all(bytes) {
            Ok(()) => Ok(file.commit()?),
            Err(e) => run(format_args!("{}: cannot be written: {e}", self.file(name).display())),
        }
    }

    /// The lines of the log up to a step; those after it are of steps that are done again.
    pub fn log(&self, step: u64) -> Vec<Value> {
        let text = fs::read_to_string(self.file("log.jsonl")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["step"].as_u64().is_some_and(|s| s <= step)).collect()
    }
}
