//! How a caller wants its tensors to pass: inputs out of shared memory, outputs into it, scores as
//! classes.
//!
//! The parameters of a message's tensors are read and checked before anything runs. Inputs that lie
//! in shared memory are copied into the message; after the run, outputs are made text and put where
//! they are wanted. Parameters that are not known are passed over, as Triton does.
//! This file must never trust a size: regions check each part.

use std::collections::HashMap;

use bytes::Bytes;

use super::classification::classify;
use super::{OipError, shown};
use crate::pipeline::Prediction;
use crate::proto::inference::infer_parameter::ParameterChoice;
use crate::proto::inference::{InferParameter, ModelInferRequest, ModelInferResponse};
use crate::shared_memory::{RegionPart, SharedMemory};

const REGION: &str = "shared_memory_region";
const BYTE_SIZE: &str = "shared_memory_byte_size";
const OFFSET: &str = "shared_memory_offset";
const CLASSIFICATION: &str = "classification";

type Parameters = HashMap<String, InferParameter>;

/// How one request's outputs are to be delivered.
#[derive(Debug, Clone, Default)]
pub struct Delivery {
    classes: Vec<(String, usize)>,
    places: Vec<(String, RegionPart)>,
}

/// Whether a message has a tensor in shared memory, so that reading or delivering it copies.
pub fn uses_shared_memory(message: &ModelInferRequest) -> bool {
    message.inputs.iter().any(|input| input.parameters.contains_key(REGION))
        || message.outputs.iter().any(|output| output.parameters.contains_key(REGION))
}

impl Delivery {
    /// What the message's parameters ask for.
    ///
    /// # Errors
    /// [`OipError::TensorParameter`] or [`OipError::SharedMemory`].
    pub fn of(message: &ModelInferRequest, memory: &SharedMemory) -> Result<Self, OipError> {
        sequences(&message.parameters)?;
        let mut delivery = Self::default();
        for output in &message.outputs {
            let tensor = || format!("outputs.{}", shown(&output.name));
            let part = region_part(&output.parameters, tensor)?;
            let classes = match unsigned(&output.parameters, CLASSIFICATION, tensor)? {
                None | Some(0) => None,
                Some(k) => Some(usize::try_from(k).unwrap_or(usize::MAX)),
            };
            if let (Some(_), Some(_)) = (&part, classes) {
                let problem = "classes are not put into shared memory; ask for one of the two";
                return Err(wrong(tensor(), CLASSIFICATION, problem.to_owned()));
            }
            if let Some(part) = part {
                memory.check(&part).map_err(|error| in_memory(&tensor(), &error))?;
                delivery.places.push((output.name.clone(), part));
            }
            delivery.classes.extend(classes.map(|k| (output.name.clone(), k)));
        }
        Ok(delivery)
    }

    /// Turns the outputs that are wanted as classes into text.
    ///
    /// # Errors
    /// [`OipError::TensorParameter`] for a data type without an order.
    pub fn classify(&self, prediction: &mut Prediction) -> Result<(), OipError> {
        for (name, k) in &self.classes {
            let (labels, has_rows) = (&prediction.labels, prediction.has_rows);
            let output = prediction.outputs.iter_mut().find(|output| output.name == *name);
            if let Some(output) = output {
                output.tensor = classify(&output.tensor, *k, labels, has_rows)
                    .map_err(|e| wrong(format!("outputs.{}", shown(name)), CLASSIFICATION, e))?;
            }
        }
        Ok(())
    }

    /// Moves the outputs that are wanted in shared memory there; each says where it lies and leaves
    /// an empty entry behind, so that the others keep their places. Blocks while it copies.
    ///
    /// # Errors
    /// [`OipError::SharedMemory`]: the part is too small or gone.
    pub fn store(
        &self,
        response: &mut ModelInferResponse,
        memory: &SharedMemory,
    ) -> Result<(), OipError> {
        let outputs = response.outputs.iter_mut().zip(&mut response.raw_output_contents);
        for (output, contents) in outputs {
            let Some((_, part)) = self.places.iter().find(|(name, _)| *name == output.name) else {
                continue;
            };
            let tensor = format!("outputs.{}", shown(&output.name));
            let length = u64::try_from(contents.len()).unwrap_or(u64::MAX);
            if length > part.byte_size {
                let problem =
                    format!("the output takes {length} bytes, {} are given", part.byte_size);
                return Err(wrong(tensor, BYTE_SIZE, problem));
            }
            memory.write(part, contents).map_err(|error| in_memory(&tensor, &error))?;
            let number = |value: u64| InferParameter {
                parameter_choice: Some(ParameterChoice::Int64Param(
                    i64::try_from(value).unwrap_or(i64::MAX),
                )),
            };
            let region = ParameterChoice::StringParam(part.region.clone());
            let region = InferParameter { parameter_choice: Some(region) };
            output.parameters.insert(REGION.to_owned(), region);
            output.parameters.insert(BYTE_SIZE.to_owned(), number(length));
            if part.offset > 0 {
                output.parameters.insert(OFFSET.to_owned(), number(part.offset));
            }
            *contents = Bytes::new();
        }
        Ok(())
    }
}

/// Copies the inputs that lie in shared memory into the message. Blocks while it copies.
///
/// # Errors
/// [`OipError::SharedMemory`] or [`OipError::TensorParameter`]; an input with contents as well.
pub fn fetch_inputs(
    message: &mut ModelInferRequest,
    memory: &SharedMemory,
) -> Result<(), OipError> {
    let mut sent = std::mem::take(&mut message.raw_input_contents).into_iter();
    let typed = message.inputs.iter().any(|input| input.contents.is_some());
    let raw = !sent.as_slice().is_empty();
    let mut contents = Vec::with_capacity(message.inputs.len());
    for input in &mut message.inputs {
        let tensor = || format!("inputs.{}", shown(&input.name));
        match region_part(&input.parameters, tensor)? {
            None => contents.extend(sent.next()),
            Some(_) if input.contents.is_some() => {
                let problem = "the input has contents too; send it one way or the other";
                return Err(wrong(tensor(), REGION, problem.to_owned()));
            }
            Some(part) => {
                let bytes = memory.read(&part).map_err(|error| in_memory(&tensor(), &error))?;
                contents.push(bytes);
            }
        }
    }
    // What came beyond the inputs is refused where the entries are counted.
    contents.extend(sent);
    if typed && !raw && contents.len() < message.inputs.len() {
        let problem = "inputs in shared memory go with raw_input_contents, not with typed contents";
        return Err(OipError::Inputs { problem: problem.to_owned() });
    }
    message.raw_input_contents = contents;
    Ok(())
}

/// Sequences are Triton's for models with a state; there are none here.
fn sequences(parameters: &Parameters) -> Result<(), OipError> {
    let refused = |name| OipError::Parameter {
        name,
        problem: "models with a state are not served; leave it out".to_owned(),
    };
    for name in ["sequence_id", "sequence_start", "sequence_end"] {
        let Some(parameter) = parameters.get(name) else { continue };
        match &parameter.parameter_choice {
            Some(ParameterChoice::Int64Param(0) | ParameterChoice::Uint64Param(0))
            | Some(ParameterChoice::BoolParam(false)) => {}
            Some(ParameterChoice::StringParam(id)) if id.is_empty() => {}
            _ => return Err(refused(name)),
        }
    }
    Ok(())
}

fn region_part(
    parameters: &Parameters,
    tensor: impl Fn() -> String,
) -> Result<Option<RegionPart>, OipError> {
    let Some(parameter) = parameters.get(REGION) else { return Ok(None) };
    let Some(ParameterChoice::StringParam(region)) = &parameter.parameter_choice else {
        let problem = "a string, the region's name, is expected".to_owned();
        return Err(wrong(tensor(), REGION, problem));
    };
    let byte_size = unsigned(parameters, BYTE_SIZE, &tensor)?.ok_or_else(|| {
        wrong(tensor(), BYTE_SIZE, format!("it is missing and goes with {REGION}"))
    })?;
    let offset = unsigned(parameters, OFFSET, &tensor)?.unwrap_or(0);
    Ok(Some(RegionPart { region: region.clone(), offset, byte_size }))
}

fn unsigned(
    parameters: &Parameters,
    name: &'static str,
    tensor: impl Fn() -> String,
) -> Result<Option<u64>, OipError> {
    let Some(parameter) = parameters.get(name) else { return Ok(None) };
    let number = match &parameter.parameter_choice {
        Some(ParameterChoice::Uint64Param(number)) => Some(*number),
        Some(ParameterChoice::Int64Param(number)) => u64::try_from(*number).ok(),
        _ => None,
    };
    let problem = || "a whole number of 0 or more is expected".to_owned();
    number.map(Some).ok_or_else(|| wrong(tensor(), name, problem()))
}

fn wrong(tensor: String, parameter: &'static str, problem: String) -> OipError {
    OipError::TensorParameter { tensor, parameter, problem }
}

fn in_memory(tensor: &str, error: &crate::shared_memory::SharedMemoryError) -> OipError {
    OipError::SharedMemory { tensor: tensor.to_owned(), problem: error.to_string() }
}
