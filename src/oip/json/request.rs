//! A body of `POST …/infer` → `ModelInferRequest`.
//!
//! The JSON comes first, then the bytes of the inputs that name a `binary_data_size`, in their order.
//! This file must never copy those bytes.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::elements::{self, TextForm};
use super::response::AnswerForm;
use super::{JsonError, OipError, syntax};
use crate::domain::{DataType, TensorError, checked_elements};
use crate::oip::shown;
use crate::proto::inference::infer_parameter::ParameterChoice;
use crate::proto::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::proto::inference::{
    InferParameter, ModelInferRequest, ModelRepositoryParameter, model_repository_parameter,
};

/// On an input: how many bytes of the body are its elements.
const BINARY_DATA_SIZE: &str = "binary_data_size";
/// On an output: whether it is answered as bytes.
const BINARY_DATA: &str = "binary_data";
/// On the request: whether outputs that do not say are answered as bytes.
const BINARY_DATA_OUTPUT: &str = "binary_data_output";
/// On a tensor that lies in shared memory, and so not in the body.
pub(super) const SHARED_MEMORY: &str = "shared_memory_region";
/// On a tensor of `BYTES`: how its elements stand in the JSON, as MLServer names it.
pub(super) const CONTENT_TYPE: &str = "content_type";
/// The content type of elements in base64.
pub(super) const BASE64: &str = "base64";

/// A request as it came.
#[derive(Debug)]
pub struct JsonInfer {
    /// The message; the model's name and version are the caller's to fill in from the path.
    pub message: ModelInferRequest,
    /// How the answer is to be written.
    pub form: AnswerForm,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with `inputs`")]
struct JsonRequest<'a> {
    id: Option<String>,
    parameters: Option<Parameters>,
    #[serde(borrow)]
    inputs: Vec<JsonInput<'a>>,
    outputs: Option<Vec<JsonOutput>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an input tensor: an object with `name`, `datatype`, `shape` and `data`")]
struct JsonInput<'a> {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    parameters: Option<Parameters>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(expecting = "an output: an object with `name`")]
struct JsonOutput {
    name: String,
    parameters: Option<Parameters>,
}

/// The request of a body: `json_bytes` of JSON (`None`: all of it), then binary data. With `images`
/// the elements of BYTES in the JSON are files, in base64 whether they say so or not.
///
/// # Errors
/// [`JsonError`]: what came and what was expected.
pub fn infer_from_json(
    body: &Bytes,
    json_bytes: Option<usize>,
    images: bool,
) -> Result<JsonInfer, JsonError> {
    let length = json_bytes.unwrap_or(body.len());
    let Some(text) = body.get(..length) else {
        let found = body.len();
        let problem = format!("the JSON is said to take {length} bytes, the body has {found}");
        return Err(JsonError::Length(problem));
    };
    let request: JsonRequest<'_> =
        serde_json::from_slice(text).map_err(|error| syntax(&error, text))?;
    let mut message =
        ModelInferRequest { id: request.id.unwrap_or_default(), ..Default::default() };
    let mut rest = body.slice(length..);
    for input in request.inputs {
        let (tensor, contents) = tensor(input, &mut rest, images)?;
        message.inputs.push(tensor);
        message.raw_input_contents.extend(contents);
    }
    if !rest.is_empty() {
        let (left, all) = (rest.len(), body.len() - length);
        return Err(JsonError::Length(format!(
            "{left} of the {all} bytes after the JSON belong to no input; the inputs' \
             {BINARY_DATA_SIZE} must add up to them"
        )));
    }
    let mut parameters = request.parameters.unwrap_or_default().0;
    let binary = flag(&mut parameters, BINARY_DATA_OUTPUT)?;
    let mut form = AnswerForm::new(binary.unwrap_or_default());
    message.parameters = parameters;
    for output in request.outputs.unwrap_or_default() {
        let mut parameters = output.parameters.unwrap_or_default().0;
        if let Some(binary) = flag(&mut parameters, BINARY_DATA)? {
            form.set(&output.name, binary);
        }
        message.outputs.push(InferRequestedOutputTensor { name: output.name, parameters });
    }
    Ok(JsonInfer { message, form })
}

/// The parameters of a body that loads or unloads a model, as Triton has it; nothing at all is none.
///
/// # Errors
/// [`JsonError::Syntax`].
pub fn repository_parameters(
    text: &[u8],
) -> Result<HashMap<String, ModelRepositoryParameter>, JsonError> {
    #[derive(Deserialize)]
    struct Body {
        parameters: Option<Parameters>,
    }
    if text.trim_ascii().is_empty() {
        return Ok(HashMap::new());
    }
    let body: Body = serde_json::from_slice(text).map_err(|error| syntax(&error, text))?;
    let parameters = body.parameters.unwrap_or_default().0.into_iter();
    let repository = |(name, parameter): (String, InferParameter)| {
        use model_repository_parameter::ParameterChoice as Choice;
        let choice = match choice(parameter) {
            Some(ParameterChoice::BoolParam(value)) => Choice::BoolParam(value),
            Some(ParameterChoice::Int64Param(value)) => Choice::Int64Param(value),
            Some(ParameterChoice::StringParam(value)) => Choice::StringParam(value),
            _ => {
                let problem = format!(
                    "parameter '{}' is a text, a whole number of 64 bits, true or false",
                    shown(&name)
                );
                return Err(JsonError::Syntax(problem));
            }
        };
        Ok((name, ModelRepositoryParameter { parameter_choice: Some(choice) }))
    };
    parameters.map(repository).collect()
}

/// An input with its elements, which are taken off the front of `rest` or read out of the JSON.
fn tensor(
    input: JsonInput<'_>,
    rest: &mut Bytes,
    images: bool,
) -> Result<(InferInputTensor, Option<Bytes>), JsonError> {
    let JsonInput { name, datatype, shape, parameters, data } = input;
    let mut parameters = parameters.unwrap_or_default().0;
    let wrong = |problem: String| OipError::Contents { name: shown(&name), problem };
    let size = match parameters.remove(BINARY_DATA_SIZE).map(choice) {
        None => None,
        Some(Some(ParameterChoice::Int64Param(size))) => {
            Some(usize::try_from(size).map_err(|_| {
                wrong(format!("{BINARY_DATA_SIZE} is {size}; 0 or more is expected"))
            })?)
        }
        Some(_) => return Err(wrong(format!("{BINARY_DATA_SIZE} is not a whole number")).into()),
    };
    let contents = match (size, data) {
        (Some(_), Some(_)) => {
            return Err(wrong(format!(
                "both {BINARY_DATA_SIZE} and data came; send the elements one way or the other"
            ))
            .into());
        }
        (Some(size), None) if size > rest.len() => {
            let left = rest.len();
            return Err(JsonError::Length(format!(
                "input '{}': {BINARY_DATA_SIZE} is {size}, the body has {left} bytes left",
                shown(&name)
            )));
        }
        (Some(size), None) => Some(rest.split_to(size)),
        (None, Some(data)) => {
            let of_tensor = |error: TensorError| OipError::Tensor { name: shown(&name), error };
            let datatype: DataType = datatype.parse().map_err(of_tensor)?;
            let (shape, _) = checked_elements(&shape).map_err(of_tensor)?;
            let form = if images { TextForm::Base64 } else { text_form(&parameters) };
            let bytes = elements::to_bytes(data.get(), datatype, &shape, form).map_err(wrong)?;
            Some(bytes.into())
        }
        (None, None) if parameters.contains_key(SHARED_MEMORY) => None,
        (None, None) => {
            return Err(wrong(format!("neither data nor {BINARY_DATA_SIZE} came")).into());
        }
    };
    let contents_of = InferInputTensor { name, datatype, shape, parameters, contents: None };
    Ok((contents_of, contents))
}

fn text_form(parameters: &HashMap<String, InferParameter>) -> TextForm {
    let kind = parameters.get(CONTENT_TYPE).and_then(|p| p.parameter_choice.as_ref());
    match kind {
        Some(ParameterChoice::StringParam(kind)) if kind == BASE64 => TextForm::Base64,
        _ => TextForm::Plain,
    }
}

fn choice(parameter: InferParameter) -> Option<ParameterChoice> {
    parameter.parameter_choice
}

/// Takes a flag of the extension out of `parameters`.
fn flag(
    parameters: &mut HashMap<String, InferParameter>,
    name: &str,
) -> Result<Option<bool>, JsonError> {
    match parameters.remove(name).map(choice) {
        None => Ok(None),
        Some(Some(ParameterChoice::BoolParam(flag))) => Ok(Some(flag)),
        Some(_) => Err(JsonError::Syntax(format!("parameter '{name}' is not true or false"))),
    }
}

/// Parameters: a name to a text, a number or a boolean. A name that comes twice is refused.
#[derive(Default)]
struct Parameters(HashMap<String, InferParameter>);

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ParametersVisitor)
    }
}

struct ParametersVisitor;

impl<'de> Visitor<'de> for ParametersVisitor {
    type Value = Parameters;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of parameters")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parameters, A::Error> {
        let mut parameters = HashMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let Scalar(value) = map.next_value()?;
            if parameters.contains_key(&name) {
                let name = shown(&name);
                return Err(A::Error::custom(format!("duplicate parameter `{name}`")));
            }
            parameters.insert(name, InferParameter { parameter_choice: Some(value) });
        }
        Ok(Parameters(parameters))
    }
}

/// A parameter's value.
struct Scalar(ParameterChoice);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a parameter that is a text, a number, true or false")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar(ParameterChoice::BoolParam(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar(ParameterChoice::Int64Param(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar(match i64::try_from(value) {
            Ok(value) => ParameterChoice::Int64Param(value),
            Err(_) => ParameterChoice::Uint64Param(value),
        }))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar(ParameterChoice::DoubleParam(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar(ParameterChoice::StringParam(value.to_owned())))
    }
}
