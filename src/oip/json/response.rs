//! `ModelInferResponse` → a body: JSON, then the bytes of the outputs that were asked for as bytes.
//!
//! Elements are written from the tensor's bytes one by one: no tree of values is built.
//! This file must never write what JSON does not have; NaN and the infinities become `null`.

use std::collections::HashMap;

use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

use super::elements::{Elements, TextForm};
use super::request::{BASE64, CONTENT_TYPE, SHARED_MEMORY};
use crate::domain::{DataType, Strings};
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
        .map(|(tensor, bytes)| {
            let in_memory = tensor.parameters.contains_key(SHARED_MEMORY);
            let binary = !in_memory && form.is_binary(&tensor.name);
            Output { tensor, bytes, in_memory, binary }
        })
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
    /// Whether the elements lie in shared memory. The body then has neither data nor parameters:
    /// Triton's C++ client takes parameters to hold a size of binary data.
    in_memory: bool,
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
        let datatype: Option<DataType> = tensor.datatype.parse().ok();
        let form = match datatype {
            Some(DataType::Bytes) if !is_text(self.bytes) => TextForm::Base64,
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
        if own.is_some() || !(self.in_memory || tensor.parameters.is_empty()) {
            map.serialize_entry("parameters", &Parameters { given: &tensor.parameters, own })?;
        }
        if let (false, false, Some(datatype)) = (self.binary, self.in_memory, datatype) {
            let data = Elements { datatype, bytes: self.bytes, form };
            map.serialize_entry("data", &data)?;
        }
        map.end()
    }
}

/// Whether every element of a `BYTES` tensor is UTF-8.
fn is_text(bytes: &[u8]) -> bool {
    Strings::new(bytes).map_while(Result::ok).all(|element| str::from_utf8(element).is_ok())
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn message(datatype: DataType, bytes: &'static [u8]) -> ModelInferResponse {
        ModelInferResponse {
            model_name: "m".to_owned(),
            outputs: vec![InferOutputTensor {
                name: "y".to_owned(),
                datatype: datatype.name().to_owned(),
                shape: vec![1],
                ..Default::default()
            }],
            raw_output_contents: vec![Bytes::from_static(bytes)],
            ..Default::default()
        }
    }

    fn output(message: &ModelInferResponse, form: &AnswerForm) -> (Value, Vec<u8>) {
        let JsonAnswer { body, json_bytes } = infer_to_json(message, form).unwrap();
        let (text, data) = body.split_at(json_bytes.unwrap_or(body.len()));
        let answer: Value = serde_json::from_slice(text).unwrap();
        (answer["outputs"][0].clone(), data.to_vec())
    }

    #[test]
    fn bytes_that_are_no_text_are_base64_and_say_so() {
        let text = message(DataType::Bytes, b"\x02\0\0\0\xc3\xa4");
        assert_eq!(output(&text, &AnswerForm::default()).0["data"], json!(["ä"]));
        let bytes = message(DataType::Bytes, b"\x01\0\0\0\xff");
        let (answer, _) = output(&bytes, &AnswerForm::default());
        assert_eq!(answer["data"], json!(["/w=="]));
        assert_eq!(answer["parameters"], json!({ "content_type": "base64" }));
        let (answer, data) = output(&bytes, &AnswerForm::new(true));
        assert_eq!(answer["parameters"], json!({ "binary_data_size": 5 }));
        assert_eq!(data, b"\x01\0\0\0\xff");
    }

    #[test]
    fn an_output_s_own_wish_wins_over_the_request_s() {
        let message = message(DataType::Uint8, &[7]);
        let mut form = AnswerForm::new(true);
        form.set("y", false);
        assert_eq!(
            output(&message, &form),
            (json!({ "name": "y", "datatype": "UINT8", "shape": [1], "data": [7] }), Vec::new(),)
        );
    }
}
