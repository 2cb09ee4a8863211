//! A vocabulary of single characters.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{CONTROL, NORMAL, UNKNOWN, Vocabulary};
use crate::error::{Result, fail};
use crate::train::data::stretch::stretches;

/// Characters at most: a text of more wants another vocabulary.
const MAX_CHARACTERS: usize = 1 << 16;

/// The characters of some texts, in order of their code points, behind `<unk>` for those of other texts, a token for the
/// beginning that is not used, and `</s>` for the end. U+2581, which stands for the space in such vocabularies, is read as one.
///
/// Errors: those of reading; `Format` for texts without a character; `Unsupported` for more than 65 536 different ones.
pub fn characters(files: &[PathBuf]) -> Result<Vocabulary> {
    let (mut found, mut buffer) = (BTreeSet::new(), Vec::new());
    for path in files {
        stretches(path, &mut buffer, &mut |_| Ok(()), &mut |text| {
            found.extend(text.chars());
            if found.len() > MAX_CHARACTERS {
                fail!(
                    Unsupported,
                    "{}: has more than {MAX_CHARACTERS} different characters: train a byte-level vocabulary",
                    path.display()
                );
            }
            Ok(())
        })?;
    }
    found.remove(&'\u{2581}');
    if found.is_empty() {
        let first = files.first().map_or(String::new(), |path| path.display().to_string());
        fail!(Format, "{first}: there is no text to take characters from in {} files", files.len());
    }
    let mut tokens = vec![(b"<unk>".to_vec(), UNKNOWN), (b"<s>".to_vec(), CONTROL), (b"</s>".to_vec(), CONTROL)];
    let written = |c: char| if c == ' ' { '\u{2581}' } else { c };
    tokens.extend(found.into_iter().map(|c| (written(c).to_string().into_bytes(), NORMAL)));
    Ok(Vocabulary { model: "llama", pre: None, tokens, merges: Vec::new(), end: 2 })
}
