//! The values of a file's key-value pairs: numbers by value, strings and arrays as slices of the file.

use std::fmt;

/// The type of a value; the discriminant is its number in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[allow(missing_docs)] // the names are the format's own
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Str = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

use ValueType as Ty;

impl ValueType {
    const ALL: [Ty; 13] = [
        Ty::U8,
        Ty::I8,
        Ty::U16,
        Ty::I16,
        Ty::U32,
        Ty::I32,
        Ty::F32,
        Ty::Bool,
        Ty::Str,
        Ty::Array,
        Ty::U64,
        Ty::I64,
        Ty::F64,
    ];

    /// The type of that number.
    pub fn from_id(id: u32) -> Option<ValueType> {
        Self::ALL.get(id as usize).copied()
    }

    /// The type's number in the file.
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// The type's name in words of the format, as in `uint32`.
    pub const fn name(self) -> &'static str {
        match self {
            Ty::U8 => "uint8",
            Ty::I8 => "int8",
            Ty::U16 => "uint16",
            Ty::I16 => "int16",
            Ty::U32 => "uint32",
            Ty::I32 => "int32",
            Ty::F32 => "float32",
            Ty::Bool => "bool",
            Ty::Str => "string",
            Ty::Array => "array",
            Ty::U64 => "uint64",
            Ty::I64 => "int64",
            Ty::F64 => "float64",
        }
    }

    /// Bytes of one value, None for strings and arrays.
    pub const fn bytes(self) -> Option<usize> {
        match self {
            Ty::U8 | Ty::I8 | Ty::Bool => Some(1),
            Ty::U16 | Ty::I16 => Some(2),
            Ty::U32 | Ty::I32 | Ty::F32 => Some(4),
            Ty::U64 | Ty::I64 | Ty::F64 => Some(8),
            Ty::Str | Ty::Array => None,
        }
    }
}

/// One value. Strings are bytes: nothing promises that they are UTF-8.
#[derive(Clone, Copy, PartialEq)]
#[allow(missing_docs)] // the names are the format's own
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(&'a [u8]),
    Array(Array<'a>),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl<'a> Value<'a> {
    /// The value's type.
    pub fn ty(&self) -> ValueType {
        match self {
            Value::U8(_) => Ty::U8,
            Value::I8(_) => Ty::I8,
            Value::U16(_) => Ty::U16,
            Value::I16(_) => Ty::I16,
            Value::U32(_) => Ty::U32,
            Value::I32(_) => Ty::I32,
            Value::F32(_) => Ty::F32,
            Value::Bool(_) => Ty::Bool,
            Value::Str(_) => Ty::Str,
            Value::Array(_) => Ty::Array,
            Value::U64(_) => Ty::U64,
            Value::I64(_) => Ty::I64,
            Value::F64(_) => Ty::F64,
        }
    }

    /// The value of an integer of any width.
    pub fn int(&self) -> Option<i128> {
        Some(match *self {
            Value::U8(v) => v.into(),
            Value::I8(v) => v.into(),
            Value::U16(v) => v.into(),
            Value::I16(v) => v.into(),
            Value::U32(v) => v.into(),
            Value::I32(v) => v.into(),
            Value::U64(v) => v.into(),
            Value::I64(v) => v.into(),
            _ => return None,
        })
    }

    /// The value of a float of either width.
    pub fn float(&self) -> Option<f64> {
        match *self {
            Value::F32(v) => Some(v.into()),
            Value::F64(v) => Some(v),
            _ => None,
        }
    }

    /// The value of a number's bytes, None for strings, arrays and too few bytes. Any byte but 0 is true.
    pub(super) fn scalar(ty: ValueType, bytes: &[u8]) -> Option<Value<'a>> {
        Some(match ty {
            Ty::U8 => Value::U8(*bytes.first()?),
            Ty::I8 => Value::I8(i8::from_le_bytes(*bytes.first_chunk()?)),
            Ty::U16 => Value::U16(u16::from_le_bytes(*bytes.first_chunk()?)),
            Ty::I16 => Value::I16(i16::from_le_bytes(*bytes.first_chunk()?)),
            Ty::U32 => Value::U32(u32::from_le_bytes(*bytes.first_chunk()?)),
            Ty::I32 => Value::I32(i32::from_le_bytes(*bytes.first_chunk()?)),
            Ty::F32 => Value::F32(f32::from_le_bytes(*bytes.first_chunk()?)),
            Ty::Bool => Value::Bool(*bytes.first()? != 0),
            Ty::U64 => Value::U64(u64::from_le_bytes(*bytes.first_chunk()?)),
            Ty::I64 => Value::I64(i64::from_le_bytes(*bytes.first_chunk()?)),
            Ty::F64 => Value::F64(f64::from_le_bytes(*bytes.first_chunk()?)),
            Ty::Str | Ty::Array => return None,
        })
    }
}

/// What it is, for messages: `the uint32 5`, `a string of 7 bytes`, `an array of 3 float32`.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Str(s) => write!(f, "a string of {} bytes", s.len()),
            Value::Array(a) => write!(f, "an array of {} {}", a.len(), a.ty().name()),
            Value::Bool(b) => write!(f, "the bool {b}"),
            Value::F32(v) => write!(f, "the float32 {v}"),
            Value::F64(v) => write!(f, "the float64 {v}"),
            _ => write!(f, "the {} {}", self.ty().name(), self.int().unwrap_or(0)),
        }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Str(s) => write!(f, "{:?}", String::from_utf8_lossy(s)),
            _ => fmt::Display::fmt(self, f),
        }
    }
}

/// An array of values of one type (never arrays again), as a slice of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Array<'a> {
    ty: ValueType,
    len: usize,
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    pub(super) fn new(ty: ValueType, len: usize, bytes: &'a [u8]) -> Self {
        Array { ty, len, bytes }
    }

    /// The type of the elements.
    pub fn ty(&self) -> ValueType {
        self.ty
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements as they lie in the file: little-endian numbers, or strings each behind its length of 8 bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The strings, in order; None if the elements are no strings.
    pub fn strings(&self) -> Option<Strings<'a>> {
        (self.ty == Ty::Str).then_some(Strings { bytes: self.bytes, left: self.len })
    }

    /// The elements as `u32`, from integers of any width; None if they are no integers or one is out of range.
    pub fn u32s(&self) -> Option<impl ExactSizeIterator<Item = u32> + Clone + use<'a>> {
        if self.ty != Ty::U32 && !self.ints()?.all(|v| u32::try_from(v).is_ok()) {
            return None;
        }
        Some(self.ints()?.map(|v| v as u32))
    }

    /// The elements as `i32`, from integers of any width; None if they are no integers or one is out of range.
    pub fn i32s(&self) -> Option<impl ExactSizeIterator<Item = i32> + Clone + use<'a>> {
        if self.ty != Ty::I32 && !self.ints()?.all(|v| i32::try_from(v).is_ok()) {
            return None;
        }
        Some(self.ints()?.map(|v| v as i32))
    }

    /// The elements as `f32`, from floats of either width; None if they are no floats.
    pub fn f32s(&self) -> Option<impl ExactSizeIterator<Item = f32> + Clone + use<'a>> {
        let ty = self.ty;
        let size = if matches!(ty, Ty::F32 | Ty::F64) { ty.bytes()? } else { return None };
        let value = move |bytes| Value::scalar(ty, bytes).and_then(|v| v.float()).unwrap_or(0.0);
        Some(self.bytes.chunks_exact(size).map(move |bytes| value(bytes) as f32))
    }

    /// The elements as `bool`; None if they are of another type.
    pub fn bools(&self) -> Option<impl ExactSizeIterator<Item = bool> + Clone + use<'a>> {
        (self.ty == Ty::Bool).then(|| self.bytes.iter().map(|&b| b != 0))
    }

    /// The elements as integers, from any width; None if they are no integers.
    pub fn ints(&self) -> Option<impl ExactSizeIterator<Item = i128> + Clone + use<'a>> {
        let ty = self.ty;
        let size = if matches!(ty, Ty::F32 | Ty::F64 | Ty::Bool) { return None } else { ty.bytes()? };
        let value = move |bytes| Value::scalar(ty, bytes).and_then(|v| v.int()).unwrap_or(0);
        Some(self.bytes.chunks_exact(size).map(value))
    }
}

/// The strings of an array, in order. Walks the file: no index, no allocation.
#[derive(Clone)]
pub struct Strings<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        // Lengths were checked at opening; they are checked again because a mapped file can be written to.
        let string = self.bytes.split_first_chunk::<8>().and_then(|(len, rest)| {
            let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
            rest.split_at_checked(len)
        });
        let (string, rest) = string.unwrap_or((&[], &[]));
        self.bytes = rest;
        Some(string)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Strings<'_> {}

macro_rules! from {
    ($($ty:ty => $variant:ident),*) => {$(
        impl From<$ty> for Value<'_> {
            fn from(v: $ty) -> Self {
                Value::$variant(v)
            }
        }
        /// An array of these. Little-endian machines only, as is all of this library.
        impl<'a> From<&'a [$ty]> for Value<'a> {
            fn from(v: &'a [$ty]) -> Self {
                Value::Array(Array { ty: Ty::$variant, len: v.len(), bytes: bytemuck::cast_slice(v) })
            }
        }
    )*};
}

from!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, f32 => F32, bool => Bool, u64 => U64, i64 => I64, f64 => F64);

impl<'a> From<&'a str> for Value<'a> {
    fn from(v: &'a str) -> Self {
        Value::Str(v.as_bytes())
    }
}
