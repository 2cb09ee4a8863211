//! Lines of JSON with a question and what answers are worth: pairs of which one is better, or answers that are good or bad.

use serde_json::{Map, Value};

use super::sample::{Text, answer, render, string, what};
use super::source::Kind;
use crate::error::{Result, fail};
use crate::tokenizer::Tokenizer;
use crate::tokenizer::chat::{Chat, Message};

/// What comes before an answer.
#[derive(Clone, Debug)]
enum Prompt {
    Text(String),
    /// Role and content of each message.
    Chat(Vec<(String, String)>),
}

/// A line: the prompt, the answer, and the worse one or the label.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    prompt: Prompt,
    answer: String,
    rejected: Option<String>,
    label: bool,
}

impl Asked {
    /// All of it as one text, to compare it with others.
    pub fn whole(&self) -> String {
        let mut whole = match &self.prompt {
            Prompt::Text(text) => text.clone(),
            Prompt::Chat(list) => list.iter().flat_map(|(r, c)| [r.as_str(), "\n", c, "\n"]).collect(),
        };
        for part in [Some(&self.answer), self.rejected.as_ref()].into_iter().flatten() {
            whole.push('\n');
            whole += part;
        }
        whole
    }
}

/// Takes a sample and its label.
pub(super) type Put<'a> = &'a mut dyn FnMut(&Text, bool) -> Result<()>;

/// Makes two samples of each line.
pub(super) struct Asker<'a> {
    tokenizer: &'a Tokenizer,
    kind: Kind,
    chat: Option<Chat>,
    bytes: Vec<u8>,
    text: Text,
    /// Of judged answers the first line's answer, and the line that waits for the next one's.
    first: Option<String>,
    waits: Option<Asked>,
}

impl<'a> Asker<'a> {
    pub fn new(tokenizer: &'a Tokenizer, kind: Kind) -> Asker<'a> {
        Asker { tokenizer, kind, chat: None, bytes: Vec::new(), text: Text::default(), first: None, waits: None }
    }

    /// Reads a line. Errors say what of the line is wrong, without its place.
    pub fn read(&self, line: &[u8]) -> Result<Asked> {
        let object = match serde_json::from_slice(line) {
            Ok(Value::Object(object)) => object,
            Ok(other) => fail!(Format, "is {}, expected an object with a prompt and answers", what(&other)),
            Err(e) => fail!(Format, "is no JSON (column {}: {e})", e.column()),
        };
        let named = |key| answer(string(&object, key)?).map_err(|e| e.context(format_args!("the key {key:?}")));
        if self.kind == Kind::Preferences {
            let (chosen, rejected) = (named("chosen")?, named("rejected")?);
            if chosen == rejected {
                fail!(Format, "the chosen and the rejected answer are the same: nothing tells which is better");
            }
            let prompt = prompt(&object)?;
            let (answer, rejected) = (chosen.to_owned(), Some(rejected.to_owned()));
            return Ok(Asked { prompt, answer, rejected, label: true });
        }
        let label = match object.get("label") {
            Some(Value::Bool(label)) => *label,
            Some(other) => fail!(Format, "the key \"label\" is {}, expected true or false", what(other)),
            None => fail!(Format, "has no key \"label\", which says whether the answer is good"),
        };
        let (prompt, answer) = match prompt(&object)? {
            Prompt::Text(text) => (Prompt::Text(text), named("completion")?.to_owned()),
            Prompt::Chat(mut list) => match list.pop() {
                Some((role, content)) if role == "assistant" => {
                    answer(&content)?;
                    (Prompt::Chat(list), content)
                }
                _ => fail!(Format, "the last message is none of the role \"assistant\": there is no answer to judge"),
            },
        };
        Ok(Asked { prompt, answer, rejected: None, label })
    }

    /// Gives the samples that are complete with this line.
    pub fn take(&mut self, asked: Asked, put: Put) -> Result<()> {
        if let Some(rejected) = &asked.rejected {
            self.put(&asked.prompt, &asked.answer, true, put)?;
            return self.put(&asked.prompt, rejected, false, put);
        }
        let before = self.waits.replace(asked.clone());
        match before {
            Some(before) => self.pair(&before, &asked.answer, put),
            None => {
                self.first = Some(asked.answer);
                Ok(())
            }
        }
    }

    /// Gives the samples of the line that waits; the answer that follows on it is the first.
    pub fn last(&mut self, put: Put) -> Result<()> {
        let (Some(last), Some(first)) = (self.waits.take(), self.first.take()) else { return Ok(()) };
        self.pair(&last, &first, put)
    }

    fn pair(&mut self, asked: &Asked, other: &str, put: Put) -> Result<()> {
        self.put(&asked.prompt, &asked.answer, asked.label, put)?;
        self.put(&asked.prompt, other, asked.label, put)
    }

    fn put(&mut self, prompt: &Prompt, answer: &str, label: bool, put: Put) -> Result<()> {
        let text = &mut self.text;
        text.clear();
        match prompt {
            Prompt::Text(prompt) => {
                (text.special, text.end) = (false, true);
                text.put(prompt, false)?;
                text.put(answer, true)?;
            }
            Prompt::Chat(list) => {
                (text.special, text.end) = (true, false);
                if self.chat.is_none() {
                    self.chat = Some(Chat::new(self.tokenizer)?);
                }
                let Some(chat) = &self.chat else { return Ok(()) };
                let mut messages: Vec<Message> = list.iter().map(|(role, content)| Message { role, content }).collect();
                text.extend(render(chat, &messages, true, &mut self.bytes)?, false)?;
                messages.push(Message { role: "assistant", content: answer });
                text.extend(render(chat, &messages, false, &mut self.bytes)?, true)?;
            }
        }
        put(text, label)
    }
}

fn prompt(object: &Map<String, Value>) -> Result<Prompt> {
    match (object.contains_key("prompt"), object.get("messages")) {
        (true, Some(_)) => fail!(Format, "has both \"prompt\" and \"messages\": which one is meant?"),
        (true, None) => Ok(Prompt::Text(string(object, "prompt")?.to_owned())),
        (false, None) => fail!(Format, "has neither \"prompt\" nor \"messages\": what is asked?"),
        (false, Some(Value::Array(list))) => {
            let mut messages = Vec::with_capacity(list.len());
            for (no, message) in list.iter().enumerate() {
                let Value::Object(message) = message else {
                    fail!(
                        Format,
                        "message {no} is {}, expected an object with \"role\" and \"content\"",
                        what(message)
                    );
                };
                let part = |key| string(message, key).map_err(|e| e.context(format_args!("message {no}")));
                messages.push((part("role")?.to_owned(), part("content")?.to_owned()));
            }
            if messages.is_empty() {
                fail!(Format, "the key \"messages\" is an empty list: what is asked?");
            }
            Ok(Prompt::Chat(messages))
        }
        (false, Some(other)) => fail!(Format, "the key \"messages\" is {}, expected a list", what(other)),
    }
}
