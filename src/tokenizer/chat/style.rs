//! The common chat templates, recognised by the marks that only they have, and written by own code.

use super::{Message, Text};

/// A way to write a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    ChatMl,
    /// ChatML with `<|im_sep|>` for the line break after the role.
    Phi4,
    Llama3,
    Gemma,
    /// A line for the role, `<|end|>` behind the content.
    Phi3,
    /// As `Phi3`, without line breaks.
    Phi4Mini,
    /// A line for the role, EOS behind the content.
    Zephyr,
    Llama2,
    /// Spaces inside `[INST]` and `[/INST]`.
    MistralV0,
    /// Spaces on both sides of them.
    MistralV1,
    /// A space behind each.
    MistralV3,
    /// No spaces.
    MistralTekken,
    /// With `[SYSTEM_PROMPT]`, and a space behind each mark.
    MistralV7,
    /// Without the spaces.
    MistralV7Tekken,
}

pub(super) const NAMES: [(&str, Style); 14] = [
    ("chatml", Style::ChatMl),
    ("phi4", Style::Phi4),
    ("llama3", Style::Llama3),
    ("gemma", Style::Gemma),
    ("phi3", Style::Phi3),
    ("phi4-mini", Style::Phi4Mini),
    ("zephyr", Style::Zephyr),
    ("llama2", Style::Llama2),
    ("mistral-v0", Style::MistralV0),
    ("mistral-v1", Style::MistralV1),
    ("mistral-v3", Style::MistralV3),
    ("mistral-v3-tekken", Style::MistralTekken),
    ("mistral-v7", Style::MistralV7),
    ("mistral-v7-tekken", Style::MistralV7Tekken),
];

/// The style of that name.
pub(super) fn named(name: &str) -> Option<Style> {
    NAMES.iter().find(|(n, _)| *n == name).map(|&(_, style)| style)
}

/// Words of templates that do more than their marks say: they date their text, think, or have a mind of their own.
const MORE: [&str; 9] = [
    "macro",
    "strftime_now",
    "date_string",
    "think",
    "THINK",
    "reasoning",
    "functions",
    "Cutting Knowledge",
    "default_system",
];

/// The style of a Jinja source.
fn recognize(source: &str) -> Option<Style> {
    let has = |mark: &str| source.contains(mark);
    if MORE.iter().any(|word| has(word)) {
        return None;
    }
    if has("<|im_start|>") {
        return Some(if has("<|im_sep|>") { Style::Phi4 } else { Style::ChatMl });
    }
    if has("[INST]") {
        return Some(if has("[SYSTEM_PROMPT]") {
            if has("[SYSTEM_PROMPT] ") { Style::MistralV7 } else { Style::MistralV7Tekken }
        } else if has("<<SYS>>") {
            Style::Llama2
        } else if has(" [INST]") {
            Style::MistralV1
        } else if has(" [/INST]") {
            Style::MistralV0
        } else if has("[INST] ") {
            Style::MistralV3
        } else {
            Style::MistralTekken
        });
    }
    if has("<|start_header_id|>") && has("<|end_header_id|>") && has("<|eot_id|>") {
        return Some(Style::Llama3);
    }
    if has("<start_of_turn>") {
        return Some(Style::Gemma);
    }
    if has("<|end|>") && has("<|assistant|>") {
        return Some(if has("|>' + message['content'] + '<|end|>'") { Style::Phi4Mini } else { Style::Phi3 });
    }
    if has("<|user|>") && has("<|assistant|>") && (has("eos_token") || has("<|endoftext|>")) {
        return Some(Style::Zephyr);
    }
    None
}

/// A template that was recognised, with what varies in it.
pub(super) struct Recognized {
    style: Style,
    /// Goes before all, where the template puts BOS.
    bos: String,
    eos: String,
    /// ChatML: the system message of conversations without one.
    system: Option<String>,
    /// Contents lose the white space around them.
    trim: bool,
    /// EOS follows where no answer does.
    closed: bool,
}

impl Recognized {
    /// Recognises a source, or the name of a style. `bos` and `eos` are the tokens' texts.
    pub fn new(source: &str, bos: &str, eos: &str) -> Option<Recognized> {
        let name = named(source);
        let style = name.or_else(|| recognize(source))?;
        let eos = if style == Style::Zephyr && source.contains("<|endoftext|>") { "<|endoftext|>" } else { eos };
        let trims = [" | trim", "|trim", ".strip()"].iter().any(|t| {
            ["message['content']", "message[\"content\"]", "message.content", "m.content"]
                .iter()
                .any(|c| source.match_indices(c).any(|(at, _)| source[at + c.len()..].starts_with(t)))
        });
        let is_v3 = style == Style::MistralV3; // only answers
        let puts_bos = source.contains("bos_token") || name.is_some();
        Some(Recognized {
            style,
            bos: if puts_bos { bos.into() } else { String::new() },
            eos: eos.into(),
            system: (style == Style::ChatMl).then(|| default_system(source)).flatten(),
            trim: matches!(style, Style::Gemma | Style::Llama3) || (trims && !is_v3),
            closed: matches!(style, Style::Phi3 | Style::Phi4Mini) && source.contains("eos_token"),
        })
    }

    /// Writes the conversation, with the template's BOS unless that is implied.
    pub fn write(&self, messages: &[Message], prompt: bool, implied_bos: bool, out: &mut Text) {
        if !implied_bos {
            out.put(&self.bos);
        }
        match self.style {
            Style::ChatMl => {
                if let Some(system) =
                    self.system.as_deref().filter(|_| messages.first().is_some_and(|m| m.role != "system"))
                {
                    out.all(&["<|im_start|>system\n", system, "<|im_end|>\n"]);
                }
                self.turns(messages, prompt, ["<|im_start|>", "\n", "<|im_end|>\n"], out);
            }
            Style::Phi4 => self.turns(messages, prompt, ["<|im_start|>", "<|im_sep|>", "<|im_end|>"], out),
            Style::Llama3 => {
                self.turns(messages, prompt, ["<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>"], out);
            }
            Style::Phi3 => self.turns(messages, prompt, ["<|", "|>\n", "<|end|>\n"], out),
            Style::Phi4Mini => self.turns(messages, prompt, ["<|", "|>", "<|end|>"], out),
            Style::Zephyr => {
                for m in messages {
                    out.all(&["<|", m.role, "|>\n", self.content(m), &self.eos, "\n"]);
                }
                if prompt {
                    out.put("<|assistant|>\n");
                }
            }
            Style::Gemma => self.gemma(messages, prompt, out),
            Style::Llama2 | Style::MistralV0 | Style::MistralV1 | Style::MistralV3 | Style::MistralTekken => {
                self.inst(messages, out);
            }
            Style::MistralV7 => self.inst_with_system(messages, " ", out),
            Style::MistralV7Tekken => self.inst_with_system(messages, "", out),
        }
        if self.closed && !prompt {
            out.put(&self.eos);
        }
    }

    fn content<'a>(&self, message: &Message<'a>) -> &'a str {
        if self.trim { message.content.trim() } else { message.content }
    }

    /// Before the role, behind it, behind the content.
    fn turns(&self, messages: &[Message], prompt: bool, [open, middle, close]: [&str; 3], out: &mut Text) {
        for m in messages {
            out.all(&[open, m.role, middle, self.content(m), close]);
        }
        if prompt {
            out.all(&[open, "assistant", middle]);
        }
    }

    /// The assistant is `model`; a system message goes before the first user's.
    fn gemma(&self, messages: &[Message], prompt: bool, out: &mut Text) {
        let mut system = None;
        for m in messages {
            if m.role == "system" {
                system = Some(m.content);
                continue;
            }
            out.all(&["<start_of_turn>", if m.role == "assistant" { "model" } else { m.role }, "\n"]);
            if let Some(system) = system.take() {
                out.all(&[system, "\n\n"]);
            }
            out.all(&[self.content(m), "<end_of_turn>\n"]);
        }
        if prompt {
            out.put("<start_of_turn>model\n");
        }
    }

    /// Mistral's older templates and Llama 2's: an instruction is what stands before an answer, system message and all.
    fn inst(&self, messages: &[Message], out: &mut Text) {
        // Before and behind the instruction's opening, before its closing, before the answer and behind it.
        let [before, behind, close, answer, end] = match self.style {
            Style::Llama2 => ["", " ", " ", " ", " "],
            Style::MistralV0 => ["", " ", " ", "", ""],
            Style::MistralV1 => [" ", " ", " ", " ", ""],
            Style::MistralTekken => ["", "", "", "", ""],
            _ => ["", " ", "", " ", ""],
        };
        let mut open = false;
        for m in messages {
            if m.role == "assistant" {
                let content = if self.style == Style::MistralV3 { m.content.trim() } else { self.content(m) };
                out.all(&[answer, content, end, &self.eos]);
                open = false;
                continue;
            }
            if !std::mem::replace(&mut open, true) {
                out.all(&[before, "[INST]", behind]);
            }
            match (m.role, self.style) {
                ("system", Style::Llama2) => out.all(&["<<SYS>>\n", self.content(m), "\n<</SYS>>\n\n"]),
                ("system", _) => out.all(&[self.content(m), "\n\n"]),
                _ => out.all(&[self.content(m), close, "[/INST]"]),
            }
        }
    }

    fn inst_with_system(&self, messages: &[Message], space: &str, out: &mut Text) {
        for m in messages {
            match m.role {
                "system" => out.all(&["[SYSTEM_PROMPT]", space, self.content(m), "[/SYSTEM_PROMPT]"]),
                "assistant" => out.all(&[space, self.content(m), &self.eos]),
                _ => out.all(&["[INST]", space, self.content(m), "[/INST]"]),
            }
        }
    }
}

/// The system message that a ChatML source adds where a conversation has none: it stands in a string of the source,
/// its line break written as itself or as `\n`.
fn default_system(source: &str) -> Option<String> {
    let marks = ["<|im_start|>system\n", "<|im_start|>system\\n"];
    let texts = marks.iter().flat_map(|m| source.match_indices(m).map(|(at, _)| &source[at + m.len()..]));
    // What runs on past its string is code: no message, but one that is put together.
    let is_plain = |s: &&str| !s.is_empty() && !s.contains(['\'', '"', '{', '}']);
    let mut systems = texts.filter_map(|t| Some(t.split_once("<|im_end|>")?.0)).filter(is_plain);
    systems.next().map(|s| s.replace("\\n", "\n"))
}
