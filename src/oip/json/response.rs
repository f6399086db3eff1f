//! `ModelInferResponse` → a body: JSON, then the bytes of the outputs that were asked for as bytes.
//!
//! Elements are written from the tensor's bytes one by one: no tree of values is built.
//! This file must never write what JSON does not have; NaN and the infinities become `null`.

use std::collections::HashMap;

use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

use super::elements::{Elements, TextForm, strings};
use super::request::{BASE64, CONTENT_TYPE};
use crate::domain::DataType;
use crate::proto::inference::infer_parameter::ParameterChoice;
use crate::proto::inference::model_infer_response::InferOutputTensor;
use crate::proto::inference::{InferParameter, ModelInferResponse};

/// Which outputs a request wants as bytes.
#[derive(Debug, Clone, Default)]
pub struct AnswerForm {
    binary: bool,
    by_name: HashMap<String, bool>,
}

impl AnswerForm {
    /// All outputs as bytes or all as JSON, unless one says otherwise.
    pub fn new(binary: bool) -> Self {
        Self { binary, by_name: HashMap::new() }
    }

    /// One output, as its own parameter says.
    pub fn set(&mut self, name: &str, binary: bool) {
        self.by_name.insert(name.to_owned(), binary);
    }

    fn is_binary(&self, name: &str) -> bool {
        self.by_name.get(name).copied().unwrap_or(self.binary)
    }
}

/// A body.
#[derive(Debug, Clone)]
pub struct JsonAnswer {
    /// The JSON, then binary data.
    pub body: Bytes,
    /// Bytes of the JSON; `None` when no output is binary, so that the body is JSON whole.
    pub json_bytes: Option<usize>,
}

/// The body that says `message` in the form that was asked for.
///
/// # Errors
/// What serde says; a message of this server has nothing that JSON refuses.
pub fn infer_to_json(
    message: &ModelInferResponse,
    form: &AnswerForm,
) -> Result<JsonAnswer, serde_json::Error> {
    let outputs: Vec<Output<'_>> = message
        .outputs
        .iter()
        .zip(&message.raw_output_contents)
        .map(|(tensor, bytes)| Output { tensor, bytes, binary: form.is_binary(&tensor.name) })
        .collect();
    let estimate: usize = outputs.iter().map(|output| 256 + output.bytes.len() * 3).sum();
    let mut body = Vec::with_capacity(estimate);
    serde_json::to_writer(&mut body, &Answer { message, outputs: &outputs })?;
    let json_bytes = outputs.iter().any(|output| output.binary).then_some(body.len());
    for output in outputs.iter().filter(|output| output.binary) {
        body.extend_from_slice(output.bytes);
    }
    Ok(JsonAnswer { body: body.into(), json_bytes })
}

struct Answer<'a> {
    message: &'a ModelInferResponse,
    outputs: &'a [Output<'a>],
}

struct Output<'a> {
    tensor: &'a InferOutputTensor,
    bytes: &'a Bytes,
    binary: bool,
}

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let message = self.message;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("model_name", &message.model_name)?;
        map.serialize_entry("model_version", &message.model_version)?;
        if !message.id.is_empty() {
            map.serialize_entry("id", &message.id)?;
        }
        if !message.parameters.is_empty() {
            map.serialize_entry(
                "parameters",
                &Parameters { given: &message.parameters, own: None },
            )?;
        }
        map.serialize_entry("outputs", &Sequence(self.outputs))?;
        map.end()
    }
}

struct Sequence<'a>(&'a [Output<'a>]);

impl Serialize for Sequence<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut array = serializer.serialize_seq(Some(self.0.len()))?;
        for output in self.0 {
            array.serialize_element(output)?;
        }
        array.end()
    }
}

impl Serialize for Output<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tensor = self.tensor;
        // An output in shared memory has no elements here and is passed on as it is.
        let datatype: Option<DataType> = tensor.datatype.parse().ok();
        let form = match datatype {
            Some(DataType::Bytes) if strings(self.bytes).any(|e| str::from_utf8(e).is_err()) => {
                TextForm::Base64
            }
            _ => TextForm::Plain,
        };
        let own = match (self.binary, form) {
            (true, _) => Some(("binary_data_size", Own::Size(self.bytes.len()))),
            (false, TextForm::Base64) => Some((CONTENT_TYPE, Own::Text(BASE64))),
            (false, TextForm::Plain) => None,
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &tensor.name)?;
        map.serialize_entry("datatype", &tensor.datatype)?;
        map.serialize_entry("shape", &tensor.shape)?;
        if own.is_some() || !tensor.parameters.is_empty() {
            map.serialize_entry("parameters", &Parameters { given: &tensor.parameters, own })?;
        }
        if let (false, Some(datatype)) = (self.binary, datatype) {
            let data = Elements { datatype, bytes: self.bytes, form };
            map.serialize_entry("data", &data)?;
        }
        map.end()
    }
}

/// A parameter that the form of the answer adds.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Own {
    Size(usize),
    Text(&'static str),
}

struct Parameters<'a> {
    given: &'a HashMap<String, InferParameter>,
    own: Option<(&'static str, Own)>,
}

impl Serialize for Parameters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, parameter) in self.given {
            match &parameter.parameter_choice {
                Some(ParameterChoice::BoolParam(value)) => map.serialize_entry(name, value)?,
                Some(ParameterChoice::Int64Param(value)) => map.serialize_entry(name, value)?,
                Some(ParameterChoice::Uint64Param(value)) => map.serialize_entry(name, value)?,
                Some(ParameterChoice::DoubleParam(value)) => map.serialize_entry(name, value)?,
                Some(ParameterChoice::StringParam(value)) => map.serialize_entry(name, value)?,
                None => map.serialize_entry(name, &())?,
            }
        }
        if let Some((name, value)) = &self.own {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
