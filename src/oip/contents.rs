//! `InferTensorContents`: elements as lists of numbers instead of bytes.
//!
//! Each data type has one list; small integers come in the wider list and must fit.
//! This file must never guess: a filled list of another type is an error.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::domain::{DataType, pack_strings};
use crate::proto::inference::InferTensorContents;

/// The list that each data type comes in.
fn list_of(datatype: DataType) -> Option<&'static str> {
    Some(match datatype {
        DataType::Bool => "bool_contents",
        DataType::Int8 | DataType::Int16 | DataType::Int32 => "int_contents",
        DataType::Int64 => "int64_contents",
        DataType::Uint8 | DataType::Uint16 | DataType::Uint32 => "uint_contents",
        DataType::Uint64 => "uint64_contents",
        DataType::Fp32 => "fp32_contents",
        DataType::Fp64 => "fp64_contents",
        DataType::Bytes => "bytes_contents",
        DataType::Fp16 | DataType::Bf16 => return None,
    })
}

/// The elements as little-endian bytes.
///
/// # Errors
/// What is wrong: another list is filled, the number of elements, an element out of range.
pub fn to_bytes(
    contents: &InferTensorContents,
    datatype: DataType,
    elements: usize,
) -> Result<Bytes, String> {
    let expected = list_of(datatype).ok_or_else(|| {
        format!("{datatype} has no typed contents; send it in raw_input_contents")
    })?;
    for (list, count) in lists(contents) {
        if count > 0 && list != expected {
            return Err(format!("{datatype} comes in {expected}, {list} is filled"));
        }
    }
    let count = lists(contents).into_iter().find(|(list, _)| *list == expected);
    let count = count.map_or(0, |(_, count)| count);
    if count != elements {
        return Err(format!("the shape has {elements} elements, {expected} has {count}"));
    }
    let int = |bits: u32| {
        let highest = (1_i64 << (bits - 1)) - 1;
        small(&contents.int_contents, bits, -highest - 1, highest)
    };
    let uint = |bits: u32| small(&contents.uint_contents, bits, 0, (1_i64 << bits) - 1);
    Ok(match datatype {
        DataType::Bool => contents.bool_contents.iter().map(|x| u8::from(*x)).collect(),
        DataType::Int8 => int(8)?,
        DataType::Int16 => int(16)?,
        DataType::Int32 => int(32)?,
        DataType::Uint8 => uint(8)?,
        DataType::Uint16 => uint(16)?,
        DataType::Uint32 => uint(32)?,
        DataType::Int64 => pack(&contents.int64_contents, i64::to_le_bytes),
        DataType::Uint64 => pack(&contents.uint64_contents, u64::to_le_bytes),
        DataType::Fp32 => pack(&contents.fp32_contents, f32::to_le_bytes),
        DataType::Fp64 => pack(&contents.fp64_contents, f64::to_le_bytes),
        DataType::Bytes => pack_strings(&contents.bytes_contents).map_err(|error| error.to_string())?,
        DataType::Fp16 | DataType::Bf16 => Bytes::new(),
    })
}

fn lists(contents: &InferTensorContents) -> [(&'static str, usize); 8] {
    [
        ("bool_contents", contents.bool_contents.len()),
        ("int_contents", contents.int_contents.len()),
        ("int64_contents", contents.int64_contents.len()),
        ("uint_contents", contents.uint_contents.len()),
        ("uint64_contents", contents.uint64_contents.len()),
        ("fp32_contents", contents.fp32_contents.len()),
        ("fp64_contents", contents.fp64_contents.len()),
        ("bytes_contents", contents.bytes_contents.len()),
    ]
}

fn pack<T: Copy, const N: usize>(elements: &[T], bytes: impl Fn(T) -> [u8; N]) -> Bytes {
    let mut packed = BytesMut::with_capacity(elements.len() * N);
    elements.iter().for_each(|element| packed.put_slice(&bytes(*element)));
    packed.freeze()
}

/// Integers of `bits` bits that come in a wider list.
fn small<T>(elements: &[T], bits: u32, low: i64, high: i64) -> Result<Bytes, String>
where
    T: Copy + Into<i64>,
{
    let size = (bits / 8) as usize;
    let mut packed = BytesMut::with_capacity(elements.len() * size);
    for element in elements {
        let value: i64 = (*element).into();
        if !(low..=high).contains(&value) {
            return Err(format!("the element {value} is not between {low} and {high}"));
        }
        packed.put_slice(&value.to_le_bytes()[..size]);
    }
    Ok(packed.freeze())
}
