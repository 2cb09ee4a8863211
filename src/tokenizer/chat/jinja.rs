//! Chat templates that are Jinja programs, run by minijinja within the bounds of `limits`, as the tools that publish
//! models run them: blocks trimmed, values printed as Python prints them.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::machinery::{CodeGenerator, Vm, WhitespaceConfig, make_string_output, parse};
use minijinja::value::Value;
use minijinja::{AutoEscape, Error as JinjaError, ErrorKind};

use super::limits::{self, Limits};
use super::python;
use super::style::Recognized;
use super::{Message, Text};
use crate::error::{Result, fail};

/// What the interpreter gives.
type Outcome<T> = std::result::Result<T, JinjaError>;

const WHITE: WhitespaceConfig =
    WhitespaceConfig { keep_trailing_newline: false, lstrip_blocks: true, trim_blocks: true };
/// Of the thread that renders: the compiler recurses over a template. Touched only as far as it is needed.
const STACK_BYTES: usize = 64 << 20;
/// Calls inside calls.
const MAX_CALLS: usize = 200;
/// Bytes of a template's words in an error.
const MAX_WORDS: usize = 300;

/// A template that compiles.
pub(super) struct Template {
    source: String,
    bos: String,
    eos: String,
}

impl Template {
    /// Errors: `Unsupported` for a source that is no Jinja, or exceeds the bounds.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Template> {
        let template = Template { source: without_marks(source), bos: bos.into(), eos: eos.into() };
        template.on_a_stack(|| {
            let limits = Limits::new(0);
            compiled(&template.source, |_| Ok(())).map_err(|e| error(&e, &limits))
        })?;
        Ok(template)
    }

    /// The conversation as text. Errors: those of `Chat::render`.
    pub fn render(&self, messages: &[Message], prompt: bool) -> Result<String> {
        let conversation = messages.iter().map(|m| m.role.len() + m.content.len()).sum();
        let limits = Arc::new(Limits::new(conversation));
        self.on_a_stack(|| self.run(messages, prompt, &limits).map_err(|e| error(&e, &limits)))
    }

    fn run(&self, messages: &[Message], prompt: bool, limits: &Arc<Limits>) -> Outcome<String> {
        let message = |m: &Message| Value::from_iter([("role", m.role), ("content", m.content)]);
        let context = Value::from_iter([
            ("messages", Value::from_iter(messages.iter().map(message))),
            ("add_generation_prompt", Value::from(prompt)),
            ("bos_token", Value::from(self.bos.as_str())),
            ("eos_token", Value::from(self.eos.as_str())),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
        ]);
        compiled(&self.source, |code| {
            let mut env = python::environment(limits);
            env.set_fuel(Some(limits::steps(messages.len())));
            env.set_recursion_limit(MAX_CALLS);
            let mut text = String::new();
            let blocks = BTreeMap::new();
            Vm::new(&env).eval(code, context, &blocks, &mut make_string_output(&mut text), AutoEscape::None)?;
            Ok(text)
        })
    }

    /// Whether own code writes what the template does, as far as a few conversations show.
    pub fn agrees(&self, own: &Recognized) -> bool {
        let say = |role, content| Message { role, content };
        let (system, user) = (say("system", " Be kind.\n"), say("user", " Hi! \n"));
        let (answer, again) = (say("assistant", " <think>so</think>\n\nHello. \n"), say("user", "And?"));
        let conversations: [&[Message]; 6] = [
            &[user],
            &[system, user],
            &[user, answer, again],
            &[system, user, answer, again, answer],
            &[answer],
            &[user, again],
        ];
        conversations.iter().all(|messages| {
            [true, false].iter().all(|&prompt| {
                let mut buffer = [0; 2048];
                let mut text = Text { out: &mut buffer, len: 0 };
                own.write(messages, prompt, false, &mut text);
                let len = text.len;
                self.render(messages, prompt).is_ok_and(|t| buffer.get(..len) == Some(t.as_bytes()))
            })
        })
    }

    /// Runs `work` where there is stack enough, whatever thread this is.
    fn on_a_stack<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("chat template".into()).stack_size(STACK_BYTES);
            match thread.spawn_scoped(scope, work).map(|t| t.join()) {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => fail!(Internal, "the chat template made its interpreter panic"),
                Err(e) => fail!(OutOfMemory, "no thread to run the chat template: {e}"),
            }
        })
    }
}

/// The source without the tags by which trainers mark an assistant's words: in their place stand conditions that hold.
fn without_marks(source: &str) -> String {
    let (mut out, mut rest) = (String::new(), source);
    while let Some((before, tag)) = rest.split_once("{%") {
        out.push_str(before);
        out.push_str("{%");
        let inside = tag.split_once("%}").map_or("", |(inside, _)| inside);
        let plus = if inside.starts_with(['-', '+']) { 1 } else { 0 };
        let word = match inside[plus..].trim_end_matches(['-', '+']).trim() {
            "generation" => " if true ",
            "endgeneration" => " endif ",
            _ => "",
        };
        rest = tag;
        if !word.is_empty() {
            let end = inside.len() - usize::from(inside.ends_with(['-', '+']));
            out.push_str(&inside[..plus]);
            out.push_str(word);
            rest = &tag[end..];
        }
    }
    out + rest
}

/// Compiles a source and hands the hardened program to `then`.
fn compiled<T>(
    source: &str,
    then: impl for<'s> FnOnce(&minijinja::machinery::Instructions<'s>) -> Outcome<T>,
) -> Outcome<T> {
    limits::check(source, WHITE)?;
    let tree = parse(source, "chat template", Default::default(), WHITE)?;
    let mut compiler = CodeGenerator::new("chat template", source);
    compiler.compile_stmt(&tree);
    let (code, _) = compiler.finish();
    then(&limits::harden(&code)?)
}

/// One line that says what the template did.
fn error(error: &JinjaError, limits: &Limits) -> crate::Error {
    let fails = |code, what: String| crate::Error::new(code, what);
    if limits.is_spent() {
        return fails(crate::Code::Unsupported, "the chat template takes more memory than it may".into());
    }
    if error.kind() == ErrorKind::OutOfFuel {
        return fails(crate::Code::Unsupported, "the chat template takes more steps than it may".into());
    }
    let words = error.detail().unwrap_or("");
    if let Some(words) = words.strip_prefix(python::RAISED) {
        let words: String = words.chars().take(MAX_WORDS).map(|c| if c.is_control() { ' ' } else { c }).collect();
        return fails(crate::Code::InvalidArgument, format!("the chat template refuses the conversation: {words}"));
    }
    let words: String = words.chars().take(MAX_WORDS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line = error.line().map_or(String::new(), |l| format!(" (line {l})"));
    fails(crate::Code::Unsupported, format!("the chat template does not run: {}: {words}{line}", error.kind()))
}
