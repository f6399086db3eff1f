//! The Open Inference Protocol's JSON, and its binary tensor data extension, ↔ the messages.
//!
//! A body becomes a `ModelInferRequest` whose raw contents are slices of the body or were read out of
//! JSON's text; an answer's message becomes a body again. So both edges share all that follows.
//! This room must never know a header's name, a status or a route.

mod elements;
pub mod extensions;
mod reflect;
mod request;
mod response;
mod schema;

use crate::domain::{ErrorKind, Fault};

use super::OipError;

pub use reflect::{from_json, to_json};
pub use request::{JsonInfer, infer_from_json, repository_parameters};
pub use response::{AnswerForm, JsonAnswer, infer_to_json};
pub use schema::{INFER_REQUEST, INFER_RESPONSE, infer_schemas, message_schemas};

/// What is said wherever NaN or an infinity stands in JSON.
const NO_NAN: &str = "; JSON has no NaN and no Infinity: send such elements by the binary tensor \
                      data extension";

/// A body that is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text is no JSON of this call.
    #[error("the JSON cannot be read: {0}")]
    Syntax(String),
    /// The length of the JSON contradicts the body.
    #[error("{0}")]
    Length(String),
    /// The message that the JSON means is wrong.
    #[error(transparent)]
    Message(#[from] OipError),
}

impl Fault for JsonError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }

    fn reason(&self) -> &'static str {
        match self {
            JsonError::Syntax(_) => "MALFORMED_JSON",
            JsonError::Length(_) => "WRONG_LENGTH",
            JsonError::Message(error) => error.reason(),
        }
    }

    fn field(&self) -> Option<String> {
        match self {
            JsonError::Message(error) => error.field(),
            _ => None,
        }
    }
}

/// What serde says, and why if the text holds what only looks like JSON.
fn syntax(error: &serde_json::Error, text: &[u8]) -> JsonError {
    let (line, column) = (error.line().saturating_sub(1), error.column());
    let line = text.split(|byte| *byte == b'\n').nth(line).unwrap_or_default();
    // serde counts to the byte at fault or past it; the word begins a little before.
    let from = column.saturating_sub(3).min(line.len());
    let near = line.get(from..(column + 9).min(line.len())).unwrap_or_default();
    let has = |word: &[u8]| near.windows(word.len()).any(|found| found == word);
    let hint = if has(b"NaN") || has(b"Infinity") { NO_NAN } else { "" };
    JsonError::Syntax(format!("{error}{hint}"))
}
