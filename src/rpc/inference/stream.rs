//! `ModelStreamInfer`: requests come and answers go on one stream, in the same order.
//!
//! Each request has its answer or its own error message; an error of one leaves the others alone.
//! As many run at a time as the configuration allows, and no more are read while that many wait: a
//! caller that does not take its answers is not read from. When the caller closes its side, what it
//! asked is answered and the stream ends; when it leaves, what has not run never will. When the
//! service ends, what was read is answered and the stream ends with UNAVAILABLE.
//! This file must never answer a request twice or out of its turn.

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, stream};
use tonic::Status;
use tracing::Instrument as _;

use super::Inference;
use crate::domain::{ErrorKind, Fault};
use crate::proto::inference::infer_parameter::ParameterChoice;
use crate::proto::inference::{
    InferParameter, ModelInferRequest, ModelInferResponse, ModelStreamInferResponse,
};
use crate::rpc::edge::{CallContext, transport_fault};
use crate::rpc::status;
use crate::telemetry::Edge;

/// By this Triton's clients know that a request has no further answer.
const FINAL: &str = "triton_final_response";

/// The service ends.
#[derive(Debug, thiserror::Error)]
#[error(
    "the service is shutting down; what was read of this stream is answered, send the rest again"
)]
struct Closing;

impl Fault for Closing {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }
}

/// The answers to `requests`.
pub fn answers<S>(
    inference: Inference,
    context: CallContext,
    requests: S,
) -> BoxStream<'static, Result<ModelStreamInferResponse, Status>>
where
    S: Stream<Item = Result<ModelInferRequest, Status>> + Send + Unpin + 'static,
{
    let at_a_time = inference.0.max_stream_inflight;
    let span = tracing::Span::current();
    let incoming = until_closed(inference.clone(), context.clone(), requests);
    incoming
        .map(move |request| {
            let (inference, context) = (inference.clone(), context.clone());
            async move {
                match request {
                    Ok(message) => Ok(one(&inference, &context, message).await),
                    Err(status) => Err(refused(&inference, &context, status)),
                }
            }
            .instrument(span.clone())
        })
        .buffered(at_a_time)
        .boxed()
}

/// The requests until the service ends, which is the last item then.
fn until_closed<S>(
    inference: Inference,
    context: CallContext,
    requests: S,
) -> impl Stream<Item = Result<ModelInferRequest, Status>>
where
    S: Stream<Item = Result<ModelInferRequest, Status>> + Unpin,
{
    stream::unfold(Some(requests), move |requests| {
        let (shutdown, id) = (inference.0.shutdown.clone(), context.request_id.clone());
        async move {
            let mut requests = requests?;
            tokio::select! {
                biased;
                () = shutdown.closed() => Some((Err(status::of(&Closing, &id)), None)),
                request = requests.next() => match request? {
                    Ok(message) => Some((Ok(message), Some(requests))),
                    // A stream is over after what could not be read.
                    Err(status) => Some((Err(status), None)),
                },
            }
        }
    })
}

/// The answer to one request: its outputs or its error message, with the caller's own id.
async fn one(
    inference: &Inference,
    context: &CallContext,
    message: ModelInferRequest,
) -> ModelStreamInferResponse {
    let (id, model_name) = (message.id.clone(), message.model_name.clone());
    let (error_message, mut response) = match inference.infer(message, context).await {
        Ok(answer) => (String::new(), answer.message),
        Err(error) => {
            let told = status::of(&error, &context.request_id);
            let response = ModelInferResponse { id, model_name, ..Default::default() };
            (told.message().to_owned(), response)
        }
    };
    let last = InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) };
    response.parameters.insert(FINAL.to_owned(), last);
    ModelStreamInferResponse { error_message, infer_response: Some(response) }
}

/// A message that could not be read, as a status that says why.
fn refused(inference: &Inference, context: &CallContext, found: Status) -> Status {
    match transport_fault(&found, inference.0.max_message_bytes) {
        None => found,
        Some(fault) => {
            inference.0.pipeline.refused(Edge::Grpc, &fault);
            status::of(&fault, &context.request_id)
        }
    }
}
