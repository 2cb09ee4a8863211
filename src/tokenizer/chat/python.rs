//! What templates compute with: operators, filters, tests, methods and functions as Python and Jinja have them, each
//! paying for what it makes.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State};

use super::json;
use super::limits::{Limits, refuse};
use super::methods;

/// Stands before the words of `raise_exception`.
pub(super) const RAISED: &str = "\0";

/// Longest result of `range`.
const MAX_RANGE: i64 = 10_000;

type Outcome = Result<Value, Error>;

/// An environment with nothing in it but what is here.
pub(super) fn environment(limits: &Arc<Limits>) -> Environment<'static> {
    let mut env = Environment::empty();
    let l = Arc::clone(limits);
    env.set_formatter(move |out: &mut Output, _: &State, value: &Value| {
        let mut text = String::new();
        show(&l, value, &mut text)?;
        l.spend(text.len())?;
        out.write_str(&text).map_err(Error::from)
    });
    for (name, run) in OPERATORS {
        let l = Arc::clone(limits);
        env.add_function(*name, move |args: Rest<Value>| run(&l, &args));
    }
    for (name, run) in methods::FILTERS {
        let l = Arc::clone(limits);
        env.add_filter(*name, move |args: Rest<Value>| run(&l, &args));
    }
    for name in TESTS {
        let l = Arc::clone(limits);
        env.add_test(*name, move |args: Rest<Value>| test(&l, name, &args));
    }
    let l = Arc::clone(limits);
    env.set_unknown_method_callback(move |_: &State, value: &Value, name: &str, args: &[Value]| {
        methods::call(&l, value, name, args)
    });
    env
}

type Operator = fn(&Limits, &[Value]) -> Outcome;

/// By the names that `limits::harden` calls, and that templates call.
const OPERATORS: &[(&str, Operator)] = &[
    ("\0iter", |l, a| {
        let value = arg(a, 0)?;
        l.weigh(value)?;
        match value.as_str() {
            None if value.is_none() => Err(refuse("it loops over none")),
            None => Ok(value.clone()),
            // The machine's own iterator does not know which character is the last.
            Some(s) => {
                l.spend(s.len().saturating_mul(size_of::<Value>()))?;
                list(l, s.chars().map(|c| Value::from(c.to_string())).collect())
            }
        }
    }),
    ("\0set", |l, a| {
        let Some(space) = arg(a, 1)?.downcast_object_ref::<Namespace>() else {
            return Err(refuse("it sets an attribute of what is no namespace"));
        };
        l.weigh(arg(a, 0)?)?;
        space.set(arg(a, 2)?.as_str().unwrap_or(""), arg(a, 0)?.clone());
        Ok(Value::UNDEFINED)
    }),
    ("\0list", |l, a| list(l, a.to_vec())),
    ("\0map", |l, a| map(l, a.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())))),
    ("\0add", |l, a| add(l, arg(a, 0)?, arg(a, 1)?)),
    ("\0cat", |l, a| {
        let mut text = String::new();
        show(l, arg(a, 0)?, &mut text)?;
        show(l, arg(a, 1)?, &mut text)?;
        Ok(Value::from(text))
    }),
    ("\0mul", |l, a| {
        let (x, y) = (arg(a, 0)?, arg(a, 1)?);
        if let (Some(s), Some(n)) = (x.as_str().or(y.as_str()), int(x).or(int(y))) {
            let n = usize::try_from(n).unwrap_or(0);
            l.spend(s.len().saturating_mul(n))?;
            return Ok(Value::from(s.repeat(n)));
        }
        match (int(x), int(y)) {
            (Some(x), Some(y)) => x.checked_mul(y).map(Value::from).ok_or_else(|| refuse("a product is too large")),
            _ => Ok(Value::from(float(x)? * float(y)?)),
        }
    }),
    ("\0slice", |l, a| slice(l, arg(a, 0)?, arg(a, 1)?, arg(a, 2)?, arg(a, 3)?)),
    ("\0item", |l, a| item(l, arg(a, 0)?, arg(a, 1)?)),
    ("\0eq", |l, a| Ok(Value::from(compare(l, a)?.0))),
    ("\0ne", |l, a| Ok(Value::from(!compare(l, a)?.0))),
    ("\0lt", |l, a| Ok(Value::from(compare(l, a)?.1 == Ordering::Less))),
    ("\0le", |l, a| Ok(Value::from(compare(l, a)?.1 != Ordering::Greater))),
    ("\0gt", |l, a| Ok(Value::from(compare(l, a)?.1 == Ordering::Greater))),
    ("\0ge", |l, a| Ok(Value::from(compare(l, a)?.1 != Ordering::Less))),
    ("\0in", |l, a| Ok(Value::from(contains(l, arg(a, 1)?, arg(a, 0)?)?))),
    // In chains of comparisons: the result, and the right operand again.
    ("\0eq2", |l, a| again(compare(l, a)?.0, a)),
    ("\0ne2", |l, a| again(!compare(l, a)?.0, a)),
    ("\0lt2", |l, a| again(compare(l, a)?.1 == Ordering::Less, a)),
    ("\0le2", |l, a| again(compare(l, a)?.1 != Ordering::Greater, a)),
    ("\0gt2", |l, a| again(compare(l, a)?.1 == Ordering::Greater, a)),
    ("\0ge2", |l, a| again(compare(l, a)?.1 != Ordering::Less, a)),
    ("\0in2", |l, a| again(contains(l, arg(a, 1)?, arg(a, 0)?)?, a)),
    ("\0notin2", |l, a| again(!contains(l, arg(a, 1)?, arg(a, 0)?)?, a)),
    ("namespace", |l, a| {
        let space = Namespace::default();
        for value in a {
            if value.kind() != ValueKind::Map {
                return Err(refuse("it makes a namespace of what is no map"));
            }
            l.weigh(value)?;
            for key in value.try_iter()? {
                space.set(key.as_str().unwrap_or(""), value.get_item(&key)?);
            }
        }
        Ok(Value::from_object(space))
    }),
    ("dict", |l, a| match a {
        [] => map(l, std::iter::empty()),
        [from, ..] => {
            let keys: Vec<Value> = from.try_iter()?.collect();
            let pairs = keys.into_iter().map(|k| from.get_item(&k).map(|v| (k, v))).collect::<Result<Vec<_>, _>>()?;
            map(l, pairs)
        }
    }),
    ("range", |l, a| {
        let n = |i: usize| a.get(i).map(|v| int(v).ok_or_else(|| refuse("range takes whole numbers"))).transpose();
        let (start, stop) = match (n(0)?, n(1)?) {
            (Some(stop), None) => (0, stop),
            (Some(start), Some(stop)) => (start, stop),
            _ => return Err(refuse("range takes one to three numbers")),
        };
        let step = n(2)?.unwrap_or(1);
        let mut items = Vec::new();
        let mut i = start;
        while if step > 0 { i < stop } else { step < 0 && i > stop } {
            if items.len() as i64 >= MAX_RANGE {
                return Err(refuse("a range is too long"));
            }
            items.push(Value::from(i));
            i = i.saturating_add(step);
        }
        list(l, items)
    }),
    ("raise_exception", |l, a| {
        let mut words = String::from(RAISED);
        show(l, arg(a, 0)?, &mut words)?;
        Err(Error::new(ErrorKind::InvalidOperation, words))
    }),
    ("strftime_now", |_, a| Ok(Value::from(methods::now(arg(a, 0)?.as_str().unwrap_or(""))))),
];

/// The argument at `i`.
pub(super) fn arg(args: &[Value], i: usize) -> Result<&Value, Error> {
    args.get(i).ok_or_else(|| Error::from(ErrorKind::MissingArgument))
}

fn again(result: bool, args: &[Value]) -> Outcome {
    Ok(Value::from(vec![Value::from(result), arg(args, 1)?.clone()]))
}

/// A list, paid for.
pub(super) fn list(limits: &Limits, items: Vec<Value>) -> Outcome {
    let list = Value::from(items);
    limits.weigh(&list)?;
    Ok(list)
}

/// A map, paid for.
pub(super) fn map(limits: &Limits, pairs: impl IntoIterator<Item = (Value, Value)>) -> Outcome {
    let map = Value::from_iter(pairs);
    limits.weigh(&map)?;
    Ok(map)
}

/// A text, paid for.
pub(super) fn text(limits: &Limits, text: impl AsRef<str> + Into<Value>) -> Outcome {
    limits.spend(text.as_ref().len())?;
    Ok(text.into())
}

pub(super) fn int(value: &Value) -> Option<i64> {
    matches!(value.kind(), ValueKind::Number | ValueKind::Bool).then(|| i64::try_from(value.clone()).ok()).flatten()
}

fn float(value: &Value) -> Result<f64, Error> {
    f64::try_from(value.clone()).map_err(|_| refuse("it calculates with what is no number"))
}

fn add(limits: &Limits, a: &Value, b: &Value) -> Outcome {
    let is_list = |v: &Value| matches!(v.kind(), ValueKind::Seq | ValueKind::Iterable);
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        limits.spend(a.len() + b.len())?;
        return Ok(Value::from([a, b].concat()));
    }
    if is_list(a) && is_list(b) {
        limits.weigh(a)?;
        limits.weigh(b)?;
        return list(limits, a.try_iter()?.chain(b.try_iter()?).collect());
    }
    match (int(a), int(b)) {
        (Some(a), Some(b)) => a.checked_add(b).map(Value::from).ok_or_else(|| refuse("a sum is too large")),
        _ if a.is_number() && b.is_number() => Ok(Value::from(float(a)? + float(b)?)),
        _ => Err(Error::new(ErrorKind::InvalidOperation, format!("it adds {} and {}", a.kind(), b.kind()))),
    }
}

/// Whether they are equal, and their order.
pub(super) fn compare(limits: &Limits, args: &[Value]) -> Result<(bool, Ordering), Error> {
    let (a, b) = (arg(args, 0)?, arg(args, 1)?);
    limits.weigh(a)?;
    limits.weigh(b)?;
    Ok((a == b, a.cmp(b)))
}

pub(super) fn contains(limits: &Limits, container: &Value, what: &Value) -> Result<bool, Error> {
    limits.weigh(container)?;
    limits.weigh(what)?;
    match (container.as_str(), what.as_str()) {
        (Some(text), Some(part)) => return Ok(text.contains(part)),
        (Some(_), None) => return Err(refuse("it looks for what is no text in a text")),
        _ => {}
    }
    match container.kind() {
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => Ok(container.try_iter()?.any(|v| v == *what)),
        ValueKind::Undefined => Ok(false),
        kind => Err(Error::new(ErrorKind::InvalidOperation, format!("it looks for a value in {kind}"))),
    }
}

fn item(limits: &Limits, value: &Value, key: &Value) -> Outcome {
    limits.spend(key.as_str().map_or(0, str::len))?;
    let Some(string) = value.as_str() else { return value.get_item(key) };
    limits.spend(string.len())?;
    let Some(at) = int(key) else { return Ok(Value::UNDEFINED) };
    let at = if at < 0 { at + string.chars().count() as i64 } else { at };
    let found = usize::try_from(at).ok().and_then(|at| string.chars().nth(at));
    Ok(found.map_or(Value::UNDEFINED, |c| Value::from(c.to_string())))
}

fn slice(limits: &Limits, value: &Value, start: &Value, stop: &Value, step: &Value) -> Outcome {
    let number = |v: &Value| match v.kind() {
        ValueKind::None | ValueKind::Undefined => Ok(None),
        _ => int(v).map(Some).ok_or_else(|| refuse("it cuts at what is no whole number")),
    };
    let (start, stop, step) = (number(start)?, number(stop)?, number(step)?.unwrap_or(1));
    limits.weigh(value)?;
    let items: Vec<Value> = match value.as_str() {
        Some(s) if step == 1 => {
            // The common case, without a value for each character.
            let n = s.chars().count() as i64;
            let (from, to) = (clamp(start, n, 0), clamp(stop, n, n));
            let cut: String = s.chars().skip(from as usize).take((to - from).max(0) as usize).collect();
            return text(limits, cut);
        }
        Some(s) => {
            limits.spend(s.len().saturating_mul(size_of::<Value>()))?;
            s.chars().map(|c| Value::from(c.to_string())).collect()
        }
        None => value.try_iter()?.collect(),
    };
    let n = items.len() as i64;
    let mut cut = Vec::new();
    if step > 0 {
        let (from, to) = (clamp(start, n, 0), clamp(stop, n, n));
        cut.extend((from..to).step_by(step as usize).filter_map(|i| items.get(i as usize).cloned()));
    } else if step < 0 {
        let below = |v: Option<i64>, or: i64| v.map_or(or, |v| if v < 0 { (v + n).max(-1) } else { v.min(n - 1) });
        let (mut i, to) = (below(start, n - 1), below(stop, -1));
        while i > to {
            cut.extend(usize::try_from(i).ok().and_then(|i| items.get(i).cloned()));
            i = i.saturating_add(step);
        }
    } else {
        return Err(refuse("it cuts by steps of 0"));
    }
    if value.as_str().is_some() {
        return text(limits, cut.iter().filter_map(|v| v.as_str()).collect::<String>());
    }
    list(limits, cut)
}

fn clamp(at: Option<i64>, len: i64, or: i64) -> i64 {
    at.map_or(or, |v| if v < 0 { (v.saturating_add(len)).max(0) } else { v.min(len) })
}

/// Appends a value as Python's `str` has it, paid for.
pub(super) fn show(limits: &Limits, value: &Value, out: &mut String) -> Result<(), Error> {
    let before = out.len();
    match value.kind() {
        ValueKind::Undefined => {}
        ValueKind::String => {
            let string = value.as_str().unwrap_or("");
            limits.spend(string.len())?;
            out.push_str(string);
            return Ok(());
        }
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => return json::repr(limits, value, out),
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => _ = write!(out, "{value}"),
        kind => _ = write!(out, "<{kind}>"),
    }
    limits.spend(out.len() - before)
}

pub(super) const TESTS: &[&str] = &[
    "defined",
    "undefined",
    "none",
    "true",
    "false",
    "boolean",
    "number",
    "integer",
    "float",
    "string",
    "mapping",
    "sequence",
    "iterable",
    "callable",
    "odd",
    "even",
    "divisibleby",
    "equalto",
    "eq",
    "==",
    "ne",
    "!=",
    "in",
    "lower",
    "upper",
    "lt",
    "le",
    "gt",
    "ge",
    "lessthan",
    "greaterthan",
    "sameas",
];

/// The test of that name on the first argument.
pub(super) fn test(limits: &Limits, name: &str, args: &[Value]) -> Result<bool, Error> {
    let value = arg(args, 0)?;
    let kind = value.kind();
    let number = |i: usize| int(arg(args, i)?).ok_or_else(|| refuse("a test takes a whole number"));
    Ok(match name {
        "defined" => kind != ValueKind::Undefined,
        "undefined" => kind == ValueKind::Undefined,
        "none" => kind == ValueKind::None,
        "true" => kind == ValueKind::Bool && value.is_true(),
        "false" => kind == ValueKind::Bool && !value.is_true(),
        "boolean" => kind == ValueKind::Bool,
        "number" => matches!(kind, ValueKind::Number | ValueKind::Bool),
        "integer" => kind == ValueKind::Number && value.is_integer(),
        "float" => kind == ValueKind::Number && !value.is_integer(),
        "string" => kind == ValueKind::String,
        "mapping" => kind == ValueKind::Map,
        "sequence" => matches!(kind, ValueKind::Seq | ValueKind::String | ValueKind::Map),
        "iterable" => matches!(kind, ValueKind::Seq | ValueKind::Iterable | ValueKind::String | ValueKind::Map),
        "callable" => kind == ValueKind::Plain,
        "odd" => number(0)? % 2 != 0,
        "even" => number(0)? % 2 == 0,
        "divisibleby" => number(0)?.checked_rem(number(1)?) == Some(0),
        "equalto" | "eq" | "==" | "sameas" => compare(limits, args)?.0,
        "ne" | "!=" => !compare(limits, args)?.0,
        "in" => contains(limits, arg(args, 1)?, value)?,
        "lower" => value.as_str().is_some_and(|s| !s.chars().any(char::is_uppercase)),
        "upper" => value.as_str().is_some_and(|s| !s.chars().any(char::is_lowercase)),
        "lt" | "lessthan" => compare(limits, args)?.1 == Ordering::Less,
        "le" => compare(limits, args)?.1 != Ordering::Greater,
        "gt" | "greaterthan" => compare(limits, args)?.1 == Ordering::Greater,
        "ge" => compare(limits, args)?.1 != Ordering::Less,
        _ => return Err(Error::new(ErrorKind::UnknownTest, name.to_string())),
    })
}

/// The named arguments at the end of `args`, and those before them.
pub(super) fn split_named(args: &[Value]) -> (&[Value], Option<Kwargs>) {
    match args.split_last() {
        Some((last, rest)) if last.is_kwargs() => (rest, Kwargs::try_from(last.clone()).ok()),
        _ => (args, None),
    }
}

/// What `namespace()` makes: the one value that can be written to. It is in no other, so nothing holds itself.
#[derive(Debug, Default)]
pub(super) struct Namespace(Mutex<BTreeMap<String, Value>>);

impl Namespace {
    fn set(&self, key: &str, value: Value) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.into(), value);
    }
}

impl Object for Namespace {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key.as_str()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }
}
