//! The tensors that are sent: rows of a file, or random ones of the model's own shape.
//!
//! What the model takes and a source go in, a handful of ready messages' inputs come out.
//! This file must never make anything while load is on.

use std::path::PathBuf;

use super::{BenchError, Transport};
use crate::domain::{DataType, Tensor, TensorSpec, display_shape};
use crate::npy;
use crate::pipeline::NamedTensor;

/// An input of a model: name, data type, dimensions with -1 for any size.
pub type ModelInput = TensorSpec;

/// Different messages that are made: enough that no cache answers for the model.
const MESSAGES: usize = 16;
/// Bytes of all messages together.
const MAX_BYTES: usize = 256 << 20;

/// Where the tensors come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputSource {
    /// Random elements, the same for the same seed.
    Random {
        /// The seed.
        seed: u64,
    },
    /// `.npy` files by input name; an empty name means the model's only input. The rows of a file
    /// are sent in turn.
    Files(Vec<(String, PathBuf)>),
}

/// Makes the messages for `model`, each with `rows` rows.
///
/// # Errors
/// [`BenchError`]: what the server, the model or the file does not have.
pub async fn messages<T: Transport>(
    transport: &T,
    model: &str,
    version: &str,
    rows: usize,
    source: &InputSource,
) -> Result<Vec<T::Message>, BenchError> {
    let specs = transport.inputs(model, version).await?;
    tensors(&specs, rows, source)?
        .into_iter()
        .map(|inputs| transport.message(model, version, inputs))
        .collect()
}

/// The inputs of each message.
fn tensors(
    specs: &[ModelInput],
    rows: usize,
    source: &InputSource,
) -> Result<Vec<Vec<NamedTensor>>, BenchError> {
    match source {
        InputSource::Random { seed } => {
            let mut random = fastrand::Rng::with_seed(*seed);
            let mut made = Vec::with_capacity(MESSAGES);
            let mut bytes = 0;
            while made.len() < MESSAGES && (made.is_empty() || bytes < MAX_BYTES) {
                let message = specs
                    .iter()
                    .map(|spec| random_tensor(spec, rows, &mut random))
                    .collect::<Result<Vec<_>, _>>()?;
                bytes += message.iter().map(|input| input.tensor.data.len()).sum::<usize>();
                made.push(message);
            }
            Ok(made)
        }
        InputSource::Files(files) => from_files(specs, rows, files),
    }
}

/// A tensor in which a leading -1 is `rows` and every other one is 1.
fn random_tensor(
    spec: &ModelInput,
    rows: usize,
    random: &mut fastrand::Rng,
) -> Result<NamedTensor, BenchError> {
    let mut shape: Vec<usize> =
        spec.shape.iter().map(|dim| usize::try_from(*dim).unwrap_or(1)).collect();
    match (spec.is_batched(), shape.first_mut()) {
        (true, Some(first)) => *first = rows,
        _ if rows > 1 => {
            return Err(BenchError::Input(format!(
                "input '{}' has the shape {}: its first dimension is no batch, so that a request \
                 has one row",
                spec.name,
                display_shape(&spec.shape)
            )));
        }
        _ => {}
    }
    let size = spec.datatype.size().ok_or_else(|| {
        BenchError::Input(format!(
            "input '{}' is of type BYTES, for which nothing random is made; give it as \
             --input {}=FILE.npy",
            spec.name, spec.name
        ))
    })?;
    let too_large = || {
        let shape = display_shape(&shape);
        BenchError::Input(format!("input '{}' {shape} is larger than {MAX_BYTES} bytes", spec.name))
    };
    let elements = shape.iter().try_fold(1_usize, |n, dim| n.checked_mul(*dim));
    let elements =
        elements.filter(|n| n.saturating_mul(size) <= MAX_BYTES).ok_or_else(too_large)?;
    let mut data = Vec::with_capacity(elements * size);
    for _ in 0..elements {
        element(spec.datatype, random, &mut data);
    }
    let tensor = Tensor::new(spec.datatype, shape, data.into())
        .map_err(|error| BenchError::Input(format!("input '{}': {error}", spec.name)))?;
    Ok(NamedTensor { name: spec.name.clone(), tensor })
}

/// Floats are uniform in [0, 1), integers in [0, 127]: both are plausible pixels, and an index into
/// a table of a hundred rows stays one.
fn element(datatype: DataType, random: &mut fastrand::Rng, data: &mut Vec<u8>) {
    let small = random.u8(0..128);
    match datatype {
        DataType::Bool => data.push(small & 1),
        DataType::Fp16 => data.extend(half::f16::from_f32(random.f32()).to_le_bytes()),
        DataType::Bf16 => data.extend(half::bf16::from_f32(random.f32()).to_le_bytes()),
        DataType::Fp32 => data.extend(random.f32().to_le_bytes()),
        DataType::Fp64 => data.extend(random.f64().to_le_bytes()),
        DataType::Uint8 | DataType::Int8 => data.push(small),
        DataType::Uint16 | DataType::Int16 => data.extend(u16::from(small).to_le_bytes()),
        DataType::Uint32 | DataType::Int32 => data.extend(u32::from(small).to_le_bytes()),
        DataType::Uint64 | DataType::Int64 => data.extend(u64::from(small).to_le_bytes()),
        DataType::Bytes => {}
    }
}

fn from_files(
    specs: &[ModelInput],
    rows: usize,
    files: &[(String, PathBuf)],
) -> Result<Vec<Vec<NamedTensor>>, BenchError> {
    let mut tensors = Vec::with_capacity(files.len());
    for (name, path) in files {
        let name = match (name.as_str(), specs) {
            ("", [only]) => only.name.clone(),
            ("", _) => {
                let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
                return Err(BenchError::Input(format!(
                    "the model takes {names:?}; name each file: --input NAME={}",
                    path.display()
                )));
            }
            (name, _) => name.to_owned(),
        };
        let tensor = npy::read(path, MAX_BYTES)?;
        if tensor.rows() < rows || tensor.datatype == DataType::Bytes && tensor.rows() != rows {
            return Err(BenchError::Input(format!(
                "{}: {} rows, {rows} are sent with each request (--rows)",
                path.display(),
                tensor.rows()
            )));
        }
        tensors.push((name, tensor));
    }
    let shared = tensors.iter().map(|(_, tensor)| tensor.rows()).min().unwrap_or(0);
    let count = (shared / rows.max(1)).clamp(1, 4096);
    Ok((0..count)
        .map(|message| {
            let (from, to) = (message * rows, (message + 1) * rows);
            tensors
                .iter()
                .map(|(name, tensor)| NamedTensor {
                    name: name.clone(),
                    tensor: tensor.slice_rows(from, to),
                })
                .collect()
        })
        .collect())
}
