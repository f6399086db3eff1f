//! One inference from message to message: the way that every edge takes.
//!
//! Parameters are read, inputs fetched, the request predicted, outputs classified and delivered.
//! Copies out of and into shared memory are made on a thread that may block.
//! This file must never know by which protocol a message came.

use super::images::{image_prediction, image_request};
use bytes::Bytes;

use super::{
    Delivery, InferDefaults, OipError, fetch_inputs, infer_request, infer_response,
    uses_shared_memory,
};
use crate::audit::AuditId;
use crate::catalog::image_base;
use crate::domain::{ErrorKind, Fault, ModelName, ModelVersion};
use crate::pipeline::{
    ClassifyRequest, IdempotencyError, Pipeline, PredictError, PredictRequest, Prediction, Timing,
};
use crate::proto::inference::infer_parameter::ParameterChoice;
use crate::proto::inference::{InferParameter, ModelInferRequest, ModelInferResponse};
use crate::shared_memory::SharedMemory;

/// The parameter of an answer that carries the bundle's notice.
const NOTICE: &str = "notice";

/// An answer, and what an edge says of it in its headers.
#[derive(Debug, Clone)]
pub struct InferAnswer {
    /// The message.
    pub message: ModelInferResponse,
    /// The version that answered.
    pub version: ModelVersion,
    /// Where the time went.
    pub timing: Timing,
    /// The number of its record; `None` where nothing is written down.
    pub audit_id: Option<AuditId>,
}

impl InferAnswer {
    /// About how many bytes of memory it takes.
    pub fn size(&self) -> usize {
        let contents: usize = self.message.raw_output_contents.iter().map(Bytes::len).sum();
        1024 + contents
    }
}

/// An inference without an answer.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// The message is wrong by itself.
    #[error(transparent)]
    Message(#[from] OipError),
    /// The key of a repeat.
    #[error(transparent)]
    Key(#[from] IdempotencyError),
    /// The prediction has no answer.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// What was asked of the answer cannot be done with it; its rows are in the record.
    #[error("{1}")]
    Answered(AuditId, Box<InferError>),
    /// The thread that copied was lost.
    #[error("copying out of or into shared memory ended without a result")]
    Lost,
}

impl InferError {
    fn inner(&self) -> Option<&dyn Fault> {
        match self {
            InferError::Message(error) => Some(error),
            InferError::Key(error) => Some(error),
            InferError::Predict(error) => Some(error),
            InferError::Answered(_, error) => Some(error.as_ref()),
            InferError::Lost => None,
        }
    }
}

impl Fault for InferError {
    fn kind(&self) -> ErrorKind {
        self.inner().map_or(ErrorKind::Internal, Fault::kind)
    }

    fn reason(&self) -> &'static str {
        self.inner().map_or(ErrorKind::Internal.name(), Fault::reason)
    }

    fn field(&self) -> Option<String> {
        self.inner().and_then(Fault::field)
    }

    fn retry_after(&self) -> Option<std::time::Duration> {
        self.inner().and_then(Fault::retry_after)
    }

    fn audit_id(&self) -> Option<String> {
        match self {
            InferError::Answered(id, _) => Some(id.to_string()),
            other => other.inner().and_then(Fault::audit_id),
        }
    }
}

/// Answers `message`. Dropping the future cancels the request.
///
/// # Errors
/// [`InferError`]; a message that was refused before it could be predicted is counted here.
pub async fn infer(
    pipeline: &Pipeline,
    memory: &SharedMemory,
    message: ModelInferRequest,
    defaults: InferDefaults,
) -> Result<InferAnswer, InferError> {
    let edge = defaults.edge;
    let id = message.id.clone();
    let copies = uses_shared_memory(&message);
    let prepared = prepare(memory, message, copies).await.and_then(|(delivery, message)| {
        let asked = Asked::of(message, defaults)?;
        Ok((delivery, asked))
    });
    let (delivery, asked) = prepared.inspect_err(|error| pipeline.refused(edge, error))?;
    let (mut prediction, notice) = asked.answered(pipeline).await?;
    let (version, timing) = (prediction.version, prediction.timing);
    let audit_id = prediction.audit_id;
    let answered = |error: InferError| match audit_id {
        Some(id) => InferError::Answered(id, Box::new(error)),
        None => error,
    };
    delivery.classify(&mut prediction).map_err(|error| answered(error.into()))?;
    let mut message = infer_response(prediction, id);
    if !notice.is_empty() {
        let notice =
            InferParameter { parameter_choice: Some(ParameterChoice::StringParam(notice)) };
        message.parameters.insert(NOTICE.to_owned(), notice);
    }
    if copies {
        let memory = memory.clone();
        message = blocking(move || {
            delivery.store(&mut message, &memory)?;
            Ok(message)
        })
        .await
        .map_err(answered)?;
    }
    Ok(InferAnswer { message, version, timing, audit_id })
}

/// What a message asks for, by the form of the name.
enum Asked {
    Tensors(PredictRequest),
    Images { model: ModelName, request: ClassifyRequest, outputs: Vec<String> },
}

impl Asked {
    fn of(message: ModelInferRequest, defaults: InferDefaults) -> Result<Self, OipError> {
        let model: ModelName = message.model_name.parse()?;
        Ok(match image_base(&model) {
            None => Self::Tensors(infer_request(message, defaults)?),
            Some(base) => {
                let (request, outputs) = image_request(message, base, defaults)?;
                Self::Images { model, request, outputs }
            }
        })
    }

    /// The answer, and the notice that goes with an answer about images.
    async fn answered(self, pipeline: &Pipeline) -> Result<(Prediction, String), InferError> {
        Ok(match self {
            Self::Tensors(request) => (pipeline.predict(request).await?, String::new()),
            Self::Images { model, request, outputs } => {
                let mut answers = pipeline.classify(request).await?;
                let notice = std::mem::take(&mut answers.notice);
                (image_prediction(model, answers, &outputs)?, notice)
            }
        })
    }
}

async fn prepare(
    memory: &SharedMemory,
    mut message: ModelInferRequest,
    copies: bool,
) -> Result<(Delivery, ModelInferRequest), InferError> {
    let delivery = Delivery::of(&message, memory)?;
    if !copies {
        return Ok((delivery, message));
    }
    let memory = memory.clone();
    let message = blocking(move || {
        fetch_inputs(&mut message, &memory)?;
        Ok(message)
    });
    Ok((delivery, message.await?))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OipError> + Send + 'static,
) -> Result<T, InferError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| InferError::Lost)?;
    Ok(done?)
}
