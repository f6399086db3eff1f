//! Open Inference Protocol messages ↔ the domain, for both edges and the client.
//!
//! A message becomes a checked request or an error that says what came and what was expected; an
//! answer becomes a message whose bytes are the engine's own.
//! This room must never route a request or know a status.

mod admin;
mod classification;
mod contents;
mod delivery;
mod exchange;
mod headers;
mod images;
mod infer;
pub mod json;
mod lookup;
mod metadata;
mod model_config;
mod regions;
mod repository;
mod settings;
mod statistics;

use crate::domain::{ErrorKind, Fault, NameError, TensorError};

pub use admin::NotLocal;
pub use delivery::{Delivery, fetch_inputs, uses_shared_memory};
pub use exchange::{InferAnswer, InferError, infer};
pub use headers::{MODEL_VERSION, REQUEST_ID, SERVER_TIMING, request_id, server_timing};
pub use infer::{InferDefaults, infer_request, infer_response};
pub use lookup::{LookupError, Served, loaded};
pub use metadata::{PLATFORM, model_metadata, model_ready, model_selector, server_metadata};
pub use model_config::model_config;
pub use regions::{RegionError, cuda_regions, register_region, system_regions, unregister_regions};
pub use repository::{Change, RepositoryError, Wish, repository_change, repository_index};
pub use settings::{SettingsError, log_settings, trace_settings};
pub use statistics::model_statistics;

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
    /// A parameter of a tensor.
    #[error("{tensor}: parameter '{parameter}': {problem}")]
    TensorParameter {
        /// `inputs.` or `outputs.` and the tensor's name, cut and printable.
        tensor: String,
        /// Its name.
        parameter: &'static str,
        /// What is expected.
        problem: String,
    },
    /// A tensor in shared memory.
    #[error("{tensor}: {problem}")]
    SharedMemory {
        /// `inputs.` or `outputs.` and the tensor's name, cut and printable.
        tensor: String,
        /// Why it cannot be read or written.
        problem: String,
    },
    /// The outputs as a whole.
    #[error("{problem}")]
    Outputs {
        /// What came and what was expected.
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
            OipError::Outputs { .. } => "UNKNOWN_OUTPUT",
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
            OipError::TensorParameter { tensor, .. } | OipError::SharedMemory { tensor, .. } => {
                tensor.clone()
            }
            OipError::Parameter { name, .. } => format!("parameters.{name}"),
            OipError::Inputs { .. } => "inputs".to_owned(),
            OipError::Outputs { .. } => "outputs".to_owned(),
        })
    }
}

/// A caller's text, kept small and printable.
fn shown(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}
