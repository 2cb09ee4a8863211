//! The filters of Jinja and the methods of Python's strings and dictionaries that templates use, each paying for what
//! it makes.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::json;
use super::limits::{Limits, refuse};
use super::python::{arg, int, list, show, split_named, test, text};

type Outcome = Result<Value, Error>;
type Filter = fn(&Limits, &[Value]) -> Outcome;

pub(super) const FILTERS: &[(&str, Filter)] = &[
    ("trim", |l, a| method(l, a, "strip")),
    ("upper", |l, a| method(l, a, "upper")),
    ("lower", |l, a| method(l, a, "lower")),
    ("title", |l, a| method(l, a, "title")),
    ("capitalize", |l, a| method(l, a, "capitalize")),
    ("replace", |l, a| method(l, a, "replace")),
    ("items", |l, a| call(l, arg(a, 0)?, "items", &[])),
    ("safe", |_, a| Ok(arg(a, 0)?.clone())),
    ("string", |l, a| as_text(l, arg(a, 0)?).map(Value::from)),
    ("length", length),
    ("count", length),
    ("default", default),
    ("d", default),
    ("first", |l, a| end(l, arg(a, 0)?, false)),
    ("last", |l, a| end(l, arg(a, 0)?, true)),
    ("list", |l, a| elements(l, arg(a, 0)?).and_then(|items| list(l, items))),
    ("reverse", |l, a| {
        let mut items = elements(l, arg(a, 0)?)?;
        items.reverse();
        match arg(a, 0)?.as_str() {
            Some(_) => text(l, items.iter().filter_map(|v| v.as_str()).collect::<String>()),
            None => list(l, items),
        }
    }),
    ("sort", |l, a| {
        let mut items = elements(l, arg(a, 0)?)?;
        l.spend(items.len().saturating_mul(1024))?; // comparisons
        items.sort();
        list(l, items)
    }),
    ("unique", |l, a| {
        let mut items: Vec<Value> = Vec::new();
        for item in elements(l, arg(a, 0)?)? {
            l.spend(items.len().saturating_mul(64))?;
            if !items.contains(&item) {
                items.push(item);
            }
        }
        list(l, items)
    }),
    ("join", |l, a| {
        let between = a.get(1).map(|v| as_text(l, v)).transpose()?.unwrap_or_default();
        join(l, arg(a, 0)?, &between)
    }),
    ("int", |_, a| {
        let value = arg(a, 0)?;
        let parsed = value.as_str().map(|s| s.trim().parse().unwrap_or(0));
        let float = f64::try_from(value.clone()).ok().map(|f| f as i64);
        Ok(Value::from(int(value).or(parsed).or(float).unwrap_or(0)))
    }),
    ("float", |_, a| {
        let value = arg(a, 0)?;
        let parsed = value.as_str().map(|s| s.trim().parse().unwrap_or(0.0));
        Ok(Value::from(parsed.or(f64::try_from(value.clone()).ok()).unwrap_or(0.0)))
    }),
    ("abs", |_, a| Ok(int(arg(a, 0)?).map_or(Value::UNDEFINED, |i| Value::from(i.saturating_abs())))),
    ("tojson", |l, a| {
        let (plain, named) = split_named(a);
        let indent = plain.get(1).cloned().or_else(|| named?.get("indent").ok());
        let indent = indent.as_ref().and_then(int).map(|i| i.clamp(0, 16) as usize);
        let mut out = String::new();
        json::json(l, arg(plain, 0)?, indent, &mut out)?;
        Ok(Value::from(out))
    }),
    ("indent", |l, a| {
        let (plain, named) = split_named(a);
        let get = |i: usize, name: &str| plain.get(i).cloned().or_else(|| named.as_ref()?.get(name).ok());
        let width = get(1, "width").as_ref().and_then(int).unwrap_or(4).clamp(0, 64) as usize;
        let (first, blank) = (get(2, "first"), get(3, "blank"));
        let (first, blank) = (first.is_some_and(|v| v.is_true()), blank.is_some_and(|v| v.is_true()));
        let source = as_text(l, arg(plain, 0)?)?;
        l.spend(source.len() + source.lines().count().saturating_mul(width))?;
        let pad = " ".repeat(width);
        let line = |(i, s): (usize, &str)| match (i == 0 && !first) || (s.is_empty() && !blank && i > 0) {
            true => s.to_string(),
            false => format!("{pad}{s}"),
        };
        Ok(Value::from(source.split('\n').enumerate().map(line).collect::<Vec<_>>().join("\n")))
    }),
    ("map", |l, a| {
        let (plain, named) = split_named(a);
        let attribute = named.as_ref().and_then(|n| n.get::<Value>("attribute").ok());
        let items = elements(l, arg(plain, 0)?)?;
        let mapped = items.into_iter().map(|item| match &attribute {
            Some(name) => item.get_item(name),
            None => {
                let name = arg(plain, 1)?.as_str().unwrap_or("");
                let Some((_, run)) = FILTERS.iter().find(|(n, _)| *n == name && name != "map") else {
                    return Err(Error::from(ErrorKind::UnknownFilter));
                };
                run(l, &[&[item], &plain[2..]].concat())
            }
        });
        let mapped = mapped.collect::<Result<Vec<_>, _>>()?;
        list(l, mapped)
    }),
    ("select", |l, a| select(l, a, true, false)),
    ("reject", |l, a| select(l, a, false, false)),
    ("selectattr", |l, a| select(l, a, true, true)),
    ("rejectattr", |l, a| select(l, a, false, true)),
    ("dictsort", |l, a| {
        let pairs = call(l, arg(a, 0)?, "items", &[])?;
        let mut items = elements(l, &pairs)?;
        l.spend(items.len().saturating_mul(1024))?;
        items.sort();
        list(l, items)
    }),
];

fn method(limits: &Limits, args: &[Value], name: &str) -> Outcome {
    let value = Value::from(as_text(limits, arg(args, 0)?)?);
    call(limits, &value, name, &args[1..])
}

fn as_text(limits: &Limits, value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    show(limits, value, &mut out)?;
    Ok(out)
}

/// The items of a list, the keys of a map, the characters of a text.
fn elements(limits: &Limits, value: &Value) -> Result<Vec<Value>, Error> {
    limits.weigh(value)?;
    if let Some(s) = value.as_str() {
        limits.spend(s.len().saturating_mul(size_of::<Value>()))?;
    }
    Ok(value.try_iter()?.collect())
}

fn length(limits: &Limits, args: &[Value]) -> Outcome {
    let value = arg(args, 0)?;
    limits.spend(value.as_str().map_or(0, str::len))?;
    value.len().map(Value::from).ok_or_else(|| refuse("it takes the length of what has none"))
}

fn default(_: &Limits, args: &[Value]) -> Outcome {
    let (plain, named) = split_named(args);
    let value = arg(plain, 0)?;
    let flag = plain.get(2).cloned().or_else(|| named?.get("boolean").ok());
    let lacks = value.is_undefined() || (flag.is_some_and(|f| f.is_true()) && !value.is_true());
    Ok(if lacks { plain.get(1).cloned().unwrap_or_else(|| Value::from("")) } else { value.clone() })
}

fn end(limits: &Limits, value: &Value, last: bool) -> Outcome {
    let items = elements(limits, value)?;
    let item = if last { items.last() } else { items.first() };
    Ok(item.cloned().unwrap_or(Value::UNDEFINED))
}

fn join(limits: &Limits, value: &Value, between: &str) -> Outcome {
    let mut out = String::new();
    for (i, item) in elements(limits, value)?.iter().enumerate() {
        if i > 0 {
            limits.spend(between.len())?;
            out.push_str(between);
        }
        show(limits, item, &mut out)?;
    }
    Ok(Value::from(out))
}

/// `select` and its kin: the items, or their attribute, for which a test holds, or that are true.
fn select(limits: &Limits, args: &[Value], wanted: bool, by_attribute: bool) -> Outcome {
    let items = elements(limits, arg(args, 0)?)?;
    let rest = &args[if by_attribute { 2.min(args.len()) } else { 1 }..];
    let mut kept = Vec::new();
    for item in items {
        let subject = if by_attribute { item.get_item(arg(args, 1)?)? } else { item.clone() };
        let holds = match rest.split_first() {
            None => subject.is_true(),
            Some((name, others)) => test(limits, name.as_str().unwrap_or(""), &[&[subject], others].concat())?,
        };
        if holds == wanted {
            kept.push(item);
        }
    }
    list(limits, kept)
}

/// The method `name` of a string, map or list.
pub(super) fn call(limits: &Limits, value: &Value, name: &str, args: &[Value]) -> Outcome {
    match (value.as_str(), value.kind()) {
        (Some(s), _) => string_method(limits, s, name, args),
        (None, ValueKind::Map) => {
            let keys = elements(limits, value)?;
            match name {
                "keys" => list(limits, keys),
                "values" => list(limits, keys.iter().map(|k| value.get_item(k)).collect::<Result<Vec<_>, _>>()?),
                "items" => {
                    let pair = |k: Value| Ok(Value::from(vec![k.clone(), value.get_item(&k)?]));
                    list(limits, keys.into_iter().map(pair).collect::<Result<Vec<_>, Error>>()?)
                }
                "get" => {
                    let found = value.get_item(arg(args, 0)?)?;
                    let or = || args.get(1).cloned().unwrap_or_else(|| Value::from(()));
                    Ok(if found.is_undefined() { or() } else { found })
                }
                _ => Err(Error::from(ErrorKind::UnknownMethod)),
            }
        }
        (None, ValueKind::Seq | ValueKind::Iterable) => {
            let items = elements(limits, value)?;
            args.iter().try_for_each(|a| limits.weigh(a))?;
            match (name, args) {
                ("index", [what]) => items
                    .iter()
                    .position(|v| v == what)
                    .map(Value::from)
                    .ok_or_else(|| refuse("a list lacks what it looks for")),
                ("count", [what]) => Ok(Value::from(items.iter().filter(|v| *v == what).count())),
                _ => Err(Error::from(ErrorKind::UnknownMethod)),
            }
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn string_method(limits: &Limits, s: &str, name: &str, args: &[Value]) -> Outcome {
    limits.spend(s.len())?;
    let chars = args.first().and_then(|v| v.as_str());
    let in_set = |c: char| chars.map_or(c.is_whitespace(), |set| set.contains(c));
    let part = || arg(args, 0)?.as_str().ok_or_else(|| refuse("a method of a string takes a string"));
    let any = |is: &dyn Fn(&str) -> bool| {
        let options = arg(args, 0)?;
        limits.weigh(options)?;
        Ok::<_, Error>(match options.as_str() {
            Some(one) => is(one),
            None => options.try_iter()?.any(|o| o.as_str().is_some_and(is)),
        })
    };
    match name {
        "strip" => text(limits, s.trim_matches(in_set)),
        "lstrip" => text(limits, s.trim_start_matches(in_set)),
        "rstrip" => text(limits, s.trim_end_matches(in_set)),
        "upper" => text(limits, s.to_uppercase()),
        "lower" => text(limits, s.to_lowercase()),
        "capitalize" => {
            let mut rest = s.chars();
            let first: String = rest.next().into_iter().flat_map(char::to_uppercase).collect();
            text(limits, first + &rest.as_str().to_lowercase())
        }
        "title" => {
            let mut out = String::new();
            let mut inside = false;
            for c in s.chars() {
                if inside {
                    out.extend(c.to_lowercase())
                } else {
                    out.extend(c.to_uppercase())
                }
                inside = c.is_alphabetic();
            }
            text(limits, out)
        }
        "startswith" => any(&|o| s.starts_with(o)).map(Value::from),
        "endswith" => any(&|o| s.ends_with(o)).map(Value::from),
        "removeprefix" => text(limits, s.strip_prefix(part()?).unwrap_or(s)),
        "removesuffix" => text(limits, s.strip_suffix(part()?).unwrap_or(s)),
        "find" | "index" => Ok(Value::from(s.find(part()?).map_or(-1, |i| s[..i].chars().count() as i64))),
        "rfind" => Ok(Value::from(s.rfind(part()?).map_or(-1, |i| s[..i].chars().count() as i64))),
        "count" => Ok(Value::from(s.matches(part()?).count())),
        "isdigit" => Ok(Value::from(!s.is_empty() && s.chars().all(|c| c.is_ascii_digit()))),
        "isalpha" => Ok(Value::from(!s.is_empty() && s.chars().all(char::is_alphabetic))),
        "isspace" => Ok(Value::from(!s.is_empty() && s.chars().all(char::is_whitespace))),
        "join" => join(limits, arg(args, 0)?, s),
        "splitlines" => strings(limits, s.lines()),
        "replace" => {
            let (old, new) = (part()?, arg(args, 1)?.as_str().ok_or_else(|| refuse("replace takes two strings"))?);
            let most = args.get(2).and_then(int).and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
            let times = s.matches(old).count().min(most);
            limits.spend(s.len().saturating_add(times.saturating_mul(new.len())))?;
            Ok(Value::from(s.replacen(old, new, times)))
        }
        "format" => format(limits, s, args),
        "split" | "rsplit" => {
            let most = args.get(1).and_then(int).and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX - 1);
            match (chars, name) {
                (Some(""), _) => Err(refuse("it splits at nothing")),
                (Some(at), "split") => strings(limits, s.splitn(most + 1, at)),
                (Some(at), _) => {
                    let mut parts: Vec<&str> = s.rsplitn(most + 1, at).collect();
                    parts.reverse();
                    strings(limits, parts)
                }
                (None, _) => strings(limits, s.split_whitespace()),
            }
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// `str.format` with plain fields: `{}`, `{0}`, `{name}`.
fn format(limits: &Limits, source: &str, args: &[Value]) -> Outcome {
    let (plain, named) = split_named(args);
    let (mut out, mut rest, mut next) = (String::new(), source, 0);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        limits.spend(before.len())?;
        out.push_str(before);
        if from.starts_with("{{") || from.starts_with("}}") {
            out.push_str(&from[..1]);
            rest = &from[2..];
            continue;
        }
        let (field, behind) =
            from[1..].split_once('}').ok_or_else(|| refuse("a format string has a brace too many"))?;
        let value = match (field, field.parse::<usize>()) {
            ("", _) => {
                next += 1;
                plain.get(next - 1).cloned()
            }
            (_, Ok(i)) => plain.get(i).cloned(),
            (name, Err(_)) => named.as_ref().and_then(|n| n.get(name).ok()),
        };
        show(limits, &value.ok_or_else(|| refuse("a format string lacks an argument"))?, &mut out)?;
        rest = behind;
    }
    limits.spend(rest.len())?;
    Ok(Value::from(out + rest))
}

fn strings<'a>(limits: &Limits, parts: impl IntoIterator<Item = &'a str>) -> Outcome {
    let mut items = Vec::new();
    for part in parts {
        limits.spend(part.len() + size_of::<Value>())?;
        items.push(Value::from(part));
    }
    list(limits, items)
}

/// Today as `strftime` writes it, in UTC: the letters that templates use.
pub(super) fn now(format: &str) -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    date(since.map_or(0, |d| d.as_secs()), format)
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// `seconds` after 1970 began.
fn date(seconds: u64, format: &str) -> String {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March, so that the leap day is the last of one.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (month_name, day_name) = (MONTHS[month as usize - 1], DAYS[days as usize % 7]);
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(c) = letters.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match letters.next() {
            Some('d') => out.push_str(&format!("{day:02}")),
            Some('m') => out.push_str(&format!("{month:02}")),
            Some('Y') => out.push_str(&year.to_string()),
            Some('y') => out.push_str(&format!("{:02}", year % 100)),
            Some('B') => out.push_str(month_name),
            Some('b') => out.push_str(&month_name[..3]),
            Some('A') => out.push_str(day_name),
            Some('a') => out.push_str(&day_name[..3]),
            Some('H') => out.push_str(&format!("{:02}", of_day / 3600)),
            Some('M') => out.push_str(&format!("{:02}", of_day / 60 % 60)),
            Some('S') => out.push_str(&format!("{:02}", of_day % 60)),
            Some('%') => out.push('%'),
            Some(other) => out.extend(['%', other]),
            None => out.push('%'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(0, "%A %d %B %Y %H:%M:%S %y %%"), "Thursday 01 January 1970 00:00:00 70 %");
        assert_eq!(date(951_782_399, "%d %b %Y"), "28 Feb 2000");
        assert_eq!(date(951_782_400, "%a %d %b %Y"), "Tue 29 Feb 2000");
        assert_eq!(date(1_735_689_599, "%Y-%m-%d %H:%M:%S"), "2024-12-31 23:59:59");
    }
}
