//! Why a request has no prediction.
//!
//! The messages say what came and what was expected; they are safe to show to a caller.
//! This file must never name a status of a protocol.

use std::time::Duration;

use crate::audit::{AuditError, AuditId};
use crate::batcher::BatchError;
use crate::catalog::CatalogError;
use crate::domain::{ErrorKind, Fault, ModelName, ModelVersion};
use crate::imaging::DecodeError;
use crate::imaging::preprocess::PreprocessError;

use super::DecodePoolError;

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
    /// A file is no image that can be answered.
    #[error("{}{error}", row.map_or_else(String::new, |row| format!("image {row}: ")))]
    Image {
        /// The file's place in the request, from 0; `None` where it came alone.
        row: Option<usize>,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// The image was not decoded.
    #[error(transparent)]
    Decode(#[from] DecodePoolError),
    /// The recipe cannot be run.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// A wish that contradicts another, or that cannot be.
    #[error("{field}: {problem}")]
    Option {
        /// The option.
        field: String,
        /// What came and what was expected.
        problem: String,
    },
    /// The model answers tensors only.
    #[error(
        "model '{model}' version {version} has no preprocessing recipe and answers no images; send \
         it tensors"
    )]
    NoRecipe {
        /// The model.
        model: ModelName,
        /// The version.
        version: ModelVersion,
    },
    /// The model cannot say why.
    #[error(
        "model '{model}' version {version} gives no map; ask without explain, overlay or heatmap"
    )]
    NoExplanation {
        /// The model.
        model: ModelName,
        /// The version.
        version: ModelVersion,
    },
    /// The recipe crops by a model that is not there.
    #[error("the recipe crops by the bundle '{bundle}', which cannot be used: {problem}")]
    Segmentation {
        /// The bundle, `name/version`.
        bundle: String,
        /// Why.
        problem: String,
    },
    /// The bundle does not do what it says: a fault of ours.
    #[error("{0}")]
    Broken(String),
    /// The record of the answer cannot be written, so that there is no answer.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// A failure that has its rows in the record.
    #[error("{error}")]
    Recorded {
        /// The number of the request.
        audit_id: AuditId,
        /// Why it failed.
        error: Box<PredictError>,
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

impl From<DecodeError> for PredictError {
    fn from(error: DecodeError) -> Self {
        Self::Image { row: None, error }
    }
}

impl PredictError {
    /// Whether no other image would fare better: the model or the options are at fault.
    pub const fn is_of_all(&self) -> bool {
        match self {
            Self::Recorded { error, .. } => error.is_of_all(),
            Self::Catalog(_)
            | Self::Option { .. }
            | Self::NoRecipe { .. }
            | Self::NoExplanation { .. }
            | Self::Segmentation { .. }
            | Self::Broken(_) => true,
            _ => false,
        }
    }

    /// The same, once its rows are in the record.
    #[must_use]
    pub fn recorded(self, audit_id: AuditId) -> Self {
        Self::Recorded { audit_id, error: Box::new(self) }
    }

    /// The same about the file at `row` of a request of several.
    #[must_use]
    pub fn of_row(self, row: Option<usize>) -> Self {
        match self {
            Self::Image { error, .. } => Self::Image { row, error },
            other => other,
        }
    }
}

impl Fault for PredictError {
    fn kind(&self) -> ErrorKind {
        match self {
            PredictError::Catalog(error) => error.kind(),
            PredictError::Batch(error) => error.kind(),
            PredictError::Input { .. } | PredictError::Output { .. } => ErrorKind::InvalidArgument,
            PredictError::Image { error, .. } => error.kind(),
            PredictError::Decode(error) => error.kind(),
            PredictError::Preprocess(error) => error.kind(),
            PredictError::Option { .. } => ErrorKind::InvalidArgument,
            PredictError::NoRecipe { .. }
            | PredictError::NoExplanation { .. }
            | PredictError::Segmentation { .. } => ErrorKind::FailedPrecondition,
            PredictError::Broken(_) => ErrorKind::Internal,
            PredictError::Audit(error) => error.kind(),
            PredictError::Recorded { error, .. } => error.kind(),
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
            PredictError::Image { error, .. } => error.reason(),
            PredictError::Decode(error) => error.reason(),
            PredictError::Preprocess(error) => error.reason(),
            PredictError::Option { .. } => "INVALID_OPTION",
            PredictError::NoRecipe { .. } => "NO_RECIPE",
            PredictError::NoExplanation { .. } => "EXPLAIN_UNAVAILABLE",
            PredictError::Segmentation { .. } => "SEGMENTATION_UNAVAILABLE",
            PredictError::Broken(_) => "BUNDLE_BROKEN",
            PredictError::Audit(error) => error.reason(),
            PredictError::Recorded { error, .. } => error.reason(),
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
            PredictError::Image { row: Some(row), .. } => Some(format!("image[{row}]")),
            PredictError::Image { error, .. } => error.field(),
            PredictError::Option { field, .. } => Some(field.clone()),
            PredictError::Recorded { error, .. } => error.field(),
            _ => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            PredictError::Batch(error) => error.retry_after(),
            PredictError::Decode(error) => error.retry_after(),
            PredictError::Audit(error) => error.retry_after(),
            PredictError::Recorded { error, .. } => error.retry_after(),
            PredictError::TooManyRequests { .. } => Some(Duration::from_millis(50)),
            _ => None,
        }
    }

    fn audit_id(&self) -> Option<String> {
        match self {
            PredictError::Recorded { audit_id, .. } => Some(audit_id.to_string()),
            _ => None,
        }
    }
}
