//! `hilum.v1.Vision`: images in, explained answers out.
//!
//! One image a call, or many on a stream, answered as they are done. Of a stream as many run at a
//! time as the configuration allows and no more are read meanwhile; when the caller leaves, what has
//! not begun never will; when the service ends, what was read is answered.
//! This file must never let one bad image end a stream.

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, stream};
use prost::Message as _;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use super::edge::{CallContext, context, transport_fault};
use super::{RpcParts, status};
use crate::domain::{Digest, ErrorKind, Fault};
use crate::oip;
use crate::pipeline::{IDEMPOTENCY_KEY, IdempotencyError, PredictError, Repeatable, Timing};
use crate::proto::hilum::v1 as proto;
use crate::proto::hilum::v1::vision_server;
use crate::telemetry::Edge;
use crate::vision::{Envelope, VisionError, classify_request, classify_response};

/// The scope of keys of this method.
const CLASSIFY: &str = "hilum.v1.Vision/Classify";

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Vision(RpcParts);

/// A call without an answer.
#[derive(Debug, thiserror::Error)]
enum ClassifyError {
    #[error(transparent)]
    Message(#[from] VisionError),
    #[error(transparent)]
    Key(#[from] IdempotencyError),
    #[error(transparent)]
    Predict(#[from] PredictError),
}

impl ClassifyError {
    fn inner(&self) -> &dyn Fault {
        match self {
            ClassifyError::Message(error) => error,
            ClassifyError::Key(error) => error,
            ClassifyError::Predict(error) => error,
        }
    }
}

impl Fault for ClassifyError {
    fn kind(&self) -> ErrorKind {
        self.inner().kind()
    }

    fn reason(&self) -> &'static str {
        self.inner().reason()
    }

    fn field(&self) -> Option<String> {
        self.inner().field()
    }

    fn retry_after(&self) -> Option<std::time::Duration> {
        self.inner().retry_after()
    }

    fn audit_id(&self) -> Option<String> {
        self.inner().audit_id()
    }
}

impl Vision {
    /// The service over `parts`.
    pub fn new(parts: &RpcParts) -> Self {
        Self(parts.clone())
    }

    async fn classify(
        &self,
        message: proto::ClassifyRequest,
        context: &CallContext,
    ) -> Result<(proto::ClassifyResponse, Timing), ClassifyError> {
        let envelope = Envelope {
            edge: Edge::Grpc,
            deadline: context.deadline,
            trace: context.trace.clone(),
            request_id: std::sync::Arc::clone(&context.request_id),
        };
        let explain = message.explain;
        let request = classify_request(message, envelope)
            .inspect_err(|error| self.0.pipeline.refused(Edge::Grpc, error))?;
        let answers = self.0.pipeline.classify(request).await?;
        let timing = answers.timing();
        Ok((classify_response(answers, explain)?, timing))
    }

    /// The answer to one item of a stream, with its own status.
    async fn item(
        &self,
        item: proto::ClassifyStreamRequest,
        context: &CallContext,
    ) -> proto::ClassifyStreamResponse {
        use proto::classify_stream_response::Result as Answer;
        let answer = match item.request {
            Some(request) => self.classify(request, context).await,
            None => Err(VisionError::Empty.into()),
        };
        let result = match answer {
            Ok((response, _)) => Answer::Response(response),
            Err(error) => {
                // The text as a status would have it, and the log line with it.
                let told = status::of(&error, &context.request_id);
                let (code, message) = (told.code().into(), told.message().to_owned());
                Answer::Error(proto::ItemStatus {
                    code,
                    message,
                    reason: error.reason().to_owned(),
                    audit_id: error.audit_id().unwrap_or_default(),
                })
            }
        };
        proto::ClassifyStreamResponse { id: item.id, result: Some(result) }
    }

    /// What could not be read, as a status that says why.
    fn refused(&self, context: &CallContext, found: Status) -> Status {
        match transport_fault(&found, self.0.max_message_bytes) {
            None => found,
            Some(fault) => {
                self.0.pipeline.refused(Edge::Grpc, &fault);
                status::of(&fault, &context.request_id)
            }
        }
    }

    /// The items until the service ends, which is the last of them then.
    fn until_closed<S>(
        self,
        context: CallContext,
        items: S,
    ) -> impl Stream<Item = Result<proto::ClassifyStreamRequest, Status>>
    where
        S: Stream<Item = Result<proto::ClassifyStreamRequest, Status>> + Unpin,
    {
        stream::unfold(Some(items), move |items| {
            let (shutdown, id) = (self.0.shutdown.clone(), context.request_id.clone());
            async move {
                let mut items = items?;
                tokio::select! {
                    biased;
                    () = shutdown.closed() => {
                        Some((Err(status::of(&PredictError::Closing, &id)), None))
                    }
                    item = items.next() => match item? {
                        Ok(item) => Some((Ok(item), Some(items))),
                        // A stream is over after what could not be read.
                        Err(status) => Some((Err(status), None)),
                    },
                }
            }
        })
    }
}

#[tonic::async_trait]
impl vision_server::Vision for Vision {
    async fn classify(
        &self,
        request: Request<proto::ClassifyRequest>,
    ) -> Result<Response<proto::ClassifyResponse>, Status> {
        let context = context(&request);
        let key = request.metadata().get(IDEMPOTENCY_KEY).map(|key| key.as_bytes().to_vec());
        let message = request.into_inner();
        let asked =
            Repeatable::of(CLASSIFY, key.as_deref(), || Digest::of(&message.encode_to_vec()));
        let answer = async {
            let asked = asked.inspect_err(|error| self.0.pipeline.refused(Edge::Grpc, error))?;
            let work = async { Ok(self.classify(message, &context).await?.0) };
            self.0.repeats.once(asked, crate::vision::size, work).await
        };
        let answer: Result<proto::ClassifyResponse, ClassifyError> = answer.await;
        if let Err(ClassifyError::Key(conflict @ IdempotencyError::Conflict)) = &answer {
            self.0.pipeline.refused(Edge::Grpc, conflict);
        }
        let answer = answer.map_err(|error| status::of(&error, &context.request_id))?;
        let timing = answer.timing.map(|timing| oip::server_timing(crate::vision::timing(&timing)));
        let version: Option<u64> = answer.model_version.parse().ok();
        let audit_id = MetadataValue::try_from(answer.audit_id.as_str()).ok();
        let mut response = Response::new(answer);
        let metadata = response.metadata_mut();
        if let Some(version) = version {
            metadata.insert(oip::MODEL_VERSION, MetadataValue::from(version));
        }
        if let Some(audit_id) = audit_id.filter(|id| !id.is_empty()) {
            metadata.insert(oip::AUDIT_ID, audit_id);
        }
        if let Some(timing) = timing.and_then(|timing| MetadataValue::try_from(timing).ok()) {
            metadata.insert(oip::SERVER_TIMING, timing);
        }
        Ok(response)
    }

    type ClassifyStreamStream = BoxStream<'static, Result<proto::ClassifyStreamResponse, Status>>;

    async fn classify_stream(
        &self,
        request: Request<Streaming<proto::ClassifyStreamRequest>>,
    ) -> Result<Response<Self::ClassifyStreamStream>, Status> {
        let context = context(&request);
        let at_a_time = self.0.max_stream_inflight;
        let span = tracing::Span::current();
        let vision = self.clone();
        let items = self.clone().until_closed(context.clone(), request.into_inner());
        let answers = items
            .map(move |item| {
                let (vision, context) = (vision.clone(), context.clone());
                async move {
                    match item {
                        Ok(item) => Ok(vision.item(item, &context).await),
                        Err(found) => Err(vision.refused(&context, found)),
                    }
                }
                .instrument(span.clone())
            })
            .buffer_unordered(at_a_time);
        Ok(Response::new(until_error(answers).boxed()))
    }
}

/// The answers; one that is an error is the last, after all that were under way beside it.
fn until_error<S>(answers: S) -> impl Stream<Item = Result<proto::ClassifyStreamResponse, Status>>
where
    S: Stream<Item = Result<proto::ClassifyStreamResponse, Status>> + Send + 'static,
{
    let held = (Box::pin(answers), None);
    stream::unfold(held, |(mut answers, mut held)| async move {
        loop {
            match answers.next().await {
                Some(Ok(answer)) => return Some((Ok(answer), (answers, held))),
                Some(Err(status)) => held = Some(status),
                None => return held.take().map(|status| (Err(status), (answers, None))),
            }
        }
    })
}
