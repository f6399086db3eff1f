//! Why a request has no prediction.
//!
//! The messages say what came and what was expected; they are safe to show to a caller.
//! This file must never name a status of a protocol.

use std::time::Duration;

use crate::batcher::BatchError;
use crate::catalog::CatalogError;
use crate::domain::{ErrorKind, Fault};

/// Why there is no prediction.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// The name means no loaded version.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The batcher refused the request or its run failed.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A tensor is not what the model takes.
    #[error("{problem}")]
    Input {
        /// The tensor's name or `inputs`.
        field: String,
        /// What came and what was expected.
        problem: String,
    },
    /// An output that the model does not have.
    #[error("{problem}")]
    Output {
        /// What came and what was expected.
        problem: String,
    },
    /// Every place is taken.
    #[error("{limit} requests are in flight, which is the limit; try again")]
    TooManyRequests {
        /// The bound.
        limit: usize,
    },
    /// The service ends.
    #[error("the service is shutting down; send the request to another one")]
    Closing,
    /// The deadline passed.
    #[error("the deadline passed before the answer was there")]
    DeadlineExceeded,
}

impl Fault for PredictError {
    fn kind(&self) -> ErrorKind {
        match self {
            PredictError::Catalog(error) => error.kind(),
            PredictError::Batch(error) => error.kind(),
            PredictError::Input { .. } | PredictError::Output { .. } => ErrorKind::InvalidArgument,
            PredictError::TooManyRequests { .. } => ErrorKind::Overloaded,
            PredictError::Closing => ErrorKind::Unavailable,
            PredictError::DeadlineExceeded => ErrorKind::DeadlineExceeded,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            PredictError::Catalog(error) => error.reason(),
            PredictError::Batch(error) => error.reason(),
            PredictError::Input { .. } => "INVALID_INPUT",
            PredictError::Output { .. } => "UNKNOWN_OUTPUT",
            PredictError::TooManyRequests { .. } => "TOO_MANY_REQUESTS",
            PredictError::Closing => "SHUTTING_DOWN",
            PredictError::DeadlineExceeded => self.kind().name(),
        }
    }

    fn field(&self) -> Option<String> {
        match self {
            PredictError::Catalog(error) => error.field(),
            PredictError::Input { field, .. } => Some(field.clone()),
            PredictError::Output { .. } => Some("outputs".to_owned()),
            _ => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            PredictError::Batch(error) => error.retry_after(),
            PredictError::TooManyRequests { .. } => Some(Duration::from_millis(50)),
            _ => None,
        }
    }
}
