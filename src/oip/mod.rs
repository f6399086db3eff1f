//! Open Inference Protocol messages ↔ the domain, for both edges and the client.
//!
//! A message becomes a checked request or an error that says what came and what was expected; an
//! answer becomes a message whose bytes are the engine's own.
//! This room must never predict, route or know a status.

mod contents;
mod headers;
mod infer;
pub mod json;
mod metadata;
mod repository;

use crate::domain::{ErrorKind, Fault, NameError, TensorError};

pub use headers::{MODEL_VERSION, REQUEST_ID, SERVER_TIMING, request_id, server_timing};
pub use infer::{InferDefaults, infer_request, infer_response};
pub use metadata::{PLATFORM, model_metadata, model_ready, model_selector, server_metadata};
pub use repository::{Change, RepositoryError, Wish, repository_change, repository_index};

/// A message that is wrong by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OipError {
    /// A name or version.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An input's tensor contradicts itself.
    #[error("input '{name}': {error}")]
    Tensor {
        /// The input's name, cut and printable.
        name: String,
        /// What is wrong.
        error: TensorError,
    },
    /// An input's contents.
    #[error("input '{name}': {problem}")]
    Contents {
        /// The input's name, cut and printable.
        name: String,
        /// What came and what was expected.
        problem: String,
    },
    /// A request parameter.
    #[error("parameter '{name}': {problem}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// What is expected.
        problem: String,
    },
    /// The inputs as a whole.
    #[error("{problem}")]
    Inputs {
        /// What came and what was expected.
        problem: String,
    },
}

impl Fault for OipError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }

    fn reason(&self) -> &'static str {
        match self {
            OipError::Name(_) => "INVALID_NAME",
            _ => "INVALID_INPUT",
        }
    }

    fn field(&self) -> Option<String> {
        Some(match self {
            OipError::Name(NameError::Model(_)) => "model_name".to_owned(),
            OipError::Name(_) => "model_version".to_owned(),
            OipError::Tensor { name, .. } | OipError::Contents { name, .. } => {
                format!("inputs.{name}")
            }
            OipError::Parameter { name, .. } => format!("parameters.{name}"),
            OipError::Inputs { .. } => "inputs".to_owned(),
        })
    }
}

/// A caller's text, kept small and printable.
fn shown(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}
