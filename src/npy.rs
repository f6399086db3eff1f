//! NumPy's `.npy` files → tensors: for `hilum predict` and `hilum bench`.
//!
//! A file's header says data type, order and shape; its elements become row-major, little-endian
//! bytes (NumPy Enhancement Proposal 1, format versions 1.0 to 3.0). The header is a Python literal;
//! only the one form that NumPy writes is read.
//! This file must never run or unpickle anything that a file holds.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::domain::{DataType, Tensor, TensorError};

const MAGIC: &[u8] = b"\x93NUMPY";
/// NumPy itself refuses longer headers unless told that the file is trusted.
const MAX_HEADER_BYTES: usize = 10_000;

/// A file that is no tensor.
#[derive(Debug, thiserror::Error)]
pub enum NpyError {
    /// It cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is not what NumPy writes, or holds what no model takes.
    #[error("{}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong and what is expected.
        problem: String,
    },
}

/// Reads the tensor in `path`, which may have at most `max_bytes` bytes.
///
/// # Errors
/// [`NpyError`], which names the file and what is wrong with it.
pub fn read(path: &Path, max_bytes: usize) -> Result<Tensor, NpyError> {
    let io = |error| NpyError::Io { path: path.to_owned(), error };
    let mut file = File::open(path).map_err(io)?.take(max_bytes as u64 + 1);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io)?;
    let format = |problem| NpyError::Format { path: path.to_owned(), problem };
    if bytes.len() > max_bytes {
        return Err(format(format!("the file is larger than {max_bytes} bytes")));
    }
    parse(bytes.into()).map_err(format)
}

/// Reads a tensor out of a file's bytes.
///
/// # Errors
/// What is wrong and what is expected.
pub fn parse(bytes: Bytes) -> Result<Tensor, String> {
    let (header, data_at) = header_of(&bytes)?;
    let Header { descr, fortran_order, shape } = Header::parse(header)?;
    let data = bytes.slice(data_at..);
    let element = Element::of(&descr)?;
    let count = shape.iter().try_fold(1_usize, |n, dim| n.checked_mul(*dim));
    let expected = count.and_then(|count| count.checked_mul(element.stored_bytes()));
    if expected != Some(data.len()) {
        let shape = crate::domain::display_shape(&shape);
        let expected = expected.map_or_else(|| "too many".to_owned(), |n| n.to_string());
        let found = data.len();
        return Err(format!("'{descr}' {shape} takes {expected} bytes, {found} are in the file"));
    }
    // Without elements a dimension may be anything, and there is nothing to rearrange.
    let data = match fortran_order && shape.len() > 1 && !data.is_empty() {
        true => row_major(&data, &shape, element.stored_bytes()).into(),
        false => data,
    };
    let (datatype, data) = element.little_endian(data);
    Tensor::new(datatype, shape, data).map_err(|error: TensorError| error.to_string())
}

/// The header's text and where the elements begin.
fn header_of(bytes: &[u8]) -> Result<(&str, usize), String> {
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or("this is not a .npy file; numpy.save(FILE, array) writes one")?;
    let cut = || "the file ends within its header".to_owned();
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
    let (length, begin) = match version {
        [1, 0] => {
            let (length, _) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
            (usize::from(u16::from_le_bytes(*length)), 2)
        }
        [2 | 3, 0] => {
            let (length, _) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
            (u32::from_le_bytes(*length) as usize, 4)
        }
        [major, minor] => {
            return Err(format!("format version {major}.{minor}; 1.0, 2.0 and 3.0 are read"));
        }
    };
    if length > MAX_HEADER_BYTES {
        return Err(format!("a header of {length} bytes; at most {MAX_HEADER_BYTES} are read"));
    }
    let header = rest.get(begin..begin + length).ok_or_else(cut)?;
    let header = std::str::from_utf8(header).map_err(|_| "the header is not text".to_owned())?;
    Ok((header, MAGIC.len() + 2 + begin + length))
}

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, keys in any order.
    fn parse(text: &str) -> Result<Self, String> {
        let shown: String = text.trim().chars().take(120).flat_map(char::escape_debug).collect();
        let wrong = |what: &str| format!("the header {shown} {what}");
        let body = text
            .trim()
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .ok_or_else(|| wrong("is not a dictionary"))?;
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        let mut rest = body.trim();
        while !rest.is_empty() {
            let (key, after) = quoted(rest).ok_or_else(|| wrong("has a key that is no text"))?;
            let after = after.trim_start().strip_prefix(':');
            let value = after.ok_or_else(|| wrong("has a key without a value"))?.trim_start();
            let after = match key {
                "descr" => {
                    let (text, after) = quoted(value).ok_or_else(|| {
                        wrong("describes a structured array; a plain one is expected")
                    })?;
                    descr = Some(text.to_owned());
                    after
                }
                "fortran_order" => {
                    let (value, after) = match value.strip_prefix("True") {
                        Some(after) => (true, after),
                        None => (
                            false,
                            value.strip_prefix("False").ok_or_else(|| {
                                wrong("has a fortran_order that is neither True nor False")
                            })?,
                        ),
                    };
                    fortran_order = Some(value);
                    after
                }
                "shape" => {
                    let (dims, after) =
                        tuple(value).ok_or_else(|| wrong("has no readable shape"))?;
                    shape = Some(dims);
                    after
                }
                _ => return Err(wrong("has a key that NumPy does not write")),
            };
            rest = after.trim_start();
            rest = match rest.strip_prefix(',') {
                Some(after) => after.trim_start(),
                None if rest.is_empty() => rest,
                None => return Err(wrong("lacks a comma")),
            };
        }
        match (descr, fortran_order, shape) {
            (Some(descr), Some(fortran_order), Some(shape)) => {
                Ok(Self { descr, fortran_order, shape })
            }
            _ => Err(wrong("lacks descr, fortran_order or shape")),
        }
    }
}

/// `'text'` or `"text"` and what follows.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

/// `()`, `(3,)`, `(3, 4)` and what follows.
fn tuple(text: &str) -> Option<(Vec<usize>, &str)> {
    let (inside, after) = text.strip_prefix('(')?.split_once(')')?;
    let inside = inside.trim();
    let inside = inside.strip_suffix(',').unwrap_or(inside);
    if inside.is_empty() {
        return Some((Vec::new(), after));
    }
    let dims: Option<Vec<usize>> = inside.split(',').map(|dim| dim.trim().parse().ok()).collect();
    Some((dims?, after))
}

/// How an element is stored.
#[derive(Debug, Clone, Copy)]
enum Element {
    Number {
        datatype: DataType,
        size: usize,
        big_endian: bool,
    },
    /// Text of a fixed length, filled up with zero bytes.
    Text {
        size: usize,
    },
}

impl Element {
    /// By NumPy's array-interface type string.
    fn of(descr: &str) -> Result<Self, String> {
        let expected = "bool, integers of 1 to 8 bytes, floats of 2, 4 or 8 and byte strings (S) are \
                        read";
        let unread = || format!("elements of type '{}'; {expected}", descr.escape_debug());
        let mut characters = descr.chars();
        let (order, kind) = (characters.next(), characters.next());
        if kind == Some('O') {
            return Err("the file holds Python objects, which are not read".to_owned());
        }
        let size: usize = characters.as_str().parse().map_err(|_| unread())?;
        let big_endian = match order {
            Some('>') => true,
            Some('<' | '|' | '=') => false,
            _ => return Err(unread()),
        };
        let datatype = match (kind, size) {
            (Some('b'), 1) => DataType::Bool,
            (Some('u'), 1) => DataType::Uint8,
            (Some('u'), 2) => DataType::Uint16,
            (Some('u'), 4) => DataType::Uint32,
            (Some('u'), 8) => DataType::Uint64,
            (Some('i'), 1) => DataType::Int8,
            (Some('i'), 2) => DataType::Int16,
            (Some('i'), 4) => DataType::Int32,
            (Some('i'), 8) => DataType::Int64,
            (Some('f'), 2) => DataType::Fp16,
            (Some('f'), 4) => DataType::Fp32,
            (Some('f'), 8) => DataType::Fp64,
            (Some('S'), 1..) => return Ok(Element::Text { size }),
            (Some('O'), _) => {
                return Err("the file holds Python objects, which are not read".into());
            }
            _ => return Err(unread()),
        };
        Ok(Element::Number { datatype, size, big_endian })
    }

    fn stored_bytes(self) -> usize {
        match self {
            Element::Number { size, .. } | Element::Text { size } => size,
        }
    }

    /// The elements as the protocol has them.
    fn little_endian(self, data: Bytes) -> (DataType, Bytes) {
        match self {
            Element::Number { datatype, size, big_endian } if big_endian && size > 1 => {
                let swapped: Vec<u8> = data
                    .chunks_exact(size)
                    .flat_map(|element| element.iter().rev())
                    .copied()
                    .collect();
                (datatype, swapped.into())
            }
            Element::Number { datatype, .. } => (datatype, data),
            Element::Text { size } => {
                let mut strings = Vec::with_capacity(data.len() + 4);
                for element in data.chunks_exact(size.max(1)) {
                    let filled = element.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
                    let length = u32::try_from(filled).unwrap_or(u32::MAX);
                    strings.extend_from_slice(&length.to_le_bytes());
                    strings.extend_from_slice(&element[..filled]);
                }
                (DataType::Bytes, strings.into())
            }
        }
    }
}

/// Elements in column-major order, rearranged to row-major.
fn row_major(data: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = size;
    for dim in shape {
        strides.push(stride);
        stride *= dim;
    }
    let mut index = vec![0_usize; shape.len()];
    while out.len() < data.len() {
        let at: usize = index.iter().zip(&strides).map(|(i, stride)| i * stride).sum();
        out.extend_from_slice(&data[at..at + size]);
        for (place, dim) in index.iter_mut().zip(shape).rev() {
            *place += 1;
            if *place < *dim {
                break;
            }
            *place = 0;
        }
    }
    out
}
