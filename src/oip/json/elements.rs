//! The `data` of a JSON tensor → the tensor's bytes, and back.
//!
//! The text is read number by number, straight into bytes of the tensor's own type: no tree of
//! values is built. Arrays may be flat (row-major) or nested as the shape is.
//! This file must never accept a number that its type cannot hold.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use half::{bf16, f16};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeSeq as _, Serializer};

use crate::domain::{DataType, Strings, display_shape};

/// How elements of `BYTES` stand in JSON's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextForm {
    /// As they are.
    Plain,
    /// In base64 (RFC 4648, section 4).
    Base64,
}

/// The elements of `text` as little-endian bytes.
///
/// # Errors
/// What came and what was expected.
pub(super) fn to_bytes(
    text: &str,
    datatype: DataType,
    shape: &[usize],
    form: TextForm,
) -> Result<Vec<u8>, String> {
    let elements: usize = shape.iter().product();
    let depth = depth(text);
    let dims: &[usize] = match depth {
        0 => return Err("data is not an array".to_owned()),
        1 => &[elements],
        n if n == shape.len() => shape,
        n => {
            let (rank, shape) = (shape.len(), display_shape(shape));
            return Err(format!(
                "data is nested {n} deep; a flat array or one nested {rank} deep is expected for \
                 the shape {shape}"
            ));
        }
    };
    // An element takes two bytes of text at least, whatever the shape says.
    let capacity = elements.min(text.len() / 2 + 1) * datatype.size().unwrap_or(4);
    let mut out = Vec::with_capacity(capacity);
    match datatype {
        DataType::Bool => read::<Number<bool>>(text, dims, &mut out),
        DataType::Uint8 => read::<Number<u8>>(text, dims, &mut out),
        DataType::Uint16 => read::<Number<u16>>(text, dims, &mut out),
        DataType::Uint32 => read::<Number<u32>>(text, dims, &mut out),
        DataType::Uint64 => read::<Number<u64>>(text, dims, &mut out),
        DataType::Int8 => read::<Number<i8>>(text, dims, &mut out),
        DataType::Int16 => read::<Number<i16>>(text, dims, &mut out),
        DataType::Int32 => read::<Number<i32>>(text, dims, &mut out),
        DataType::Int64 => read::<Number<i64>>(text, dims, &mut out),
        DataType::Fp32 => read::<Number<f32>>(text, dims, &mut out),
        DataType::Fp64 => read::<Number<f64>>(text, dims, &mut out),
        DataType::Fp16 => read::<Half<f16>>(text, dims, &mut out),
        DataType::Bf16 => read::<Half<bf16>>(text, dims, &mut out),
        DataType::Bytes if form == TextForm::Plain => read::<Text<'_>>(text, dims, &mut out),
        DataType::Bytes => read::<Coded<'_>>(text, dims, &mut out),
    }?;
    Ok(out)
}

/// How many arrays `text` opens before its first element.
fn depth(text: &str) -> usize {
    let open = |byte: &u8| *byte == b'[' || byte.is_ascii_whitespace();
    text.as_bytes().iter().take_while(|byte| open(byte)).filter(|byte| **byte == b'[').count()
}

fn read<'de, T: Element<'de>>(
    text: &'de str,
    dims: &[usize],
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let level = Level::<T> { dims, out, element: PhantomData };
    level.deserialize(&mut reader).and_then(|()| reader.end()).map_err(|error| {
        let hint = if error.to_string().contains("null") { super::NO_NAN } else { "" };
        format!("data: {error} of the array{hint}")
    })
}

/// An element as JSON has it.
trait Element<'de>: Deserialize<'de> {
    /// Appends its bytes, or says why they cannot be had.
    fn put(self, out: &mut Vec<u8>) -> Result<(), String>;
}

/// A number or boolean that serde holds to its range.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Number<T>(T);

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl<'de> Element<'de> for Number<$number> {
            fn put(self, out: &mut Vec<u8>) -> Result<(), String> {
                out.extend_from_slice(&self.0.to_le_bytes());
                Ok(())
            }
        }
    )*};
}
numbers!(u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);

impl<'de> Element<'de> for Number<bool> {
    fn put(self, out: &mut Vec<u8>) -> Result<(), String> {
        out.push(u8::from(self.0));
        Ok(())
    }
}

/// A number of 16 bits, rounded from the 64 bits that JSON's number is read into.
struct Half<T>(f64, PhantomData<T>);

impl<'de, T> Deserialize<'de> for Half<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(|number| Self(number, PhantomData))
    }
}

macro_rules! halves {
    ($($half:ident = $name:literal),*) => {$(
        impl<'de> Element<'de> for Half<$half> {
            fn put(self, out: &mut Vec<u8>) -> Result<(), String> {
                let half = $half::from_f64(self.0);
                if half.is_infinite() {
                    return Err(format!("{} is out of the range of {}", self.0, $name));
                }
                out.extend_from_slice(&half.to_le_bytes());
                Ok(())
            }
        }
    )*};
}
halves!(f16 = "FP16", bf16 = "BF16");

/// An element of `BYTES` as text.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Element<'de> for Text<'a> {
    fn put(self, out: &mut Vec<u8>) -> Result<(), String> {
        put_bytes(self.0.as_bytes(), out)
    }
}

/// An element of `BYTES` in base64.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Coded<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Element<'de> for Coded<'a> {
    fn put(self, out: &mut Vec<u8>) -> Result<(), String> {
        let bytes = BASE64.decode(self.0.as_bytes());
        put_bytes(&bytes.map_err(|error| format!("it is not base64: {error}"))?, out)
    }
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let length =
        u32::try_from(bytes.len()).map_err(|_| format!("{} bytes are too many", bytes.len()))?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// One array: of elements on the last dimension, of arrays before it.
struct Level<'s, T> {
    dims: &'s [usize],
    out: &'s mut Vec<u8>,
    element: PhantomData<T>,
}

impl<'de, T: Element<'de>> DeserializeSeed<'de> for Level<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Element<'de>> Visitor<'de> for Level<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array as the shape says")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        use serde::de::Error as _;
        let expected = self.dims.first().copied().unwrap_or(1);
        let mut count = 0_usize;
        match self.dims.get(1..) {
            None | Some([]) => {
                while let Some(element) = array.next_element::<T>()? {
                    let put = element.put(self.out);
                    put.map_err(|error| A::Error::custom(format!("element {count}: {error}")))?;
                    count += 1;
                }
            }
            Some(dims) => loop {
                let level = Level::<T> { dims, out: &mut *self.out, element: PhantomData };
                if array.next_element_seed(level)?.is_none() {
                    break;
                }
                count += 1;
            },
        }
        if count == expected {
            return Ok(());
        }
        let kind = if self.dims.len() > 1 { "arrays" } else { "elements" };
        Err(A::Error::custom(format!("{count} {kind} came, the shape says {expected}")))
    }
}

/// A tensor's bytes as a flat JSON array. NaN and the infinities, which JSON has not, are `null`.
pub(super) struct Elements<'a> {
    /// The elements' type.
    pub datatype: DataType,
    /// Their bytes.
    pub bytes: &'a [u8],
    /// How elements of `BYTES` are written.
    pub form: TextForm,
}

impl Serialize for Elements<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { datatype, bytes, form } = *self;
        match datatype {
            DataType::Bool => write(serializer, bytes, |[b]: [u8; 1]| b != 0),
            DataType::Uint8 => write(serializer, bytes, u8::from_le_bytes),
            DataType::Uint16 => write(serializer, bytes, u16::from_le_bytes),
            DataType::Uint32 => write(serializer, bytes, u32::from_le_bytes),
            DataType::Uint64 => write(serializer, bytes, u64::from_le_bytes),
            DataType::Int8 => write(serializer, bytes, i8::from_le_bytes),
            DataType::Int16 => write(serializer, bytes, i16::from_le_bytes),
            DataType::Int32 => write(serializer, bytes, i32::from_le_bytes),
            DataType::Int64 => write(serializer, bytes, i64::from_le_bytes),
            DataType::Fp32 => write(serializer, bytes, f32::from_le_bytes),
            DataType::Fp64 => write(serializer, bytes, f64::from_le_bytes),
            DataType::Fp16 => write(serializer, bytes, |b| f16::from_le_bytes(b).to_f32()),
            DataType::Bf16 => write(serializer, bytes, |b| bf16::from_le_bytes(b).to_f32()),
            DataType::Bytes => {
                let mut array = serializer.serialize_seq(None)?;
                for element in Strings::new(bytes).map_while(Result::ok) {
                    match form {
                        TextForm::Plain => {
                            array.serialize_element(&String::from_utf8_lossy(element))?;
                        }
                        TextForm::Base64 => array.serialize_element(&BASE64.encode(element))?,
                    }
                }
                array.end()
            }
        }
    }
}

fn write<S: Serializer, T: Serialize, const N: usize>(
    serializer: S,
    bytes: &[u8],
    element: impl Fn([u8; N]) -> T,
) -> Result<S::Ok, S::Error> {
    let (elements, _) = bytes.as_chunks::<N>();
    let mut array = serializer.serialize_seq(Some(elements.len()))?;
    for bytes in elements {
        array.serialize_element(&element(*bytes))?;
    }
    array.end()
}

#[cfg(test)]
mod tests;
