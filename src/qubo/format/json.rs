//! What the three JSON forms share: lists that grow by what was read, errors that name file and line, and which of the forms one is.

use std::fmt;
use std::io::Write;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::Format;
use super::terms::Ids;
use crate::error::{Code, Error, Result, fail};

/// Reads a whole file as a `T`; `form` is the form's name.
pub(super) fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8], form: &str) -> Result<T> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    serde_json::from_slice(bytes).map_err(|e| {
        let line = e.line().max(1);
        // The sentence ends with the place, which stands in front already.
        let text = e.to_string();
        let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
        let cut = if e.is_eof() { ": the file is cut, fetch it again" } else { "" };
        Error::new(Code::Format, format!("{name}:{line}: this is no {form} file: {text}, column {}{cut}", e.column()))
    })
}

/// Which of the forms an object is, by the keys that only one of them has.
pub(super) fn guess(bytes: &[u8], name: &str) -> Result<Format> {
    #[derive(Deserialize)]
    struct Keys {
        linear_terms: Option<IgnoredAny>,
        quadratic_terms: Option<IgnoredAny>,
        cost_function: Option<IgnoredAny>,
        linear_biases: Option<IgnoredAny>,
        quadratic_biases: Option<IgnoredAny>,
    }
    let keys: Keys = parse(name, bytes, "JSON")?;
    let bqpjson = keys.linear_terms.is_some() && keys.quadratic_terms.is_some();
    let bqm = keys.linear_biases.is_some() && keys.quadratic_biases.is_some();
    match (bqm, bqpjson, keys.cost_function.is_some()) {
        (true, false, false) => Ok(Format::Bqm),
        (false, true, false) => Ok(Format::Bqpjson),
        (false, false, true) => Ok(Format::Qio),
        _ => fail!(
            InvalidArgument,
            "{name}: is JSON, but none of bqm, bqpjson and qio for sure: name its form with --format"
        ),
    }
}

/// A list; memory for it is asked for as it grows, and its lack is an error.
pub(super) struct List<T>(pub Vec<T>);

impl<T> Default for List<T> {
    fn default() -> List<T> {
        List(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Items<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> std::result::Result<List<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = from.next_element()? {
                    if list.len() == list.capacity() && list.try_reserve(list.len().max(64)).is_err() {
                        return Err(A::Error::custom("there is no memory for its lists"));
                    }
                    list.push(item);
                }
                Ok(List(list))
            }
        }
        from.deserialize_seq(Items(PhantomData))
    }
}

/// A finite number.
#[derive(Clone, Copy)]
pub(super) struct Number {
    pub value: f64,
    /// Whether f64 holds what the file has, if that was a whole number.
    pub exact: bool,
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Any;

        impl Visitor<'_> for Any {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_f64<E>(self, value: f64) -> std::result::Result<Number, E> {
                Ok(Number { value, exact: true })
            }

            fn visit_i64<E>(self, value: i64) -> std::result::Result<Number, E> {
                Ok(Number { value: value as f64, exact: (value as f64).abs() <= super::EXACT })
            }

            fn visit_u64<E>(self, value: u64) -> std::result::Result<Number, E> {
                Ok(Number { value: value as f64, exact: value as f64 <= super::EXACT })
            }
        }
        from.deserialize_any(Any)
    }
}

/// The way back: whole numbers without a point, as they were.
impl Serialize for Number {
    fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        if self.value.fract() == 0.0 && self.value.abs() <= super::EXACT {
            to.serialize_i64(self.value as i64)
        } else {
            to.serialize_f64(self.value)
        }
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Number {
        Number { value, exact: true }
    }
}

impl Default for Number {
    fn default() -> Number {
        Number::from(0.0)
    }
}

/// The numbers that names are, for forms that know no others: None, with a note, when they are none, or not different.
pub(super) fn numbers(labels: Option<&[String]>, n: usize, notes: &mut Vec<String>) -> Option<Vec<u64>> {
    let labels = labels.filter(|labels| labels.len() == n)?;
    let numbers: Option<Vec<u64>> = labels.iter().map(|label| label.parse().ok()).collect();
    let found = numbers.filter(|list| Ids::new(list.clone()).len() == n);
    if found.is_none() {
        notes
            .push("the form names variables by numbers: they are numbered from 0 in the order of the file read".into());
    }
    found
}

/// A list that is written as an iterator gives it.
pub(super) struct Written<F>(pub F);

impl<F: Fn() -> I, I: Iterator<Item = T>, T: Serialize> Serialize for Written<F> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.collect_seq(self.0())
    }
}

/// Writes an object and the end of its line.
pub(super) fn write(out: &mut dyn Write, object: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, object)?;
    writeln!(out)
}
