//! What every gRPC call passes on its way in and out.
//!
//! In: a request id, the deadline of `grpc-timeout`, the caller's trace. Out: the id, the trace, and
//! the statuses that the transport chooses by itself put right.
//! This file must never read a message.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response};
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::Service;
use tracing::Instrument as _;

use super::traced::{Methods, answered};
use super::{RpcParts, status};
use crate::domain::{ErrorKind, Fault};
use crate::lifecycle::{Clock, Peer};
use crate::oip;
use crate::pipeline::Pipeline;
use crate::telemetry::{Edge, TraceContext, Traces};

/// How a call's messages are packed, and how its answers may be.
const ENCODING: &str = "grpc-encoding";
const ACCEPT_ENCODING: &str = "grpc-accept-encoding";

/// What a call brings beside its message.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// The caller's id, or one made here.
    pub request_id: Arc<str>,
    /// When the answer is of no use any more.
    pub deadline: Option<Instant>,
    /// Whether the caller is on this machine.
    pub is_local: bool,
    /// Where the call stands in its trace.
    pub trace: TraceContext,
}

/// The call whose arrival is announced: it ends by itself, unlike a stream.
const UNARY: &str = "/ModelInfer";

/// The context that the edge has put beside the message.
pub(super) fn context<T>(request: &tonic::Request<T>) -> CallContext {
    request.extensions().get::<CallContext>().cloned().unwrap_or_else(|| CallContext {
        request_id: "".into(),
        deadline: None,
        is_local: false,
        trace: TraceContext::off(),
    })
}

/// All services behind the layer. Cheap to clone.
#[derive(Clone)]
pub struct GrpcEdge {
    routes: Routes,
    clock: Arc<dyn Clock>,
    pipeline: Pipeline,
    max_message_bytes: usize,
    methods: Methods,
    traces: Traces,
}

/// A call that the transport refuses.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransportFault {
    #[error("the message is too large: {found}; at most {limit} bytes are accepted")]
    TooLarge { found: String, limit: usize },
    #[error("the message is not a valid protobuf message of this call: {0}")]
    Malformed(String),
    #[error("grpc-timeout '{0}' is not 1 to 8 digits and one of H M S m u n")]
    Timeout(String),
}

impl Fault for TransportFault {
    fn kind(&self) -> ErrorKind {
        match self {
            TransportFault::TooLarge { .. } => ErrorKind::TooLarge,
            TransportFault::Malformed(_) | TransportFault::Timeout(_) => ErrorKind::InvalidArgument,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            TransportFault::TooLarge { .. } => "MESSAGE_TOO_LARGE",
            TransportFault::Malformed(_) => "MALFORMED_MESSAGE",
            TransportFault::Timeout(_) => "MALFORMED_TIMEOUT",
        }
    }
}

impl GrpcEdge {
    pub(super) fn new(routes: Routes, methods: Methods, parts: &RpcParts) -> Self {
        Self {
            routes,
            clock: Arc::clone(&parts.clock),
            pipeline: parts.pipeline.clone(),
            max_message_bytes: parts.max_message_bytes,
            methods,
            traces: parts.traces.clone(),
        }
    }

    fn refuse(&self, fault: &TransportFault, request_id: &str) -> Response<Body> {
        self.pipeline.refused(Edge::Grpc, fault);
        status::of(fault, request_id).into_http()
    }

    /// Puts right what the transport answers by itself.
    fn remapped(&self, response: Response<Body>, request_id: &str) -> Response<Body> {
        let found = Status::from_header_map(response.headers());
        match found.and_then(|found| transport_fault(&found, self.max_message_bytes)) {
            Some(fault) => self.refuse(&fault, request_id),
            None => response,
        }
    }
}

/// What the transport means by a status of its own: a message over the limit is OUT_OF_RANGE there,
/// one that unpacks to more RESOURCE_EXHAUSTED, one that cannot be read INTERNAL.
pub(super) fn transport_fault(found: &Status, limit: usize) -> Option<TransportFault> {
    let text = found.message();
    match found.code() {
        Code::OutOfRange if text.contains("message length too large") => {
            let found = text.split("found ").nth(1).and_then(|rest| rest.split(',').next());
            Some(TransportFault::TooLarge { found: found.unwrap_or("more").to_owned(), limit })
        }
        _ if text.contains("exceeded while decompressing") => {
            Some(TransportFault::TooLarge { found: "more once it is unpacked".to_owned(), limit })
        }
        Code::Internal
            if text.contains("failed to decode Protobuf message")
                || text.contains("Error decompressing") =>
        {
            Some(TransportFault::Malformed(text.chars().take(200).collect()))
        }
        _ => None,
    }
}

/// An answer is packed only for who packs its own request: that clients can unpack (most say so with
/// every call) is no wish to have it done, and it costs more than the wire where the wire is fast.
fn pack_as_asked(headers: &mut HeaderMap) {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let own = headers.get(ENCODING).filter(|own| {
        let own = own.to_str().unwrap_or_default();
        accepted.is_some_and(|list| list.split(',').any(|one| one.trim() == own))
    });
    match own.cloned() {
        Some(own) => headers.insert(ACCEPT_ENCODING, own),
        None => headers.remove(ACCEPT_ENCODING),
    };
}

impl<B> Service<Request<B>> for GrpcEdge
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let mut edge = self.clone();
        let request_id = oip::request_id(request.headers());
        let now = edge.clock.now();
        let arrival = request.uri().path().ends_with(UNARY).then(|| edge.pipeline.arrive());
        let server = edge.methods.begin(&edge.traces, &request, now);
        let span = server.log_span(&request_id, request.uri().path());
        pack_as_asked(request.headers_mut());
        let answer = async move {
            let mut response = match timeout(request.headers()) {
                Err(fault) => edge.refuse(&fault, &request_id),
                Ok(timeout) => {
                    let deadline = timeout.and_then(|t| now.checked_add(t));
                    let peer = request.extensions().get::<Peer>();
                    let is_local = peer.is_some_and(|Peer(address)| address.ip().is_loopback());
                    let id = Arc::clone(&request_id);
                    let trace = server.context().clone();
                    let context = CallContext { request_id: id, deadline, is_local, trace };
                    request.extensions_mut().insert(context);
                    let Ok(response) = edge.routes.call(request.map(Body::new)).await;
                    edge.remapped(response, &request_id)
                }
            };
            if let Ok(value) = HeaderValue::from_str(&request_id) {
                response.headers_mut().insert(oip::REQUEST_ID, value);
            }
            server.inject(response.headers_mut());
            let took = edge.clock.now().saturating_duration_since(now);
            tracing::debug!(?took, "answered");
            drop(arrival);
            Ok(answered(response, server, &edge.clock))
        };
        answer.instrument(span).boxed()
    }
}

/// `grpc-timeout`: up to eight digits and a unit (gRPC over HTTP/2, "Requests").
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, TransportFault> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let fault = || TransportFault::Timeout(text.chars().take(32).collect());
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(fault)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(fault());
    }
    let number: u64 = digits.parse().map_err(|_| fault())?;
    Ok(Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return Err(fault()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_timeouts_and_refuses_nonsense() {
        let read = |text: &'static str| {
            timeout(&HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-timeout"),
                HeaderValue::from_static(text),
            )]))
        };
        assert_eq!(read("250m").unwrap(), Some(Duration::from_millis(250)));
        assert_eq!(read("99999999H").unwrap(), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(timeout(&HeaderMap::new()).unwrap(), None);
        for bad in ["", "m", "5", "-5S", "123456789S", "5x", "1 S"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
