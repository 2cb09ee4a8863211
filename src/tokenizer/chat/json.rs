//! Values as text: JSON as Python's `json.dumps` writes it, and Python's own `repr`.

use std::fmt::Write;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::limits::{Limits, refuse};

/// Appends a value as JSON, on one line or indented by that many spaces; paid for.
pub(super) fn json(limits: &Limits, value: &Value, indent: Option<usize>, out: &mut String) -> Result<(), Error> {
    limits.weigh(value)?;
    write(limits, value, &Form { indent, python: false }, 0, out)
}

/// Appends a value as Python's `repr` has it; paid for.
pub(super) fn repr(limits: &Limits, value: &Value, out: &mut String) -> Result<(), Error> {
    limits.weigh(value)?;
    write(limits, value, &Form { indent: None, python: true }, 0, out)
}

struct Form {
    indent: Option<usize>,
    python: bool,
}

fn write(limits: &Limits, value: &Value, form: &Form, depth: usize, out: &mut String) -> Result<(), Error> {
    let before = out.len();
    let word = |json: &'static str, python: &'static str| if form.python { python } else { json };
    match value.kind() {
        ValueKind::None => out.push_str(word("null", "None")),
        ValueKind::Bool if value.is_true() => out.push_str(word("true", "True")),
        ValueKind::Bool => out.push_str(word("false", "False")),
        ValueKind::Number => _ = write!(out, "{value}"),
        ValueKind::String => quote(value.as_str().unwrap_or(""), form.python, out),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter()?.collect();
            return list(limits, items.len(), "[]", form, depth, out, |i, out| {
                write(limits, &items[i], form, depth + 1, out)
            });
        }
        ValueKind::Map => {
            let keys: Vec<Value> = value.try_iter()?.collect();
            return list(limits, keys.len(), "{}", form, depth, out, |i, out| {
                match keys[i].as_str() {
                    Some(key) => quote(key, form.python, out),
                    None => write(limits, &keys[i], form, depth + 1, out)?,
                }
                out.push_str(": ");
                write(limits, &value.get_item(&keys[i])?, form, depth + 1, out)
            });
        }
        ValueKind::Undefined => return Err(Error::from(ErrorKind::UndefinedError)),
        _ => return Err(refuse("it writes as JSON what is no data")),
    }
    limits.spend(out.len() - before)
}

fn list(
    limits: &Limits,
    len: usize,
    brackets: &str,
    form: &Form,
    depth: usize,
    out: &mut String,
    mut each: impl FnMut(usize, &mut String) -> Result<(), Error>,
) -> Result<(), Error> {
    out.push_str(&brackets[..1]);
    let line = |depth: usize, out: &mut String| {
        let Some(indent) = form.indent else { return Ok(()) };
        let spaces = indent.saturating_mul(depth);
        limits.spend(spaces)?;
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', spaces));
        Ok::<(), Error>(())
    };
    for i in 0..len {
        limits.spend(4)?;
        if i > 0 {
            out.push_str(if form.indent.is_some() { "," } else { ", " });
        }
        line(depth + 1, out)?;
        each(i, out)?;
    }
    if len > 0 {
        line(depth, out)?;
    }
    out.push_str(&brackets[1..]);
    Ok(())
}

fn quote(text: &str, python: bool, out: &mut String) {
    let double = !python || (text.contains('\'') && !text.contains('"'));
    let mark = if double { '"' } else { '\'' };
    out.push(mark);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            '\u{8}' if !python => out.push_str("\\b"),
            '\u{c}' if !python => out.push_str("\\f"),
            c if c == mark => _ = write!(out, "\\{c}"),
            c if (c as u32) < 0x20 || (python && c == '\u{7f}') => {
                _ = if python { write!(out, "\\x{:02x}", c as u32) } else { write!(out, "\\u{:04x}", c as u32) };
            }
            c => out.push(c),
        }
    }
    out.push(mark);
}
