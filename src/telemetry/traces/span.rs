//! The spans of a request, and the span of a batch that several requests share.
//!
//! Names and attributes are OpenTelemetry's for RPC and HTTP servers; ours begin with `hilum.`.
//! Steps are written when they are over, from the instants that the journey measures anyway.
//! This file must never take a name or an attribute from a caller.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use http::HeaderMap;
use opentelemetry::trace::{
    Link, Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;

use super::{Traces, propagation};
use crate::telemetry::ModelMetrics;

/// The name of a batch's span, by which the sampler knows it.
pub const BATCH: &str = "batch";

/// What a server span is about. The names are those of the service, never those that a caller sent.
#[derive(Debug, Clone, Copy)]
pub enum ServerCall<'a> {
    /// A call of a known gRPC method.
    Grpc {
        /// The service with its package.
        service: &'a str,
        /// The method.
        method: &'a str,
    },
    /// A path that no gRPC service has.
    UnknownGrpc,
    /// A request to a known route.
    Http {
        /// A method of RFC 9110, in capitals.
        method: &'a str,
        /// The route's pattern, such as `/v2/models/{name}/infer`.
        route: &'a str,
    },
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerOutcome {
    /// By a gRPC status.
    Grpc(i32),
    /// By an HTTP status.
    Http(u16),
    /// The caller went away.
    Cancelled,
}

/// A step of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceStep {
    /// From the head of the request until its message is read and parsed.
    Decode,
    /// Routing, admission, checks, until it is queued or refused.
    Admit,
    /// Waiting for a free engine.
    Queue,
    /// The run of the model; links to the batch.
    Infer,
    /// An image from its bytes to a tensor, the wait for a thread not counted.
    DecodeImage,
    /// From the model's outputs to a decision.
    Interpret,
    /// Scaling a heat map and painting it.
    Explain,
    /// From the answer until its first bytes are handed to the transport.
    Encode,
}

impl TraceStep {
    const fn name(self) -> &'static str {
        match self {
            TraceStep::Decode => "decode",
            TraceStep::Admit => "admit",
            TraceStep::Queue => "queue",
            TraceStep::Infer => "infer",
            TraceStep::DecodeImage => "decode_image",
            TraceStep::Interpret => "interpret",
            TraceStep::Explain => "explain",
            TraceStep::Encode => "encode",
        }
    }
}

impl ServerCall<'_> {
    fn builder(self) -> SpanBuilder {
        let (name, attributes) = match self {
            ServerCall::Grpc { service, method } => (
                format!("{service}/{method}"),
                vec![
                    KeyValue::new("rpc.system", "grpc"),
                    KeyValue::new("rpc.service", service.to_owned()),
                    KeyValue::new("rpc.method", method.to_owned()),
                ],
            ),
            ServerCall::UnknownGrpc => (
                "grpc".to_owned(),
                vec![KeyValue::new("rpc.system", "grpc"), KeyValue::new("rpc.method", "_OTHER")],
            ),
            ServerCall::Http { method, route } => (
                format!("{method} {route}"),
                vec![
                    KeyValue::new("http.request.method", method.to_owned()),
                    KeyValue::new("http.route", route.to_owned()),
                ],
            ),
        };
        SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_attributes(attributes)
    }
}

impl ServerOutcome {
    /// Whether the server is at fault (semantic conventions for RPC and HTTP server spans).
    const fn is_error(self) -> bool {
        match self {
            // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
            ServerOutcome::Grpc(code) => matches!(code, 2 | 4 | 12 | 13 | 14 | 15),
            ServerOutcome::Http(code) => code >= 500,
            ServerOutcome::Cancelled => false,
        }
    }

    fn attribute(self) -> KeyValue {
        match self {
            ServerOutcome::Grpc(code) => KeyValue::new("rpc.grpc.status_code", i64::from(code)),
            ServerOutcome::Http(code) => {
                KeyValue::new("http.response.status_code", i64::from(code))
            }
            ServerOutcome::Cancelled => KeyValue::new("error.type", "cancelled"),
        }
    }
}

/// Where a request stands in its trace, handed from step to step. Off, or for a trace that is not
/// kept, it is a `None`. Cheap to clone.
#[derive(Clone, Default)]
pub struct TraceContext(Option<Arc<Recording>>);

struct Recording {
    tracer: SdkTracer,
    /// Holds the server span.
    context: Context,
    /// The same instant by both clocks.
    origin: (Instant, SystemTime),
    decoded: AtomicBool,
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(recording) => write!(f, "{:?}", recording.span_context()),
            None => f.write_str("off"),
        }
    }
}

impl Recording {
    fn span_context(&self) -> SpanContext {
        self.context.span().span_context().clone()
    }

    fn at(&self, instant: Instant) -> SystemTime {
        let (origin, time) = self.origin;
        match instant.checked_duration_since(origin) {
            Some(after) => time.checked_add(after),
            None => time.checked_sub(origin.saturating_duration_since(instant)),
        }
        .unwrap_or(time)
    }

    fn child(&self, builder: SpanBuilder, begun: Instant, ended: Instant) {
        let builder = builder.with_start_time(self.at(begun));
        let mut span = self.tracer.build_with_context(builder, &self.context);
        span.end_with_timestamp(self.at(ended));
    }
}

impl TraceContext {
    /// A request without a trace.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Whether a step would be written.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The trace's id as records and logs write it: 32 hexadecimal digits.
    pub fn trace_id(&self) -> Option<String> {
        self.0.as_ref().map(|recording| recording.span_context().trace_id().to_string())
    }

    /// Says which version answers, and for how many rows.
    pub fn model(&self, model: &ModelMetrics, rows: usize) {
        if let Some(recording) = &self.0 {
            recording.context.span().set_attributes(model_attributes(model, rows));
        }
    }

    /// Writes a step that is over.
    pub fn step(&self, step: TraceStep, begun: Instant, ended: Instant) {
        if let Some(recording) = &self.0 {
            recording.child(SpanBuilder::from_name(step.name()), begun, ended);
        }
    }

    /// Writes [`TraceStep::Decode`], which began with the request; once for each call, so that only
    /// the first message of a stream has it.
    pub fn decoded(&self, ended: Instant) {
        if let Some(recording) = &self.0
            && !recording.decoded.swap(true, Ordering::Relaxed)
        {
            let builder = SpanBuilder::from_name(TraceStep::Decode.name());
            recording.child(builder, recording.origin.0, ended);
        }
    }
}

fn model_attributes(model: &ModelMetrics, rows: usize) -> [KeyValue; 3] {
    let (name, version) = model.names();
    [
        KeyValue::new("hilum.model", name.to_owned()),
        KeyValue::new("hilum.version", version.to_owned()),
        KeyValue::new("hilum.rows", i64::try_from(rows).unwrap_or(i64::MAX)),
    ]
}

/// A call from its head to its last byte. Dropping it says that the caller went away.
#[derive(Debug)]
pub struct ServerSpan {
    /// This span, or the caller's while traces are off.
    place: Option<SpanContext>,
    trace: TraceContext,
    cancelled: ServerOutcome,
}

impl Traces {
    /// Begins the span of a call that came at `now`, below the caller's `traceparent` if there is one.
    pub fn begin(&self, call: ServerCall<'_>, headers: &HeaderMap, now: Instant) -> ServerSpan {
        self.begin_below(propagation::parent(headers), call, now)
    }

    /// As [`Traces::begin`], but a call without a `traceparent` has no span: for probes, which come
    /// all the time and tell nothing.
    pub fn join(&self, call: ServerCall<'_>, headers: &HeaderMap, now: Instant) -> ServerSpan {
        let parent = propagation::parent(headers);
        match parent.has_active_span() {
            true => self.begin_below(parent, call, now),
            false => ServerSpan::off(),
        }
    }

    fn begin_below(&self, parent: Context, call: ServerCall<'_>, now: Instant) -> ServerSpan {
        let Some(inner) = &self.0 else {
            let place = parent.span().span_context().clone();
            let mut span = ServerSpan::off();
            span.place = Some(place).filter(SpanContext::is_valid);
            return span;
        };
        let time = SystemTime::now();
        let span = inner.tracer.build_with_context(call.builder().with_start_time(time), &parent);
        let place = Some(span.span_context().clone()).filter(SpanContext::is_valid);
        let recording = span.is_recording().then(|| Recording {
            tracer: inner.tracer.clone(),
            context: Context::new().with_span(span),
            origin: (now, time),
            decoded: AtomicBool::new(false),
        });
        let cancelled = match call {
            ServerCall::Http { .. } => ServerOutcome::Cancelled,
            ServerCall::Grpc { .. } | ServerCall::UnknownGrpc => ServerOutcome::Grpc(1),
        };
        ServerSpan { place, trace: TraceContext(recording.map(Arc::new)), cancelled }
    }
}

impl ServerSpan {
    const fn off() -> Self {
        Self { place: None, trace: TraceContext::off(), cancelled: ServerOutcome::Cancelled }
    }

    /// What to hand down the journey.
    pub fn context(&self) -> &TraceContext {
        &self.trace
    }

    /// Writes `traceparent` and `tracestate` into an answer, if there is a trace.
    pub fn inject(&self, headers: &mut HeaderMap) {
        if let Some(place) = &self.place {
            propagation::inject(place, headers);
        }
    }

    /// The span of the logs: `request_id` always, `trace_id` and `span_id` if there is a trace.
    pub fn log_span(&self, request_id: &str, path: &str) -> tracing::Span {
        // At the highest level, so that no log filter takes the ids away from a warning.
        match &self.place {
            Some(place) => tracing::error_span!(
                "request",
                request_id,
                trace_id = %place.trace_id(),
                span_id = %place.span_id(),
                path
            ),
            None => tracing::error_span!("request", request_id, path),
        }
    }

    /// Ends the span.
    pub fn end(mut self, outcome: ServerOutcome) {
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: ServerOutcome) {
        let Some(recording) = self.trace.0.take() else { return };
        let span = recording.context.span();
        span.set_attribute(outcome.attribute());
        if outcome.is_error() {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

impl Drop for ServerSpan {
    fn drop(&mut self) {
        self.finish(self.cancelled);
    }
}

/// A run of the model that is over.
#[derive(Debug, Clone, Copy)]
pub struct BatchRun<'a> {
    /// The version that ran.
    pub model: &'a ModelMetrics,
    /// When it began.
    pub begun: Instant,
    /// When it ended.
    pub ended: Instant,
    /// Whether it gave an answer.
    pub ok: bool,
}

/// A request's part in a run.
#[derive(Debug, Clone, Copy)]
pub struct BatchPart<'a> {
    /// The request's trace.
    pub trace: &'a TraceContext,
    /// When it was queued.
    pub since: Instant,
    /// Its rows in this run.
    pub rows: usize,
}

/// Writes the span of a run, linked to the server span of each request in it, and each request's
/// `queue` and `infer`, the latter linked to the run. Does nothing if no request has a trace.
pub fn batch_ran<'a>(run: BatchRun<'_>, parts: impl Iterator<Item = BatchPart<'a>> + Clone) {
    let traced = || {
        parts.clone().filter_map(|part| part.trace.0.as_deref().map(|recording| (recording, part)))
    };
    let Some((first, _)) = traced().next() else { return };
    let BatchRun { model, begun, ended, ok } = run;
    let rows = parts.clone().map(|part| part.rows).sum();
    let requests = i64::try_from(parts.clone().count()).unwrap_or(i64::MAX);
    let mut attributes = model_attributes(model, rows).to_vec();
    attributes.push(KeyValue::new("hilum.batch.requests", requests));
    let links =
        traced().map(|(recording, _)| Link::with_context(recording.span_context())).collect();
    let builder = SpanBuilder::from_name(BATCH)
        .with_start_time(first.at(begun))
        .with_attributes(attributes)
        .with_links(links);
    let mut batch = first.tracer.build_with_context(builder, &Context::new());
    let place = batch.span_context().clone();
    for (recording, part) in traced() {
        let queue = SpanBuilder::from_name(TraceStep::Queue.name());
        recording.child(queue, part.since, begun.max(part.since));
        let infer = SpanBuilder::from_name(TraceStep::Infer.name())
            .with_attributes(model_attributes(model, part.rows))
            .with_links(vec![Link::with_context(place.clone())]);
        recording.child(infer, begun, ended);
    }
    if !ok {
        batch.set_status(Status::error(""));
    }
    batch.end_with_timestamp(first.at(ended));
}
