//! One line of JSONL as text, and which stretches of it the model is to learn.

use serde_json::{Map, Value};

use crate::error::{Result, fail};
use crate::tokenizer::Tokenizer;
use crate::tokenizer::chat::{Chat, Message};

/// A sample before it is tokenised. Kept and filled again, so that it grows to the longest line and no further.
#[derive(Default)]
pub(super) struct Text {
    pub text: String,
    /// Where stretches end (in bytes, rising, the last the whole text), and whether they count for the loss.
    pub stretches: Vec<(usize, bool)>,
    /// Whether special tokens are read in the text: it is a template's.
    pub special: bool,
    /// Whether the token that ends a text may follow.
    pub end: bool,
}

/// What reads messages: the model's template, looked up when the first messages come.
pub(super) struct Reader<'a> {
    tokenizer: &'a Tokenizer,
    chat: Option<Chat>,
    bytes: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub fn new(tokenizer: &'a Tokenizer) -> Reader<'a> {
        Reader { tokenizer, chat: None, bytes: Vec::new() }
    }

    /// Reads a line into `to`. Errors say what of the line is wrong, without its place: the caller knows it.
    pub fn read(&mut self, line: &[u8], to: &mut Text) -> Result<()> {
        to.clear();
        let object = match serde_json::from_slice(line) {
            Ok(Value::Object(object)) => object,
            Ok(other) => fail!(Format, "is {}, expected an object such as {{\"text\": \"...\"}}", what(&other)),
            Err(e) => fail!(Format, "is no JSON (column {}: {e})", e.column()),
        };
        let has = |key: &str| object.contains_key(key);
        (to.special, to.end) = (has("messages"), !has("messages"));
        match (has("text"), has("prompt") || has("completion"), has("messages")) {
            (true, false, false) => to.put(string(&object, "text")?, true),
            (false, true, false) => {
                to.put(string(&object, "prompt")?, false)?;
                to.put(answer(string(&object, "completion")?)?, true)
            }
            (false, false, true) => self.messages(&object, to),
            (false, false, false) => {
                let found: Vec<&str> = object.keys().map(String::as_str).take(8).collect();
                fail!(
                    Format,
                    "has none of the keys \"text\", \"prompt\" and \"completion\", or \"messages\", but {found:?}"
                )
            }
            _ => fail!(
                Format,
                "has more than one of the keys \"text\", \"prompt\" with \"completion\", and \"messages\": \
                 which one is meant?"
            ),
        }
    }

    fn messages(&mut self, object: &Map<String, Value>, to: &mut Text) -> Result<()> {
        let Some(Value::Array(list)) = object.get("messages") else {
            fail!(Format, "the key \"messages\" is {}, expected a list", what(&object["messages"]));
        };
        let mut messages = Vec::with_capacity(list.len());
        for (no, message) in list.iter().enumerate() {
            let Value::Object(message) = message else {
                fail!(Format, "message {no} is {}, expected an object with \"role\" and \"content\"", what(message));
            };
            let part = |key| string(message, key).map_err(|e| e.context(format_args!("message {no}")));
            messages.push(Message { role: part("role")?, content: part("content")? });
        }
        let answers = messages.iter().enumerate().filter(|(_, m)| m.role == "assistant");
        for (no, message) in answers {
            answer(message.content).map_err(|e| e.context(format_args!("message {no}")))?;
        }
        if !messages.iter().any(|m| m.role == "assistant") {
            fail!(Format, "no message has the role \"assistant\": there is nothing to learn from it");
        }
        if self.chat.is_none() {
            self.chat = Some(Chat::new(self.tokenizer)?);
        }
        let Some(chat) = &self.chat else { return Ok(()) };
        // What stands before an answer ends where a prompt would; the answer is what the template then adds.
        for (no, message) in messages.iter().enumerate() {
            if message.role != "assistant" {
                continue;
            }
            let (before, with) = (messages.get(..no).unwrap_or(&[]), messages.get(..=no).unwrap_or(&[]));
            if before.is_empty() {
                fail!(Format, "message 0 has the role \"assistant\": a conversation begins with another role");
            }
            to.extend(render(chat, before, true, &mut self.bytes)?, false)?;
            to.extend(render(chat, with, false, &mut self.bytes)?, true)?;
        }
        Ok(())
    }
}

impl Text {
    pub fn clear(&mut self) {
        self.text.clear();
        self.stretches.clear();
    }

    pub fn put(&mut self, text: &str, counts: bool) -> Result<()> {
        self.text.push_str(text);
        self.stretches.push((self.text.len(), counts));
        Ok(())
    }

    /// Makes the text `whole`, which begins with it; what is new counts or not.
    pub fn extend(&mut self, whole: &str, counts: bool) -> Result<()> {
        let Some(more) = whole.strip_prefix(self.text.as_str()) else {
            fail!(
                Unsupported,
                "the chat template writes earlier messages otherwise once others follow, so that it cannot be told which \
                 text is the answer: make it one sample for each answer"
            );
        };
        self.put(more, counts)
    }
}

/// What the template makes of the messages.
pub(super) fn render<'b>(chat: &Chat, messages: &[Message], prompt: bool, bytes: &'b mut Vec<u8>) -> Result<&'b str> {
    let len = chat.rendered_len(messages, prompt)?;
    bytes.clear();
    if bytes.try_reserve(len).is_err() {
        fail!(OutOfMemory, "no memory for the conversation's {len} bytes");
    }
    bytes.resize(len, 0);
    chat.render(messages, prompt, bytes)?;
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => fail!(Internal, "the chat template made no UTF-8"),
    }
}

/// An answer that has text.
pub(super) fn answer(text: &str) -> Result<&str> {
    if text.trim().is_empty() {
        fail!(Format, "the answer is empty: there is nothing to learn from it; fill it or leave the line out");
    }
    Ok(text)
}

/// The string of a key.
pub(super) fn string<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a str> {
    match object.get(key) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => fail!(Format, "the key {key:?} is {}, expected a string", what(other)),
        None => fail!(Format, "has no key {key:?}"),
    }
}

/// What a value is, for messages.
pub(super) fn what(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
