//! PyTorch's values: files of tensors, read by name, and how near to them a result must be.
//!
//! They lie in tests/goldens, or in the folder that the environment variable QORUS_GOLDENS names. What they are and
//! which bounds hold stands in the README beside them.
#![allow(dead_code)] // no test uses all of it

pub mod llama;

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A file of values.
pub struct Golden {
    name: String,
    bytes: Vec<u8>,
}

impl Golden {
    /// The file `<name>.safetensors`.
    pub fn open(name: &str) -> Golden {
        let folder = std::env::var_os("QORUS_GOLDENS").filter(|folder| !folder.is_empty()).map(PathBuf::from);
        let folder = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens"));
        let path = folder.join(name).with_extension("safetensors");
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Golden { name: name.to_owned(), bytes }
    }

    /// Whether there is a tensor of that name.
    pub fn has(&self, tensor: &str) -> bool {
        SafeTensors::deserialize(&self.bytes).unwrap().tensor(tensor).is_ok()
    }

    fn read<T>(&self, tensor: &str, f: impl Fn(Dtype, &[u8]) -> T) -> (Vec<usize>, T) {
        let file = SafeTensors::deserialize(&self.bytes).unwrap_or_else(|e| panic!("{}: {e}", self.name));
        let view = file.tensor(tensor).unwrap_or_else(|e| panic!("{}: {tensor}: {e}", self.name));
        (view.shape().to_vec(), f(view.dtype(), view.data()))
    }

    /// The dimensions of a tensor, outermost first.
    pub fn shape(&self, tensor: &str) -> Vec<usize> {
        self.read(tensor, |_, _| ()).0
    }

    /// A tensor of f32.
    pub fn f32(&self, tensor: &str) -> Vec<f32> {
        self.read(tensor, |ty, bytes| {
            assert_eq!(ty, Dtype::F32, "{tensor}");
            bytes.as_chunks().0.iter().map(|x| f32::from_le_bytes(*x)).collect()
        })
        .1
    }

    /// A tensor of f64, or of f32 widened.
    pub fn f64(&self, tensor: &str) -> Vec<f64> {
        self.read(tensor, |ty, bytes| match ty {
            Dtype::F64 => bytes.as_chunks().0.iter().map(|x| f64::from_le_bytes(*x)).collect(),
            Dtype::F32 => bytes.as_chunks().0.iter().map(|x| f64::from(f32::from_le_bytes(*x))).collect(),
            other => panic!("{tensor} is {other:?}"),
        })
        .1
    }

    /// A tensor of integers.
    pub fn ints(&self, tensor: &str) -> Vec<i64> {
        self.read(tensor, |ty, bytes| {
            assert_eq!(ty, Dtype::I64, "{tensor}");
            bytes.as_chunks().0.iter().map(|x| i64::from_le_bytes(*x)).collect()
        })
        .1
    }

    /// The numbers a case was made with.
    pub fn meta(&self, case: &str) -> Value {
        let (_, metadata) = SafeTensors::read_metadata(&self.bytes).unwrap();
        let text =
            metadata.metadata().as_ref().and_then(|m| m.get(case)).unwrap_or_else(|| panic!("{case} has no text"));
        serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
    }
}

/// Demands that no value is further off than `absolute` plus `relative` times the greatest magnitude expected; the largest
/// difference.
#[track_caller]
pub fn within(what: &str, found: &[f64], expected: &[f64], absolute: f64, relative: f64) -> f64 {
    assert_eq!(found.len(), expected.len(), "{what}: lengths");
    let greatest = expected.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
    let differences = found.iter().zip(expected).map(|(a, b)| if a == b { 0.0 } else { (a - b).abs() });
    let (at, largest) = differences.enumerate().fold((0, 0.0), |m, d| if d.1 <= m.1 { m } else { d });
    let bound = absolute + relative * greatest;
    assert!(largest <= bound, "{what}: {largest:e} off at {at}: {} for {}, bound {bound:e}", found[at], expected[at]);
    println!("{what}: {largest:.1e}, bound {bound:.1e}");
    largest
}

/// The bound of f32 operations: 1e-5, and relative where values are large.
#[track_caller]
pub fn near(what: &str, found: &[f32], expected: &[f64]) -> f64 {
    within(what, &wide(found), expected, 1e-5, 1e-5)
}

/// f32 as f64.
pub fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().copied().map(f64::from).collect()
}
