//! JSON files that describe a model, read with errors that name file and key.

use std::path::Path;

use serde_json::Value;

use crate::error::{Code, Result, fail};
use crate::memory::map::Map;

/// Bytes of such a file at most: the largest tokenizers have 40 MB.
const MAX_BYTES: usize = 1 << 28;

/// A JSON object, and where it is from.
pub(super) struct Json {
    pub value: Value,
    pub file: String,
}

impl Json {
    /// Reads the object in the file at `path`.
    pub fn open(path: &Path) -> Result<Json> {
        let file = path.display().to_string();
        let map = Map::open(path)?;
        if map.len() > MAX_BYTES {
            fail!(Unsupported, "{file}: has {} bytes; at most {MAX_BYTES} are read", map.len());
        }
        match serde_json::from_slice(&map) {
            Ok(value @ Value::Object(_)) => Ok(Json { value, file }),
            Ok(_) => fail!(Format, "{file}: is JSON but no object: it is damaged, fetch it again"),
            Err(e) => fail!(Format, "{file}: is no JSON ({e}): it is damaged, fetch it again"),
        }
    }

    /// The same, None when there is no such file.
    pub fn open_if_there(path: &Path) -> Result<Option<Json>> {
        match Json::open(path) {
            Err(e) if e.code() == Code::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    /// The value at `path`, keys with points between; None for a missing one or `null`.
    pub fn get(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(&self.value, |v, key| v.get(key)).filter(|v| !v.is_null())
    }

    /// A whole number from 0 to 2^32-1.
    pub fn u32(&self, path: &str) -> Result<Option<u32>> {
        let read = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        self.typed(path, "a whole number from 0 to 2^32-1", read)
    }

    /// A number.
    pub fn f64(&self, path: &str) -> Result<Option<f64>> {
        self.typed(path, "a number", Value::as_f64)
    }

    /// True or false.
    pub fn bool(&self, path: &str) -> Result<Option<bool>> {
        self.typed(path, "true or false", Value::as_bool)
    }

    /// A string.
    pub fn str(&self, path: &str) -> Result<Option<&str>> {
        self.typed(path, "a string", Value::as_str)
    }

    /// `read` of the value, which must be `want`.
    pub fn typed<'a, T>(
        &'a self,
        path: &str,
        want: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(path) else { return Ok(None) };
        match read(value) {
            Some(v) => Ok(Some(v)),
            None => fail!(Format, "{}: {path:?} is {}, expected {want}", self.file, shown(value)),
        }
    }

    /// What `read` found at `path`, or `NotFound`.
    pub fn need<T>(&self, path: &str, found: Option<T>) -> Result<T> {
        match found {
            Some(v) => Ok(v),
            None => fail!(NotFound, "{}: has no {path:?}", self.file),
        }
    }
}

/// A value in a message.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Array(a) => format!("a list of {}", a.len()),
        Value::Object(o) => format!("an object of {}", o.len()),
        other => other.to_string().chars().take(120).collect(),
    }
}
