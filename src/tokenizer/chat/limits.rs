//! Bounds on what a template may cost.
//!
//! Fuel bounds a program's steps, but not what a step makes: forty-five doublings of a string are few steps. So every
//! instruction whose cost is not constant is replaced, between the compiler and the machine, by a call of a function
//! of ours (see `python`), which pays for its result out of one budget before it makes it. Values that hold others are paid
//! for by all that can be reached from them, so a value is never worth more than the budget, and no deeper than
//! [`MAX_DEPTH`]: what the machine does on its own with one, comparing or dropping, stays cheap too.

use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::machinery::{Instruction, Instructions, Token, WhitespaceConfig, tokenize};
use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// Steps of one rendering, and more for each message.
const STEPS: u64 = 100_000;
const STEPS_PER_MESSAGE: u64 = 2_000;
/// Bytes made by one rendering, and more for each byte of the conversation: templates join a text several times.
const BYTES: usize = 12 << 20;
const BYTES_PER_BYTE: usize = 32;
/// What a value costs without its text.
const VALUE_BYTES: usize = 64;
/// Lists inside lists.
const MAX_DEPTH: usize = 32;
/// Tokens in one tag, and tags: the compiler recurses over them.
const MAX_TAG_TOKENS: usize = 1000;
const MAX_TAGS: usize = 8000;
const MAX_ELIFS: usize = 200;

/// What is left of the bytes.
pub(super) struct Limits {
    bytes: AtomicUsize,
    /// The bound was met: what the template said then does not matter.
    spent: std::sync::atomic::AtomicBool,
}

impl Limits {
    /// For a conversation of that many bytes.
    pub fn new(conversation: usize) -> Limits {
        let bytes = BYTES.saturating_add(conversation.saturating_mul(BYTES_PER_BYTE));
        Limits { bytes: AtomicUsize::new(bytes), spent: Default::default() }
    }

    /// Pays for `bytes`.
    pub fn spend(&self, bytes: usize) -> Result<(), Error> {
        let pay = |left: usize| left.checked_sub(bytes.saturating_add(1));
        if self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_err() {
            self.spent.store(true, Ordering::Relaxed);
            return Err(refuse("it takes more memory than it may"));
        }
        Ok(())
    }

    /// Whether the bytes were not enough.
    pub fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }

    /// Pays for a value and all that it holds.
    pub fn weigh(&self, value: &Value) -> Result<(), Error> {
        self.weigh_at(value, 0)
    }

    fn weigh_at(&self, value: &Value, depth: usize) -> Result<(), Error> {
        self.spend(VALUE_BYTES)?;
        if depth > MAX_DEPTH {
            return Err(refuse("it nests values too deeply"));
        }
        match value.kind() {
            ValueKind::String => self.spend(value.as_str().map_or(0, str::len)),
            ValueKind::Seq | ValueKind::Iterable => value.try_iter()?.try_for_each(|v| self.weigh_at(&v, depth + 1)),
            ValueKind::Map => value.try_iter()?.try_for_each(|key| {
                self.weigh_at(&key, depth + 1)?;
                self.weigh_at(&value.get_item(&key)?, depth + 1)
            }),
            ValueKind::Plain if value.downcast_object_ref::<super::python::Namespace>().is_some() => {
                Err(refuse("it puts a namespace into another value"))
            }
            _ => Ok(()),
        }
    }
}

/// The steps for that many messages.
pub(super) fn steps(messages: usize) -> u64 {
    STEPS.saturating_add(STEPS_PER_MESSAGE.saturating_mul(messages as u64))
}

pub(super) fn refuse(why: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, why)
}

/// What stands beside a multiplication sign.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operand {
    Name,
    Number,
    Other,
}

/// Refuses sources that the compiler would recurse too deeply over, or compute too much of.
pub(super) fn check(source: &str, white: WhitespaceConfig) -> Result<(), Error> {
    let (mut tags, mut in_tag, mut elifs) = (0, 0, 0);
    // Products of constants are made by the compiler, so a product needs a name, or numbers alone.
    let (mut before, mut sign) = (Operand::Other, None);
    for token in tokenize(source, false, Default::default(), white) {
        let (token, _) = token?;
        in_tag += 1;
        let operand = match token {
            Token::Ident(_) => Operand::Name,
            Token::Int(_) | Token::Float(_) => Operand::Number,
            _ => Operand::Other,
        };
        match sign.take() {
            Some(Operand::Name) => {}
            Some(Operand::Number) if operand != Operand::Other => {}
            Some(Operand::Other) if operand == Operand::Name => {}
            Some(_) => return Err(refuse("it multiplies constants that are no numbers")),
            None => {}
        }
        if matches!(token, Token::Mul | Token::Pow) {
            sign = Some(before);
        }
        before = operand;
        match token {
            Token::VariableStart | Token::BlockStart => (tags, in_tag) = (tags + 1, 0),
            Token::Ident("elif") => elifs += 1,
            _ => {}
        }
        if tags > MAX_TAGS || in_tag > MAX_TAG_TOKENS || elifs > MAX_ELIFS {
            return Err(refuse("it is too long or too deep"));
        }
    }
    Ok(())
}

/// The same program with calls of paying functions in the place of instructions that cost more than a moment.
pub(super) fn harden<'s>(code: &Instructions<'s>) -> Result<Instructions<'s>, Error> {
    let mut hard = Instructions::new(code.name(), code.source());
    let mut moved = Vec::with_capacity(code.len() + 1);
    for at in 0..code.len() as u32 {
        moved.push(hard.len() as u32);
        let Some(old) = code.get(at) else { continue };
        let line = code.get_line(at).unwrap_or(0).min(u16::MAX as usize) as u16;
        let mut add = |new| _ = hard.add_with_line(new, line);
        let call = |name, args| Instruction::CallFunction(name, Some(args));
        let many = |n: usize| u16::try_from(n).map_err(|_| refuse("it makes too long a list"));
        match old {
            Instruction::EmitRaw(text) => {
                add(Instruction::LoadConst(Value::from(*text)));
                add(Instruction::Emit);
            }
            Instruction::PushLoop(flags) => {
                add(call("\0iter", 1));
                add(Instruction::PushLoop(*flags));
            }
            Instruction::SetAttr(name) => {
                add(Instruction::LoadConst(Value::from(*name)));
                add(call("\0set", 3));
                add(Instruction::DiscardTop);
            }
            Instruction::BuildList(Some(n)) => add(call("\0list", many(*n)?)),
            Instruction::BuildMap(n) => add(call("\0map", many(n.saturating_mul(2))?)),
            Instruction::Add => add(call("\0add", 2)),
            Instruction::StringConcat => add(call("\0cat", 2)),
            Instruction::Mul => add(call("\0mul", 2)),
            Instruction::Slice => add(call("\0slice", 4)),
            Instruction::GetItem => add(call("\0item", 2)),
            Instruction::Eq => add(call("\0eq", 2)),
            Instruction::Ne => add(call("\0ne", 2)),
            Instruction::Lt => add(call("\0lt", 2)),
            Instruction::Lte => add(call("\0le", 2)),
            Instruction::Gt => add(call("\0gt", 2)),
            Instruction::Gte => add(call("\0ge", 2)),
            Instruction::In => add(call("\0in", 2)),
            Instruction::CompareAndPreserve(op) => {
                // The function gives the result and the right operand, which are put back on the stack.
                let name = match format!("{op:?}").as_str() {
                    "Eq" => "\0eq2",
                    "Ne" => "\0ne2",
                    "Lt" => "\0lt2",
                    "Lte" => "\0le2",
                    "Gt" => "\0gt2",
                    "Gte" => "\0ge2",
                    "In" => "\0in2",
                    _ => "\0notin2",
                };
                add(call(name, 2));
                add(Instruction::UnpackList(2));
            }
            // Of as many values as the number on top of them says: loops with a condition.
            Instruction::BuildList(None) => add(Instruction::CallFunction("\0list", None)),
            Instruction::UnpackLists(_) | Instruction::MergeKwargs(_) => {
                return Err(refuse("it has calls with unpacked lists, which are not run"));
            }
            Instruction::CallMethod("changed" | "cycle", _) => {
                return Err(refuse("it calls loop.changed or loop.cycle, which are not run"));
            }
            Instruction::CallBlock(_)
            | Instruction::LoadBlocks
            | Instruction::Include(_)
            | Instruction::ExportLocals
            | Instruction::FastSuper => return Err(refuse("it asks for other templates: a model has but one")),
            other => add(other.clone()),
        }
    }
    moved.push(hard.len() as u32);
    for at in 0..hard.len() as u32 {
        if let Some(
            Instruction::Iterate(to)
            | Instruction::Jump(to)
            | Instruction::JumpIfFalse(to)
            | Instruction::JumpIfFalseOrPop(to)
            | Instruction::JumpIfTrueOrPop(to)
            | Instruction::BuildMacro(_, to, _),
        ) = hard.get_mut(at)
        {
            *to = moved.get(*to as usize).copied().ok_or_else(|| refuse("it jumps out of itself"))?;
        }
    }
    Ok(hard)
}
