//! Tensors as the Open Inference Protocol has them: a data type, a shape, little-endian bytes.
//!
//! Data passes as `Bytes`, so that a tensor that came in a message is not copied to be named.
//! This file must never know a message or a runtime.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::strings::{StringsError, check_strings, strings_length};

/// An element's type, named as the Open Inference Protocol names it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum DataType {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Fp32,
    Fp64,
    Bf16,
    Bytes,
}

impl DataType {
    /// Every data type.
    pub const ALL: [DataType; 14] = [
        DataType::Bool,
        DataType::Uint8,
        DataType::Uint16,
        DataType::Uint32,
        DataType::Uint64,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::Fp16,
        DataType::Fp32,
        DataType::Fp64,
        DataType::Bf16,
        DataType::Bytes,
    ];

    /// The protocol's name, such as `FP32`.
    pub const fn name(self) -> &'static str {
        match self {
            DataType::Bool => "BOOL",
            DataType::Uint8 => "UINT8",
            DataType::Uint16 => "UINT16",
            DataType::Uint32 => "UINT32",
            DataType::Uint64 => "UINT64",
            DataType::Int8 => "INT8",
            DataType::Int16 => "INT16",
            DataType::Int32 => "INT32",
            DataType::Int64 => "INT64",
            DataType::Fp16 => "FP16",
            DataType::Fp32 => "FP32",
            DataType::Fp64 => "FP64",
            DataType::Bf16 => "BF16",
            DataType::Bytes => "BYTES",
        }
    }

    /// Bytes an element takes; `None` for `BYTES`, whose elements carry their own length.
    pub const fn size(self) -> Option<usize> {
        match self {
            DataType::Bool | DataType::Uint8 | DataType::Int8 => Some(1),
            DataType::Uint16 | DataType::Int16 | DataType::Fp16 | DataType::Bf16 => Some(2),
            DataType::Uint32 | DataType::Int32 | DataType::Fp32 => Some(4),
            DataType::Uint64 | DataType::Int64 | DataType::Fp64 => Some(8),
            DataType::Bytes => None,
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DataType {
    type Err = TensorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        DataType::ALL
            .into_iter()
            .find(|datatype| datatype.name() == text)
            .ok_or_else(|| TensorError::DataType(text.chars().take(32).collect()))
    }
}

/// A tensor that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// A data type that the protocol does not have.
    #[error(
        "'{}' is not a data type of the Open Inference Protocol (BOOL, UINT8 … UINT64, INT8 … \
         INT64, FP16, FP32, FP64, BF16, BYTES)",
        .0.escape_debug()
    )]
    DataType(String),
    /// A dimension below zero in data.
    #[error("shape {shape} has a negative dimension; data needs dimensions of 0 or more")]
    Negative {
        /// The shape as shown.
        shape: String,
    },
    /// More elements than can be counted.
    #[error("shape {shape} has more elements than can be addressed")]
    Overflow {
        /// The shape as shown.
        shape: String,
    },
    /// The elements of `BYTES` do not fill the shape.
    #[error("BYTES {shape}: {error}")]
    Strings {
        /// The shape as shown.
        shape: String,
        /// What is wrong.
        error: StringsError,
    },
    /// The bytes do not fill the shape.
    #[error("{datatype} {shape} takes {expected} bytes, {found} came")]
    ByteCount {
        /// The tensor's data type.
        datatype: DataType,
        /// The shape as shown.
        shape: String,
        /// Bytes that the shape takes.
        expected: usize,
        /// Bytes that came.
        found: usize,
    },
}

/// What a model takes or gives: a name, a data type and a shape where -1 is any size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// The tensor's name.
    pub name: String,
    /// Its data type.
    pub datatype: DataType,
    /// Its dimensions; -1 = any size. A leading -1 is the batch.
    pub shape: Vec<i64>,
}

impl TensorSpec {
    /// Whether a shape of data fits: same rank, and each dimension equal or free.
    pub fn admits(&self, shape: &[usize]) -> bool {
        self.shape.len() == shape.len()
            && self
                .shape
                .iter()
                .zip(shape)
                .all(|(want, have)| *want < 0 || usize::try_from(*want) == Ok(*have))
    }

    /// Whether the first dimension is the batch.
    pub fn is_batched(&self) -> bool {
        self.shape.first() == Some(&-1)
    }
}

/// A tensor with its data: row-major, little-endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its data type.
    pub datatype: DataType,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// `product(shape) × size` bytes; for `BYTES` each element is a 4-byte length, then the bytes.
    pub data: Bytes,
}

impl Tensor {
    /// A tensor whose bytes fill its shape.
    ///
    /// # Errors
    /// [`TensorError::Overflow`], [`TensorError::ByteCount`] or [`TensorError::Strings`].
    pub fn new(datatype: DataType, shape: Vec<usize>, data: Bytes) -> Result<Self, TensorError> {
        let overflow = || TensorError::Overflow { shape: display_shape(&shape) };
        let elements = shape
            .iter()
            .try_fold(1_usize, |n, dim| n.checked_mul(*dim))
            .ok_or_else(overflow)?;
        match datatype.size() {
            Some(size) => {
                let expected = elements.checked_mul(size).ok_or_else(overflow)?;
                if expected != data.len() {
                    let shape = display_shape(&shape);
                    let found = data.len();
                    return Err(TensorError::ByteCount { datatype, shape, expected, found });
                }
            }
            None => check_strings(&data, elements).map_err(|error| TensorError::Strings {
                shape: display_shape(&shape),
                error,
            })?,
        }
        Ok(Self { datatype, shape, data })
    }

    /// Rows `from..to` of the first dimension, in the same memory. The bounds are cut to what is
    /// there. For `BYTES` the elements before `to` are walked.
    #[must_use]
    pub fn slice_rows(&self, from: usize, to: usize) -> Self {
        let from = from.min(to);
        self.split_rows(to).0.split_rows(from).1
    }

    /// The first `at` rows and the others, in the same memory; `at` is cut to what is there.
    #[must_use]
    pub fn split_rows(&self, at: usize) -> (Self, Self) {
        let rows = self.rows();
        let at = at.min(rows);
        let cut = match self.datatype.size() {
            _ if at == rows => self.data.len(),
            Some(_) => self.data.len() / rows.max(1) * at,
            None => {
                let row: usize = self.shape.iter().skip(1).product();
                strings_length(&self.data, row.saturating_mul(at))
            }
        };
        let part = |rows, data| {
            let mut shape = self.shape.clone();
            if let Some(first) = shape.first_mut() {
                *first = rows;
            }
            Self { datatype: self.datatype, shape, data }
        };
        (part(at, self.data.slice(..cut)), part(rows - at, self.data.slice(cut..)))
    }

    /// The first dimension, 1 for a scalar.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }
}

/// The dimensions of a message as a shape, with the number of elements.
///
/// # Errors
/// [`TensorError::Negative`] or [`TensorError::Overflow`].
pub fn checked_elements(dims: &[i64]) -> Result<(Vec<usize>, usize), TensorError> {
    let mut elements = 1_usize;
    let mut shape = Vec::with_capacity(dims.len());
    for dim in dims {
        let dim = usize::try_from(*dim)
            .map_err(|_| TensorError::Negative { shape: display_shape(dims) })?;
        elements = elements
            .checked_mul(dim)
            .filter(|n| *n <= isize::MAX as usize)
            .ok_or_else(|| TensorError::Overflow { shape: display_shape(dims) })?;
        shape.push(dim);
    }
    Ok((shape, elements))
}

/// A shape as `[1, 28, 28]`, cut after eight dimensions.
pub fn display_shape<D: fmt::Display>(dims: &[D]) -> String {
    let mut text: Vec<String> = dims.iter().take(8).map(ToString::to_string).collect();
    if dims.len() > 8 {
        text.push("…".to_owned());
    }
    format!("[{}]", text.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for datatype in DataType::ALL {
            assert_eq!(datatype.name().parse(), Ok(datatype));
        }
        assert!("FP8".parse::<DataType>().is_err());
    }

    #[test]
    fn dims_are_checked_before_they_are_multiplied() {
        assert_eq!(checked_elements(&[2, 3]), Ok((vec![2, 3], 6)));
        assert!(matches!(checked_elements(&[-1, 3]), Err(TensorError::Negative { .. })));
        let huge = [i64::MAX, i64::MAX];
        assert!(matches!(checked_elements(&huge), Err(TensorError::Overflow { .. })));
    }

    #[test]
    fn bytes_fill_the_shape() {
        let short = Tensor::new(DataType::Fp32, vec![1, 2], Bytes::from_static(&[0; 7]));
        let text = short.unwrap_err().to_string();
        assert_eq!(text, "FP32 [1, 2] takes 8 bytes, 7 came");
    }

    #[test]
    fn rows_are_cut_where_they_stand() {
        let rows: Vec<u8> = (0..12).collect();
        let numbers = Tensor::new(DataType::Uint16, vec![3, 2], rows.into()).unwrap();
        assert_eq!(numbers.slice_rows(1, 2).data, [4, 5, 6, 7].as_slice());
        assert_eq!(numbers.slice_rows(2, 9).shape, [1, 2]);
        assert_eq!(numbers.slice_rows(7, 3).shape, [0, 2]);
        let words = ["a", "", "bcd", "e", "fg", ""];
        let data = super::super::pack_strings(&words).unwrap();
        let strings = Tensor::new(DataType::Bytes, vec![3, 2], data).unwrap();
        let middle = strings.slice_rows(1, 2);
        assert_eq!(middle.shape, [1, 2]);
        assert_eq!(middle.data, super::super::pack_strings(&words[2..4]).unwrap());
        let (head, tail) = strings.split_rows(1);
        assert_eq!([head.data, tail.data].concat(), strings.data);
        assert_eq!((head.shape[0], tail.shape[0]), (1, 2));
    }

    #[test]
    fn a_free_dimension_admits_any_size() {
        let spec = TensorSpec {
            name: "image".to_owned(),
            datatype: DataType::Fp32,
            shape: vec![-1, 1, 28, 28],
        };
        assert!(spec.is_batched());
        assert!(spec.admits(&[7, 1, 28, 28]));
        assert!(!spec.admits(&[7, 1, 28]));
        assert!(!spec.admits(&[7, 1, 28, 29]));
    }
}
