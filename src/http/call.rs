//! What a REST call brings beside its body, and how one that is refused is answered.
//!
//! The status comes from the one table of error kinds, the text is the error's own.
//! This file must never show a caller an error of ours without a number by which the log is found.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::domain::{ErrorKind, Fault};
use crate::oip;
use crate::telemetry::TraceContext;

/// What a call brings beside its body.
#[derive(Debug, Clone)]
pub struct Call {
    /// The caller's id, or one made here.
    pub request_id: Arc<str>,
    /// Whether the caller is on this machine.
    pub is_local: bool,
    /// Where the call stands in its trace.
    pub trace: TraceContext,
}

/// A request that HTTP itself makes wrong.
#[derive(Debug, thiserror::Error)]
pub enum HttpFault {
    /// A header's value.
    #[error("{name}: {problem}")]
    Header {
        /// The header.
        name: &'static str,
        /// What came and what was expected.
        problem: String,
    },
    /// A path that is no text.
    #[error("the path is not UTF-8 once it is percent-decoded")]
    Path,
    /// A content type that is not read.
    #[error(
        "content-type '{0}' is not read here; application/json is expected, or \
         application/octet-stream with Inference-Header-Content-Length"
    )]
    Media(String),
    /// A content type that is no file.
    #[error(
        "content-type '{0}' is not read here; a file as it is (image/png, image/jpeg, \
         application/dicom, application/octet-stream) or multipart/form-data is expected"
    )]
    FileMedia(String),
    /// A content encoding that is not read.
    #[error("content-encoding '{0}' is not read here; gzip, deflate and zstd are, one at a time")]
    Encoding(String),
    /// More bytes than are read.
    #[error(
        "the body is too large: at most {0} bytes are accepted, counted after decompression \
         (limits.max_message_bytes)"
    )]
    TooLarge(usize),
    /// The body broke off or cannot be decompressed.
    #[error("the body cannot be read: {0}")]
    Body(String),
    /// The body came too slowly.
    #[error("the body did not arrive within {0:?} (limits.body_timeout)")]
    Slow(Duration),
    /// The thread that worked on it was lost.
    #[error("the request's work ended without a result")]
    Lost,
}

impl Fault for HttpFault {
    fn kind(&self) -> ErrorKind {
        match self {
            HttpFault::Header { .. } | HttpFault::Path | HttpFault::Body(_) => {
                ErrorKind::InvalidArgument
            }
            HttpFault::Media(_) | HttpFault::FileMedia(_) | HttpFault::Encoding(_) => {
                ErrorKind::UnsupportedMedia
            }
            HttpFault::TooLarge(_) => ErrorKind::TooLarge,
            HttpFault::Slow(_) => ErrorKind::DeadlineExceeded,
            HttpFault::Lost => ErrorKind::Internal,
        }
    }
}

impl IntoResponse for HttpFault {
    fn into_response(self) -> Response {
        Refusal::of(&self, "").into_response()
    }
}

/// An answer that says why there is no other.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    text: String,
    retry_after: Option<Duration>,
    audit_id: Option<String>,
}

impl Refusal {
    /// The answer to a fault of the request `request_id`.
    pub fn of(fault: &dyn Fault, request_id: &str) -> Self {
        let kind = fault.kind();
        let text = match kind {
            ErrorKind::Internal => {
                tracing::error!(request_id, reason = fault.reason(), error = %fault, "request failed");
                format!("{fault} (request {request_id})")
            }
            _ => fault.to_string(),
        };
        let status = StatusCode::from_u16(kind.http_status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, text, retry_after: fault.retry_after(), audit_id: fault.audit_id() }
    }

    /// The answer where there is no route.
    pub fn no_route(path: &str) -> Self {
        let path: String = path.chars().take(128).flat_map(char::escape_debug).collect();
        let text = format!("there is no '{path}'; /openapi.json lists what there is");
        Self { status: StatusCode::NOT_FOUND, text, retry_after: None, audit_id: None }
    }

    /// The answer to a method that the route does not have; the header `allow` names those it has.
    pub fn wrong_method() -> Self {
        let text = "the path does not have this method; the header allow names those it has";
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self { status, text: text.to_owned(), retry_after: None, audit_id: None }
    }
}

/// The body of an answer that is an error.
pub fn error_body(text: &str) -> Json<Value> {
    Json(json!({ "error": text }))
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, error_body(&self.text)).into_response();
        if let Some(delay) = self.retry_after {
            // The header knows whole seconds only.
            let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(Ok(id)) = self.audit_id.map(HeaderValue::try_from) {
            response.headers_mut().insert(oip::AUDIT_ID, id);
        }
        response
    }
}
