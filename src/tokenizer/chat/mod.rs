//! Chat templates: from messages to the text that a model was trained to continue.
//!
//! The common ones are recognised and written by own code, without allocating. Others are Jinja programs, which the
//! feature `jinja` runs within bounds of steps and memory.

#[cfg(feature = "jinja")]
mod jinja;
#[cfg(feature = "jinja")]
mod json;
#[cfg(feature = "jinja")]
mod limits;
#[cfg(feature = "jinja")]
mod methods;
#[cfg(feature = "jinja")]
mod python;
mod style;

use style::Recognized;

use super::Tokenizer;
use crate::error::{Result, fail};

/// One message of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `system`, `user` or `assistant`; a template may know others.
    pub role: &'a str,
    /// The text.
    pub content: &'a str,
}

/// Bytes of a template at most.
const MAX_SOURCE_BYTES: usize = 256 << 10;

/// A model's chat template, ready to use.
pub struct Chat {
    way: Way,
    /// The text of BOS if encoding puts the token there anyway: it is then left out of the text.
    implied_bos: String,
}

enum Way {
    Own(Recognized),
    #[cfg(feature = "jinja")]
    Jinja(jinja::Template),
}

impl Chat {
    /// The template that the tokenizer's file carries. The text it makes is to be encoded with
    /// `Encode { bos: true, special: true }`: where that adds BOS, the text has none.
    ///
    /// Errors: `NotFound` without a template, else as [`with_source`](Chat::with_source).
    pub fn new(tokenizer: &Tokenizer) -> Result<Chat> {
        let Some(source) = tokenizer.gguf.str("tokenizer.chat_template")? else {
            fail!(NotFound, "{}: has no chat template (\"tokenizer.chat_template\")", tokenizer.gguf.name());
        };
        Chat::with_source(tokenizer, source).map_err(|e| e.context(tokenizer.gguf.name()))
    }

    /// Another template for the same tokenizer: a Jinja source, or the name of one that this library writes itself, as
    /// `chatml` (see [`Chat::names`]).
    ///
    /// Errors: `Unsupported` for one that is not recognised and, with the feature `jinja`, is no Jinja either; `Format`
    /// for one that is too long.
    pub fn with_source(tokenizer: &Tokenizer, source: &str) -> Result<Chat> {
        let text = |id: Option<u32>| String::from_utf8_lossy(id.map_or(&[], |id| tokenizer.raw(id))).into_owned();
        let (bos, eos) = (text(tokenizer.bos()), text(tokenizer.eos()));
        let implied_bos = if tokenizer.adds_bos() { bos.clone() } else { String::new() };
        if source.len() > MAX_SOURCE_BYTES {
            fail!(Format, "the chat template has {} bytes, at most {MAX_SOURCE_BYTES} are read", source.len());
        }
        Ok(Chat { way: Way::choose(source, &bos, &eos)?, implied_bos })
    }

    /// The names that [`with_source`](Chat::with_source) knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        style::NAMES.iter().map(|&(name, _)| name)
    }

    /// Writes the conversation to `out` and says how many bytes it has. With `prompt` it ends where the assistant's
    /// answer begins.
    ///
    /// Errors: `BufferTooSmall`; `InvalidArgument` if the template refuses the conversation, with its words; and where a
    /// Jinja template exceeds its bounds, `Unsupported`.
    pub fn render(&self, messages: &[Message], prompt: bool, out: &mut [u8]) -> Result<usize> {
        let room = out.len();
        let len = self.write(messages, prompt, out)?;
        if len > room {
            fail!(BufferTooSmall, "the conversation has {len} bytes as text, the buffer {room}");
        }
        Ok(len)
    }

    /// The bytes that [`render`](Chat::render) writes. Errors: as there.
    pub fn rendered_len(&self, messages: &[Message], prompt: bool) -> Result<usize> {
        self.write(messages, prompt, &mut [])
    }

    /// Writes as much as there is room for; the bytes of the whole.
    fn write(&self, messages: &[Message], prompt: bool, out: &mut [u8]) -> Result<usize> {
        if messages.is_empty() {
            fail!(InvalidArgument, "a conversation needs a message at least");
        }
        let mut text = Text { out, len: 0 };
        match &self.way {
            Way::Own(style) => style.write(messages, prompt, !self.implied_bos.is_empty(), &mut text),
            #[cfg(feature = "jinja")]
            Way::Jinja(template) => {
                let all = template.render(messages, prompt)?;
                text.put(all.strip_prefix(&self.implied_bos).unwrap_or(&all));
            }
        }
        Ok(text.len)
    }

    /// Whether this library's own code writes it, without allocating.
    pub fn is_own(&self) -> bool {
        matches!(self.way, Way::Own(_))
    }
}

impl Way {
    #[cfg(not(feature = "jinja"))]
    fn choose(source: &str, bos: &str, eos: &str) -> Result<Way> {
        let Some(own) = Recognized::new(source, bos, eos) else {
            fail!(
                Unsupported,
                "the chat template is none that is known: others need the feature \"jinja\" of this library"
            );
        };
        Ok(Way::Own(own))
    }

    /// What is recognised may still be a variant with a mind of its own, so the template itself is asked.
    #[cfg(feature = "jinja")]
    fn choose(source: &str, bos: &str, eos: &str) -> Result<Way> {
        let own = Recognized::new(source, bos, eos);
        if style::named(source).is_some()
            && let Some(own) = own
        {
            return Ok(Way::Own(own));
        }
        match (own, jinja::Template::new(source, bos, eos)) {
            (Some(own), Ok(template)) if template.agrees(&own) => Ok(Way::Own(own)),
            (_, Ok(template)) => Ok(Way::Jinja(template)),
            (Some(own), Err(_)) => Ok(Way::Own(own)),
            (None, Err(error)) => Err(error),
        }
    }
}

/// Text on its way into a buffer: counted whole, stored as far as there is room.
struct Text<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Text<'_> {
    fn put(&mut self, part: &str) {
        if let Some(o) = self.out.get_mut(self.len..self.len + part.len()) {
            o.copy_from_slice(part.as_bytes());
        }
        self.len += part.len();
    }

    fn all(&mut self, parts: &[&str]) {
        parts.iter().for_each(|p| self.put(p));
    }
}
