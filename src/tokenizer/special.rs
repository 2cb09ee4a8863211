//! Special tokens: which they are, which of them end a text, and how they are found in text.
//!
//! Files tell a token's type, but not always rightly, and seldom which tokens end a turn; so some are known by their
//! text, as everybody who reads these files does.

use super::index::{Index, attr};
use super::vocab::{Counts, FIM, FIM_ENDS, Source, Vocab};

/// What a token's text says of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// It ends a turn or a text.
    End,
    /// It names a part of fill-in-the-middle: index in `Vocab::fim`.
    Fim(usize),
    /// It is shown, whatever its type.
    Shown,
    /// Phi-3: white space behind it stays.
    Keeps,
}

const NAMES: [(&str, Role); 51] = [
    ("<|eot_id|>", Role::End),
    ("<|im_end|>", Role::End),
    ("<|end|>", Role::End),
    ("<|return|>", Role::End),
    ("<|call|>", Role::End),
    ("<|flush|>", Role::End),
    ("<|calls|>", Role::End),
    ("<end_of_turn>", Role::End),
    ("<|endoftext|>", Role::End),
    ("</s>", Role::End),
    ("<|eom_id|>", Role::End),
    ("<EOT>", Role::End),
    ("_<EOT>", Role::End),
    ("[EOT]", Role::End),
    ("[EOS]", Role::End),
    ("<|end_of_text|>", Role::End),
    ("<end_of_utterance>", Role::End),
    ("<eos>", Role::End),
    ("<turn|>", Role::End),
    ("<|tool_response>", Role::End),
    ("<｜end▁of▁sentence｜>", Role::End),
    ("[e~[", Role::End),
    ("<|fim_prefix|>", Role::Fim(0)),
    ("<fim-prefix>", Role::Fim(0)),
    ("<fim_prefix>", Role::Fim(0)),
    ("<｜fim▁begin｜>", Role::Fim(0)),
    ("<PRE>", Role::Fim(0)),
    ("<|fim_suffix|>", Role::Fim(1)),
    ("<fim-suffix>", Role::Fim(1)),
    ("<fim_suffix>", Role::Fim(1)),
    ("<｜fim▁hole｜>", Role::Fim(1)),
    ("<SUF>", Role::Fim(1)),
    ("<|fim_middle|>", Role::Fim(2)),
    ("<fim-middle>", Role::Fim(2)),
    ("<fim_middle>", Role::Fim(2)),
    ("<｜fim▁end｜>", Role::Fim(2)),
    ("<MID>", Role::Fim(2)),
    ("<|fim_pad|>", Role::Fim(3)),
    ("<fim-pad>", Role::Fim(3)),
    ("<fim_pad>", Role::Fim(3)),
    ("<PAD>", Role::Fim(3)),
    ("[PAD]", Role::Fim(3)),
    ("<|fim_repo|>", Role::Fim(4)),
    ("<|repo_name|>", Role::Fim(4)),
    ("<fim-repo>", Role::Fim(4)),
    ("<|file_sep|>", Role::Fim(5)),
    ("<|channel|>", Role::Shown),
    ("<|message|>", Role::Shown),
    ("<|start|>", Role::Shown),
    ("<|constrain|>", Role::Shown),
    ("<s>", Role::Keeps),
];

/// The tokens of `NAMES` that a vocabulary has, by index.
pub(super) struct Named([Option<u32>; NAMES.len()]);

impl Default for Named {
    fn default() -> Self {
        Named([None; NAMES.len()])
    }
}

impl Named {
    /// Notes the token if its text is one of the names.
    pub fn note(&mut self, id: u32, text: &[u8]) {
        if !matches!(text.first(), Some(b'<' | b'[' | b'_')) || text.len() > 32 {
            return;
        }
        if let Some(no) = NAMES.iter().position(|(name, _)| name.as_bytes() == text) {
            self.0[no].get_or_insert(id);
        }
    }

    fn get(&self, name: &str) -> Option<u32> {
        self.0[NAMES.iter().position(|&(n, _)| n == name)?]
    }

    fn of(&self, role: Role) -> impl Iterator<Item = u32> {
        self.0.iter().zip(NAMES).filter(move |(_, (_, r))| *r == role).filter_map(|(id, _)| *id)
    }
}

/// Special tokens at most: those whose type says so, and those whose text does.
pub(super) fn room(counts: Counts) -> usize {
    counts.specials + NAMES.len()
}

/// The tokens that end a turn or a text: those of `NAMES`, and those that the file names.
#[derive(Clone, Copy, Default)]
pub(super) struct Ends {
    ids: [u32; 32],
    len: usize,
}

impl Ends {
    fn insert(&mut self, id: u32) {
        if !self.has(id) && self.len < self.ids.len() {
            self.ids[self.len] = id;
            self.len += 1;
        }
    }

    fn remove(&mut self, id: u32) {
        if let Some(at) = self.ids().iter().position(|&i| i == id) {
            self.len -= 1;
            self.ids[at] = self.ids[self.len];
        }
    }

    pub fn has(&self, id: u32) -> bool {
        self.ids().contains(&id)
    }

    pub fn ids(&self) -> &[u32] {
        &self.ids[..self.len]
    }
}

/// Corrects types by what texts say, collects the tokens that end a text, and sorts the special ones.
pub(super) fn settle(index: &mut Index, named: &Named, vocab: &Vocab, source: Source) {
    let mut ends = Ends::default();
    for fim in FIM {
        // The file's word goes first; a name found by its text makes a control token.
        let id = vocab.fim[fim].or_else(|| {
            let id = named.of(Role::Fim(fim)).min()?;
            index.set_attr(id, index.attr(id) | attr::CONTROL);
            Some(id)
        });
        if let Some(id) = id.filter(|_| FIM_ENDS.contains(&fim)) {
            ends.insert(id);
        }
    }
    for id in named.of(Role::End) {
        ends.insert(id);
        index.set_attr(id, index.attr(id) | attr::CONTROL);
    }
    for id in named.of(Role::Shown) {
        index.set_attr(id, attr::USER);
    }
    [vocab.eos, vocab.eot, vocab.eom].into_iter().flatten().for_each(|id| ends.insert(id));
    // Where there are tokens for the end of a message's kinds, "<|end|>" ends but a part of one.
    let call = named.get("<|call|>").or(named.get("<|calls|>"));
    if let Some(id) = named.get("<|end|>")
        && call.is_some()
        && (named.get("<|return|>").is_some() || named.get("<|flush|>").is_some())
    {
        ends.remove(id);
        index.set_attr(id, attr::USER);
    }
    // Gemma 4 has it as plain text.
    if let Some(id) = named.get("</s>").filter(|_| named.get("<|tool_response>").is_some()) {
        ends.remove(id);
        index.set_attr(id, attr::NORMAL);
    }
    index.ends = ends;
    collect(index, vocab, source);
    if vocab.strip_after {
        let keeps = [named.get("<s>"), named.get("<|endoftext|>"), vocab.unknown];
        for i in 0..index.specials.len() {
            let id = index.specials[i];
            if !keeps.contains(&Some(id)) {
                index.set_attr(id, index.attr(id) | attr::STRIP);
            }
        }
    }
}

/// Lists the special tokens, in the order of their bytes.
fn collect(index: &mut Index, vocab: &Vocab, source: Source) {
    let mut specials = std::mem::take(&mut index.specials);
    for id in 0..vocab.counts.tokens as u32 {
        let attr = index.attr(id);
        if attr & attr::SPECIAL == 0 || specials.len() == specials.capacity() {
            continue;
        }
        // Text is UTF-8, so a match of a token that is too begins and ends between characters.
        let text = index.text(id, source);
        let Some(&head) = text.first().filter(|_| str::from_utf8(text).is_ok()) else { continue };
        specials.push(id);
        index.special_heads.insert(head);
        if attr & (attr::CONTROL | attr::UNKNOWN) == 0 {
            index.plain_heads.insert(head);
        }
    }
    specials.sort_unstable_by(|&a, &b| index.text(a, source).cmp(index.text(b, source)).then(a.cmp(&b)));
    index.specials = specials;
}

/// A piece of text between special tokens, or such a token.
pub(super) enum Fragment<'t> {
    Text(&'t str),
    Token(u32),
}

/// Finds special tokens in text.
pub(super) struct Finder<'a> {
    pub index: &'a Index,
    pub source: Source<'a>,
    /// Whether all are found, or only those that are matched in plain text too: user-defined ones.
    pub special: bool,
}

#[derive(Clone, Copy)]
struct Match {
    at: usize,
    end: usize,
    id: u32,
}

impl Match {
    fn rank(&self) -> (usize, std::cmp::Reverse<u32>) {
        (self.end - self.at, std::cmp::Reverse(self.id))
    }
}

impl Finder<'_> {
    /// Cuts `text` at special tokens. Longer tokens are matched before shorter ones wherever they stand, and of equally
    /// long ones the lower id, so a token gives way to a better one that begins inside it.
    pub fn cut<'t, E>(&self, text: &'t str, mut each: impl FnMut(Fragment<'t>) -> Result<(), E>) -> Result<(), E> {
        let mut done = 0;
        while let Some(found) = self.next(text.as_bytes(), done) {
            if let Some(between) = text.get(done..found.at).filter(|t| !t.is_empty()) {
                each(Fragment::Text(between))?;
            }
            each(Fragment::Token(found.id))?;
            done = found.end;
            if self.index.attr(found.id) & attr::STRIP != 0 {
                let rest = text.get(done..).unwrap_or("");
                done += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']).len();
            }
        }
        match text.get(done..).filter(|t| !t.is_empty()) {
            Some(rest) => each(Fragment::Text(rest)),
            None => Ok(()),
        }
    }

    /// The first token to cut out from `from` on.
    fn next(&self, text: &[u8], from: usize) -> Option<Match> {
        let mut limit = text.len();
        let mut chosen = None;
        // The leftmost match may give way to a better one; then only what ends before that one counts.
        while let Some(first) = self.leftmost(text, from, limit) {
            let longest = self.outgrow(text, first, limit);
            chosen = Some(longest);
            if longest.at == first.at {
                break;
            }
            limit = longest.at;
        }
        chosen
    }

    fn leftmost(&self, text: &[u8], from: usize, limit: usize) -> Option<Match> {
        let heads = if self.special { &self.index.special_heads } else { &self.index.plain_heads };
        if heads.is_empty() {
            return None;
        }
        (from..limit).filter(|&at| heads.has(text[at])).find_map(|at| self.longest(text, at, limit))
    }

    /// The match that `found` gives way to: of those that begin inside it one that is better, and so on.
    fn outgrow(&self, text: &[u8], mut found: Match, limit: usize) -> Match {
        let mut at = found.at + 1;
        while at < found.end {
            match self.longest(text, at, limit) {
                Some(m) if m.rank() > found.rank() => found = m,
                _ => {}
            }
            at += 1;
        }
        found
    }

    /// The longest special token that `text` has at `at`, ending at `limit` at the latest.
    fn longest(&self, text: &[u8], at: usize, limit: usize) -> Option<Match> {
        let rest = text.get(at..limit)?;
        let name = |&id: &u32| self.index.text(id, self.source);
        let mut range = self.index.specials.as_slice();
        let mut found = None;
        // `range` holds the tokens that begin with the first `len` bytes of `rest`, the shortest first.
        for len in 0.. {
            while let Some((&id, others)) = range.split_first()
                && name(&id).len() == len
            {
                let plain = self.index.attr(id) & (attr::CONTROL | attr::UNKNOWN) == 0;
                if (plain || self.special) && found.is_none_or(|f: Match| f.end < at + len) {
                    found = Some(Match { at, end: at + len, id });
                }
                range = others;
            }
            let Some(&byte) = rest.get(len) else { break };
            let of = |id: &u32| name(id).get(len).copied();
            let from = range.partition_point(|id| of(id) < Some(byte));
            let to = range.partition_point(|id| of(id) <= Some(byte));
            range = range.get(from..to).unwrap_or(&[]);
            if range.is_empty() {
                break;
            }
        }
        found
    }
}
