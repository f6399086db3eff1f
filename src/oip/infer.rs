//! `ModelInferRequest` → request, prediction → `ModelInferResponse`.
//!
//! Raw contents stay slices of the message; the answer's bytes are the engine's memory.
//! This file must never accept raw and typed contents in one request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{OipError, contents, shown};
use crate::domain::{DataType, Tensor, TensorError, checked_elements, display_shape};
use crate::pipeline::{Caller, NamedTensor, PredictRequest, Prediction, Priority};
use crate::proto::inference::infer_parameter::ParameterChoice;
use crate::proto::inference::model_infer_request::InferInputTensor;
use crate::proto::inference::model_infer_response::InferOutputTensor;
use crate::proto::inference::{InferParameter, ModelInferRequest, ModelInferResponse};
use crate::telemetry::{Edge, TraceContext};

/// What an edge adds to a message.
#[derive(Debug, Clone)]
pub struct InferDefaults {
    /// The protocol.
    pub edge: Edge,
    /// When the answer is of no use any more.
    pub deadline: Option<Instant>,
    /// Where the request stands in its trace.
    pub trace: TraceContext,
    /// The request's id.
    pub request_id: Arc<str>,
}

impl InferDefaults {
    /// Who asks, for the record.
    pub(super) fn caller(&self) -> Caller {
        Caller { request_id: Arc::clone(&self.request_id), study_id: None }
    }
}

/// The request that a message asks for.
///
/// # Errors
/// [`OipError`]: what came and what was expected.
pub fn infer_request(
    message: ModelInferRequest,
    defaults: InferDefaults,
) -> Result<PredictRequest, OipError> {
    let model = message.model_name.parse()?;
    let version = message.model_version.parse()?;
    let outputs = message.outputs.iter().map(|output| output.name.clone()).collect();
    let timeout = timeout(&message.parameters)?;
    let priority = priority(&message.parameters)?;
    let inputs = named_inputs(message)?;
    let caller = defaults.caller();
    let InferDefaults { edge, deadline, trace, .. } = defaults;
    Ok(PredictRequest {
        model,
        version,
        inputs,
        outputs,
        deadline,
        timeout,
        priority,
        edge,
        trace,
        caller,
    })
}

/// The inputs of a message with their contents.
///
/// # Errors
/// [`OipError`]: what came and what was expected.
pub(super) fn named_inputs(message: ModelInferRequest) -> Result<Vec<NamedTensor>, OipError> {
    let count = message.inputs.len();
    let raw = message.raw_input_contents;
    if !raw.is_empty() {
        if let Some(typed) = message.inputs.iter().find(|input| input.contents.is_some()) {
            let name = shown(&typed.name);
            let problem = format!(
                "input '{name}' has typed contents and the request has raw_input_contents; send \
                 all inputs one way or the other"
            );
            return Err(OipError::Inputs { problem });
        }
        if raw.len() != count {
            let found = raw.len();
            let problem = format!(
                "raw_input_contents has {found} entries for {count} inputs; one each is expected"
            );
            return Err(OipError::Inputs { problem });
        }
    }
    let mut raw = raw.into_iter();
    message.inputs.into_iter().map(|input| named_tensor(input, raw.next())).collect()
}

/// The request parameter `timeout`, as Triton's clients send it: microseconds, 0 or nothing is none.
pub(super) fn timeout(
    parameters: &HashMap<String, InferParameter>,
) -> Result<Option<Duration>, OipError> {
    let Some(parameter) = parameters.get("timeout") else { return Ok(None) };
    let micros = match &parameter.parameter_choice {
        Some(ParameterChoice::Uint64Param(micros)) => Some(*micros),
        Some(ParameterChoice::Int64Param(micros)) => u64::try_from(*micros).ok(),
        _ => None,
    };
    let micros = micros.ok_or_else(|| OipError::Parameter {
        name: "timeout",
        problem: "a whole number of microseconds is expected, 0 for none".to_owned(),
    })?;
    Ok((micros > 0).then(|| Duration::from_micros(micros)))
}

/// The request parameter `priority`: 0 or nothing is the default.
pub(super) fn priority(parameters: &HashMap<String, InferParameter>) -> Result<Priority, OipError> {
    let Some(parameter) = parameters.get("priority") else { return Ok(Priority::default()) };
    let level = match &parameter.parameter_choice {
        Some(ParameterChoice::Uint64Param(level)) => Some(*level),
        Some(ParameterChoice::Int64Param(level)) => u64::try_from(*level).ok(),
        _ => None,
    };
    level.and_then(Priority::of).ok_or_else(|| OipError::Parameter {
        name: "priority",
        problem: format!("a whole number from 0 (the default) to {} is expected", Priority::LEVELS),
    })
}

fn named_tensor(input: InferInputTensor, raw: Option<Bytes>) -> Result<NamedTensor, OipError> {
    let shown_name = || shown(&input.name);
    let wrong = |error: TensorError| OipError::Tensor { name: shown_name(), error };
    let datatype: DataType = input.datatype.parse().map_err(wrong)?;
    let (shape, elements) = checked_elements(&input.shape).map_err(wrong)?;
    let contents = |problem: String| OipError::Contents { name: shown_name(), problem };
    let data = match (raw, &input.contents) {
        (Some(raw), _) => raw,
        (None, Some(typed)) => contents::to_bytes(typed, datatype, elements).map_err(contents)?,
        (None, None) => {
            let shape = display_shape(&shape);
            return Err(contents(format!(
                "{datatype} {shape} came without contents; put them into raw_input_contents or \
                 contents"
            )));
        }
    };
    let tensor = Tensor::new(datatype, shape, data).map_err(wrong)?;
    Ok(NamedTensor { name: input.name, tensor })
}

/// The answer to a message with the caller's own `id`.
pub fn infer_response(prediction: Prediction, id: String) -> ModelInferResponse {
    let mut outputs = Vec::with_capacity(prediction.outputs.len());
    let mut raw_output_contents = Vec::with_capacity(prediction.outputs.len());
    for NamedTensor { name, tensor } in prediction.outputs {
        outputs.push(InferOutputTensor {
            name,
            datatype: tensor.datatype.name().to_owned(),
            shape: tensor.shape.iter().map(|dim| *dim as i64).collect(),
            parameters: HashMap::new(),
            contents: None,
        });
        raw_output_contents.push(tensor.data);
    }
    ModelInferResponse {
        model_name: prediction.model.to_string(),
        model_version: prediction.version.to_string(),
        id,
        parameters: HashMap::new(),
        outputs,
        raw_output_contents,
    }
}
