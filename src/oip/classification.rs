//! Triton's classification extension: an output's k highest values as text.
//!
//! Each row's elements, flattened, become k elements of `BYTES`, highest first: `value:index`, and
//! `:label` where the model has a label for the index. Equal values stand in the order of their
//! indices, NaN behind everything.
//! This file must never round a value before it is compared.

use bytes::Bytes;
use half::{bf16, f16};

use crate::domain::{DataType, Tensor, pack_strings};

/// The k highest values of each row of `tensor`, `[rows, k]`; of the whole tensor, `[k]`, where it
/// has no rows. Fewer where there are fewer elements.
///
/// # Errors
/// The data type has no order.
pub fn classify(
    tensor: &Tensor,
    k: usize,
    labels: &[String],
    has_rows: bool,
) -> Result<Tensor, String> {
    let rows = if has_rows { tensor.rows() } else { 1 };
    let values = values(tensor)?;
    let classes = values.len() / rows.max(1);
    let k = k.min(classes);
    let mut elements: Vec<String> = Vec::with_capacity(k * rows);
    for row in values.chunks(classes.max(1)) {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|a, b| row[*a].behind(&row[*b]));
        elements.extend(order.iter().take(k).map(|index| {
            let value = row[*index].shown();
            match labels.get(*index) {
                Some(label) => format!("{value}:{index}:{label}"),
                None => format!("{value}:{index}"),
            }
        }));
    }
    let shape = if has_rows { vec![rows, k] } else { vec![k] };
    let data: Bytes = pack_strings(&elements).map_err(|error| error.to_string())?;
    Tensor::new(DataType::Bytes, shape, data).map_err(|error| error.to_string())
}

/// A value that is compared without loss.
#[derive(Debug, Clone, Copy)]
enum Value {
    Float(f64),
    Integer(i128),
}

impl Value {
    /// The order of the answer: highest first, NaN last.
    fn behind(&self, other: &Self) -> std::cmp::Ordering {
        match (self, other) {
            (Value::Integer(a), Value::Integer(b)) => b.cmp(a),
            (Value::Float(a), Value::Float(b)) => a
                .is_nan()
                .cmp(&b.is_nan())
                .then(b.partial_cmp(a).unwrap_or(std::cmp::Ordering::Equal)),
            _ => std::cmp::Ordering::Equal,
        }
    }

    /// Six decimals for fractions, as C++'s `to_string` and so Triton writes them.
    fn shown(&self) -> String {
        match self {
            Value::Float(value) => format!("{value:.6}"),
            Value::Integer(value) => value.to_string(),
        }
    }
}

fn values(tensor: &Tensor) -> Result<Vec<Value>, String> {
    fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> Value) -> Vec<Value> {
        bytes.as_chunks::<N>().0.iter().map(|chunk| value(*chunk)).collect()
    }
    let int = |value: i128| Value::Integer(value);
    let data = &tensor.data;
    Ok(match tensor.datatype {
        DataType::Uint8 => each(data, |[x]| int(x.into())),
        DataType::Uint16 => each(data, |x| int(u16::from_le_bytes(x).into())),
        DataType::Uint32 => each(data, |x| int(u32::from_le_bytes(x).into())),
        DataType::Uint64 => each(data, |x| int(u64::from_le_bytes(x).into())),
        DataType::Int8 => each(data, |x| int(i8::from_le_bytes(x).into())),
        DataType::Int16 => each(data, |x| int(i16::from_le_bytes(x).into())),
        DataType::Int32 => each(data, |x| int(i32::from_le_bytes(x).into())),
        DataType::Int64 => each(data, |x| int(i64::from_le_bytes(x).into())),
        DataType::Fp16 => each(data, |x| Value::Float(f16::from_le_bytes(x).to_f64())),
        DataType::Bf16 => each(data, |x| Value::Float(bf16::from_le_bytes(x).to_f64())),
        DataType::Fp32 => each(data, |x| Value::Float(f32::from_le_bytes(x).into())),
        DataType::Fp64 => each(data, |x| Value::Float(f64::from_le_bytes(x))),
        DataType::Bool | DataType::Bytes => {
            return Err(format!("{} has no order to classify by", tensor.datatype));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Strings;

    fn classified(tensor: &Tensor, k: usize, labels: &[&str], has_rows: bool) -> Vec<String> {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        let found = classify(tensor, k, &labels, has_rows).unwrap();
        let text =
            |element: Result<&[u8], _>| String::from_utf8(element.unwrap().to_vec()).unwrap();
        Strings::new(&found.data).map(text).collect()
    }

    #[test]
    fn the_highest_come_first_and_nan_last() {
        let scores = [0.25_f32, f32::NAN, 0.5, 0.25, f32::NEG_INFINITY, 3.0];
        let data: Vec<u8> = scores.iter().flat_map(|x| x.to_le_bytes()).collect();
        let tensor = Tensor::new(DataType::Fp32, vec![2, 3], data.into()).unwrap();
        let labels = ["cat", "dog"];
        let found = classified(&tensor, 2, &labels, true);
        assert_eq!(found, ["0.500000:2", "0.250000:0:cat", "3.000000:2", "0.250000:0:cat"]);
        let whole = classified(&tensor, 99, &[], false);
        let all = ["3.000000:5", "0.500000:2", "0.250000:0", "0.250000:3", "-inf:4", "NaN:1"];
        assert_eq!(whole, all);
    }

    #[test]
    fn whole_numbers_are_compared_beyond_the_precision_of_floats() {
        let values = [u64::MAX - 1, u64::MAX];
        let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let tensor = Tensor::new(DataType::Uint64, vec![1, 2], data.into()).unwrap();
        assert_eq!(classified(&tensor, 1, &[], true), ["18446744073709551615:1"]);
        let text = Tensor::new(DataType::Bytes, vec![0], Bytes::new()).unwrap();
        assert!(classify(&text, 1, &[], false).unwrap_err().contains("BYTES has no order"));
    }
}
