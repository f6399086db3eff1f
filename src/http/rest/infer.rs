//! `POST …/infer`: JSON or JSON and binary tensor data, both ways.
//!
//! A body becomes the message that gRPC has too, and takes its way. Long JSON is read and written on
//! a thread that may block, so that it holds no other request up.
//! This file must never look into a tensor.

use axum::extract::{Extension, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;

use super::Target;
use super::body::{self, JSON_LENGTH};
use crate::catalog::IMAGE_SUFFIX;
use crate::domain::{Digest, Fault};
use crate::http::ApiParts;
use crate::http::call::{Call, HttpFault, Refusal};
use crate::oip::json::{AnswerForm, JsonAnswer, JsonError, JsonInfer};
use crate::oip::{self, InferAnswer, InferDefaults, json};
use crate::pipeline::{IDEMPOTENCY_KEY, IdempotencyError, Repeatable, Timing};
use crate::proto::inference::ModelInferResponse;
use crate::telemetry::{Edge, TraceStep};

/// Up to here JSON is read or written where the request is served: a millisecond or so.
const INLINE_BYTES: usize = 128 << 10;

/// The scope of keys of this method.
const METHOD: &str = "POST infer";

/// Predicts.
pub async fn infer(
    State(parts): State<ApiParts>,
    Extension(call): Extension<Call>,
    target: Result<Target, HttpFault>,
    request: Request,
) -> Result<Response, Refusal> {
    let _arrival = parts.pipeline.arrive();
    let refused = |fault: &dyn Fault| {
        parts.pipeline.refused(Edge::Http, fault);
        Refusal::of(fault, &call.request_id)
    };
    let target = target.map_err(|fault| refused(&fault))?;
    let (head, body) = request.into_parts();
    let length = body::json_length(&head.headers).map_err(|fault| refused(&fault))?;
    let body = body::read(&head.headers, body, parts.body).await;
    let body = body.map_err(|fault| refused(&fault))?;
    let images = target.model.ends_with(IMAGE_SUFFIX);
    let asked = repeatable(&head, &body).map_err(|error| refused(&error))?;
    let read = read(body, length, images).await.map_err(|fault| refused(&fault))?;
    let JsonInfer { mut message, form } = read.map_err(|error| refused(&error))?;
    message.model_name = target.model;
    message.model_version = target.version;
    let trace = call.trace.clone();
    let defaults = InferDefaults { edge: Edge::Http, deadline: None, trace };
    let work = oip::infer(&parts.pipeline, &parts.memory, message, defaults);
    let answer = parts.infer_repeats.once(asked, InferAnswer::size, work).await;
    let answer = answer.map_err(|error| Refusal::of(&error, &call.request_id))?;
    let (version, timing) = (answer.version.number(), answer.timing);
    let predicted = parts.clock.now();
    let answer =
        write(answer.message, form).await.map_err(|fault| Refusal::of(&fault, &call.request_id))?;
    call.trace.step(TraceStep::Encode, predicted, parts.clock.now());
    Ok(response(answer, version, timing))
}

/// What a repeat of the request is known by: the path, the headers that say how to read the body, and
/// the body.
fn repeatable(head: &Parts, body: &Bytes) -> Result<Option<Repeatable>, IdempotencyError> {
    let key = head.headers.get(IDEMPOTENCY_KEY).map(HeaderValue::as_bytes);
    let length = head.headers.get(JSON_LENGTH).map_or(&[][..], HeaderValue::as_bytes);
    let path = head.uri.path().as_bytes();
    // No part of these holds a line break but the body, which is the last.
    Repeatable::of(METHOD, key, || Digest::of(&[path, b"\n", length, b"\n", body].concat()))
}

async fn read(
    body: Bytes,
    json_bytes: Option<usize>,
    images: bool,
) -> Result<Result<JsonInfer, JsonError>, HttpFault> {
    let length = json_bytes.unwrap_or(body.len());
    inline_or_not(length, move || json::infer_from_json(&body, json_bytes, images)).await
}

async fn write(message: ModelInferResponse, form: AnswerForm) -> Result<JsonAnswer, HttpFault> {
    let bytes = message.raw_output_contents.iter().map(Bytes::len).sum();
    let written = inline_or_not(bytes, move || json::infer_to_json(&message, &form)).await?;
    written.map_err(|error| {
        tracing::error!(%error, "an answer cannot be written as JSON");
        HttpFault::Lost
    })
}

async fn inline_or_not<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HttpFault> {
    if bytes <= INLINE_BYTES {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| HttpFault::Lost)
}

fn response(answer: JsonAnswer, version: u64, timing: Timing) -> Response {
    let JsonAnswer { body, json_bytes } = answer;
    let mut response = body.into_response();
    let headers = response.headers_mut();
    let kind = if json_bytes.is_some() { "application/octet-stream" } else { "application/json" };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(oip::MODEL_VERSION, HeaderValue::from(version));
    if let Ok(timing) = HeaderValue::try_from(oip::server_timing(timing)) {
        headers.insert(oip::SERVER_TIMING, timing);
    }
    if let Some(json_bytes) = json_bytes {
        headers.insert(JSON_LENGTH, HeaderValue::from(json_bytes));
    }
    response
}
