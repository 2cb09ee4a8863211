//! Where training text comes from, and how it is read.

use super::sift::Sift;
use std::path::PathBuf;

/// Bytes of a line of JSONL at most, unless the source says otherwise.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// How the files of a source are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Plain text in UTF-8. Each file is one sample, however long.
    Text,
    /// A JSON object per line; empty lines are passed over. Each line is one sample and has one of
    /// - `"text"`: a string, all of which counts for the loss;
    /// - `"prompt"` and `"completion"`: strings, the first put before the second, which alone counts;
    /// - `"messages"`: a list of objects with `"role"` and `"content"`, written by the model's own chat template, where what
    ///   the assistant says counts.
    ///
    /// Other keys are passed over. An answer without text is an error.
    Jsonl,
    /// Pairs of answers: a JSON object per line with `"prompt"` (a string) or `"messages"` (as above, up to the answer), and the
    /// strings `"chosen"` and `"rejected"`. Each line is two samples, the better one first.
    Preferences,
    /// Judged answers: `"prompt"` with `"completion"`, or `"messages"` whose last one is the answer; and `"label"`, true for a
    /// good answer. Each line is two samples: prompt and answer, and the prompt with the next line's answer, which tells how far
    /// the model has moved altogether.
    Judged,
}

impl Kind {
    /// Whether two samples each belong together.
    pub fn is_paired(self) -> bool {
        matches!(self, Kind::Preferences | Kind::Judged)
    }
}

/// The files of a data set.
#[derive(Clone, Debug)]
pub struct Source {
    /// How they are written.
    pub kind: Kind,
    /// The files, read in this order.
    pub files: Vec<PathBuf>,
    /// Bytes of a line of JSONL at most: what bounds the memory of reading.
    pub max_line: usize,
    /// Whether the token that ends a text goes behind each file, text or completion, where the vocabulary has one. The chat
    /// template alone decides for messages.
    pub end: bool,
    /// What of JSON lines is left out or cut.
    pub sift: Sift,
}

impl Source {
    /// Plain text files.
    pub fn text(files: impl IntoIterator<Item = impl Into<PathBuf>>) -> Source {
        let files = files.into_iter().map(Into::into).collect();
        Source { kind: Kind::Text, files, max_line: MAX_LINE_BYTES, end: true, sift: Sift::default() }
    }

    /// Files of JSON lines.
    pub fn jsonl(files: impl IntoIterator<Item = impl Into<PathBuf>>) -> Source {
        Source { kind: Kind::Jsonl, ..Source::text(files) }
    }
}
