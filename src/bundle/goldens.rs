//! `goldens.json`: small inputs with the outputs that the model gave when it was made.
//!
//! A version answers them before it serves, on the engine that will serve.
//! This file must never run anything by itself: the caller hands the run in.

use bytes::Bytes;
use half::{bf16, f16};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{DataType, Tensor, display_shape};

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Goldens {
    /// The format's version: 1.
    pub schema: u32,
    /// The command that made the file.
    pub made_by: String,
    /// The cases.
    pub cases: Vec<GoldenCase>,
}

/// One input and its outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GoldenCase {
    /// What the case shows.
    pub name: String,
    /// An input for each of the model's.
    pub inputs: Vec<GoldenTensor>,
    /// The outputs to compare.
    pub outputs: Vec<GoldenTensor>,
    /// How far an output may be off.
    pub tolerance: Tolerance,
}

/// A tensor as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GoldenTensor {
    /// Its name in the graph.
    pub name: String,
    /// Its data type.
    pub datatype: DataType,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its elements, row-major.
    pub data: Vec<f64>,
}

/// An output may differ by `absolute + relative × |expected|`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// In the output's own unit.
    pub absolute: f64,
    /// As a share of the expected value.
    pub relative: f64,
}

/// A golden that does not hold, or cannot be asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("golden case '{case}': {problem}")]
pub struct GoldenError {
    /// The case's name.
    pub case: String,
    /// What is wrong.
    pub problem: String,
}

impl Goldens {
    /// Answers each case by `run` and compares. `run` takes named inputs and the names of the
    /// outputs wanted, and gives these outputs in that order.
    ///
    /// # Errors
    /// The first case that does not hold.
    pub fn check(
        &self,
        mut run: impl FnMut(Vec<(String, Tensor)>, &[&str]) -> Result<Vec<Tensor>, String>,
    ) -> Result<(), GoldenError> {
        for case in &self.cases {
            let fail = |problem| GoldenError { case: case.name.clone(), problem };
            let inputs = case
                .inputs
                .iter()
                .map(|input| Ok((input.name.clone(), input.tensor()?)))
                .collect::<Result<Vec<_>, String>>()
                .map_err(fail)?;
            let names: Vec<&str> = case.outputs.iter().map(|output| output.name.as_str()).collect();
            let outputs = run(inputs, &names).map_err(fail)?;
            for (expected, found) in case.outputs.iter().zip(&outputs) {
                expected.compare(found, case.tolerance).map_err(fail)?;
            }
            if outputs.len() != case.outputs.len() {
                return Err(fail("the run gave fewer outputs than the case has".to_owned()));
            }
        }
        Ok(())
    }
}

impl GoldenTensor {
    /// The tensor, each element converted to the data type.
    ///
    /// # Errors
    /// When the elements do not fill the shape or the data type has no numbers.
    pub fn tensor(&self) -> Result<Tensor, String> {
        let bytes = encode(self.datatype, &self.data)
            .ok_or_else(|| format!("'{}': {} has no numbers", self.name, self.datatype))?;
        Tensor::new(self.datatype, self.shape.clone(), bytes)
            .map_err(|error| format!("'{}': {error}", self.name))
    }

    fn compare(&self, found: &Tensor, tolerance: Tolerance) -> Result<(), String> {
        let name = &self.name;
        if (self.datatype, &self.shape) != (found.datatype, &found.shape) {
            return Err(format!(
                "output '{name}' is {} {}, {} {} is expected",
                found.datatype,
                display_shape(&found.shape),
                self.datatype,
                display_shape(&self.shape)
            ));
        }
        let values = decode(found.datatype, &found.data);
        for (index, (want, have)) in self.data.iter().zip(&values).enumerate() {
            let bound = tolerance.absolute + tolerance.relative * want.abs();
            let difference = (want - have).abs();
            if difference.is_nan() || difference > bound {
                return Err(format!(
                    "output '{name}' element {index} is {have}, {want} ± {bound:e} is expected"
                ));
            }
        }
        if values.len() == self.data.len() {
            Ok(())
        } else {
            Err(format!("output '{name}' has {} elements", values.len()))
        }
    }
}

fn encode(datatype: DataType, data: &[f64]) -> Option<Bytes> {
    fn pack<const N: usize>(data: &[f64], element: impl Fn(f64) -> [u8; N]) -> Bytes {
        data.iter().flat_map(|x| element(*x)).collect()
    }
    Some(match datatype {
        DataType::Bool => pack(data, |x| [u8::from(x != 0.0)]),
        DataType::Uint8 => pack(data, |x| (x as u8).to_le_bytes()),
        DataType::Uint16 => pack(data, |x| (x as u16).to_le_bytes()),
        DataType::Uint32 => pack(data, |x| (x as u32).to_le_bytes()),
        DataType::Uint64 => pack(data, |x| (x as u64).to_le_bytes()),
        DataType::Int8 => pack(data, |x| (x as i8).to_le_bytes()),
        DataType::Int16 => pack(data, |x| (x as i16).to_le_bytes()),
        DataType::Int32 => pack(data, |x| (x as i32).to_le_bytes()),
        DataType::Int64 => pack(data, |x| (x as i64).to_le_bytes()),
        DataType::Fp16 => pack(data, |x| f16::from_f64(x).to_le_bytes()),
        DataType::Bf16 => pack(data, |x| bf16::from_f64(x).to_le_bytes()),
        DataType::Fp32 => pack(data, |x| (x as f32).to_le_bytes()),
        DataType::Fp64 => pack(data, f64::to_le_bytes),
        DataType::Bytes => return None,
    })
}

fn decode(datatype: DataType, bytes: &[u8]) -> Vec<f64> {
    fn unpack<const N: usize>(bytes: &[u8], element: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|chunk| element(*chunk)).collect()
    }
    match datatype {
        DataType::Bool | DataType::Uint8 => unpack(bytes, |[x]| f64::from(x)),
        DataType::Uint16 => unpack(bytes, |x| f64::from(u16::from_le_bytes(x))),
        DataType::Uint32 => unpack(bytes, |x| f64::from(u32::from_le_bytes(x))),
        DataType::Uint64 => unpack(bytes, |x| u64::from_le_bytes(x) as f64),
        DataType::Int8 => unpack(bytes, |x| f64::from(i8::from_le_bytes(x))),
        DataType::Int16 => unpack(bytes, |x| f64::from(i16::from_le_bytes(x))),
        DataType::Int32 => unpack(bytes, |x| f64::from(i32::from_le_bytes(x))),
        DataType::Int64 => unpack(bytes, |x| i64::from_le_bytes(x) as f64),
        DataType::Fp16 => unpack(bytes, |x| f16::from_le_bytes(x).to_f64()),
        DataType::Bf16 => unpack(bytes, |x| bf16::from_le_bytes(x).to_f64()),
        DataType::Fp32 => unpack(bytes, |x| f64::from(f32::from_le_bytes(x))),
        DataType::Fp64 => unpack(bytes, f64::from_le_bytes),
        DataType::Bytes => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goldens(expected: f64) -> Goldens {
        let tensor = |name: &str, data: Vec<f64>| GoldenTensor {
            name: name.to_owned(),
            datatype: DataType::Fp32,
            shape: vec![1, data.len()],
            data,
        };
        Goldens {
            schema: 1,
            made_by: "a test".to_owned(),
            cases: vec![GoldenCase {
                name: "doubled".to_owned(),
                inputs: vec![tensor("x", vec![1.0, 2.0])],
                outputs: vec![tensor("y", vec![2.0, expected])],
                tolerance: Tolerance { absolute: 1e-6, relative: 0.0 },
            }],
        }
    }

    fn double(inputs: Vec<(String, Tensor)>, _: &[&str]) -> Result<Vec<Tensor>, String> {
        let x = &inputs[0].1;
        let y: Vec<f64> = decode(x.datatype, &x.data).iter().map(|x| 2.0 * x).collect();
        let y = encode(x.datatype, &y).unwrap();
        Ok(vec![Tensor::new(x.datatype, x.shape.clone(), y).unwrap()])
    }

    #[test]
    fn holds_within_the_tolerance_only() {
        assert_eq!(goldens(4.0).check(double), Ok(()));
        let error = goldens(4.1).check(double).unwrap_err().to_string();
        assert!(error.contains("'doubled'") && error.contains("element 1 is 4"), "{error}");
        assert!(goldens(f64::NAN).check(double).is_err());
    }

    #[test]
    fn every_numeric_type_survives() {
        for datatype in DataType::ALL {
            let bytes = encode(datatype, &[0.0, 1.0]);
            match datatype.size() {
                Some(_) => assert_eq!(decode(datatype, &bytes.unwrap()), [0.0, 1.0], "{datatype}"),
                None => assert!(bytes.is_none()),
            }
        }
    }
}
