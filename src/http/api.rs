//! The HTTP port: REST, and gRPC-Web beside it, behind what both pass on their way in and out.
//!
//! In: cross-origin rules, a request id, the bound on the headers. Out: the id. What gRPC-Web is, the
//! caller of this file knows; here it is a service for requests of a certain content type.
//! This file must never look into a body.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower::{Service, ServiceExt as _};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use tracing::Instrument as _;

use super::call::{Call, Refusal};
use super::{HttpService, rest, served};
use crate::lifecycle::{Clock, Peer, Readiness};
use crate::oip::{self, InferAnswer};
use crate::pipeline::{Idempotency, Pipeline};
use crate::proto::hilum::v1::ClassifyResponse;
use crate::shared_memory::SharedMemory;
use crate::telemetry::traces::{ServerCall, ServerOutcome};
use crate::telemetry::{TraceContext, Traces};

/// How long a browser may remember the answer to its preflight.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);
/// What a script may read of an answer beside the headers that it always may.
const EXPOSED: [&str; 9] = [
    oip::REQUEST_ID,
    oip::MODEL_VERSION,
    oip::AUDIT_ID,
    oip::SERVER_TIMING,
    "inference-header-content-length",
    "retry-after",
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
];

/// What the routes share.
#[derive(Debug, Clone)]
pub struct ApiParts {
    /// The one way to a prediction.
    pub pipeline: Pipeline,
    /// Whether the service is ready.
    pub readiness: Readiness,
    /// Answers for repeats with the same key.
    pub repeats: Idempotency<ClassifyResponse>,
    /// The same for `infer`.
    pub infer_repeats: Idempotency<InferAnswer>,
    /// The regions of callers on this machine.
    pub memory: SharedMemory,
    /// The bounds of a body.
    pub body: BodyLimits,
    /// Bytes of a request's headers.
    pub max_header_list_bytes: usize,
    /// Origins whose pages may call; none means that no page of another origin may.
    pub cors_allowed_origins: Vec<HeaderValue>,
    /// The source of time.
    pub clock: Arc<dyn Clock>,
    /// Where spans go.
    pub traces: Traces,
}

/// The bounds of a request's body.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Bytes, after decompression.
    pub max_bytes: usize,
    /// How long it may take to arrive.
    pub timeout: Duration,
}

/// The routes of the HTTP port; `grpc_web` answers requests of the content type of gRPC-Web.
pub fn api<S>(parts: ApiParts, grpc_web: S) -> HttpService
where
    S: Service<Request, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Response: IntoResponse,
    S::Future: Send,
{
    let cors = (!parts.cors_allowed_origins.is_empty()).then(|| cors(&parts.cors_allowed_origins));
    let other = move |request: Request| {
        let grpc_web = grpc_web.clone();
        async move {
            if !is_grpc_web(&request) {
                return Refusal::no_route(request.uri().path()).into_response();
            }
            match grpc_web.oneshot(request).await {
                Ok(response) => response.into_response(),
                Err(never) => match never {},
            }
        }
    };
    let around = from_fn_with_state(parts.clone(), around);
    let router: Router = rest::routes()
        .fallback(other)
        .method_not_allowed_fallback(|| async { Refusal::wrong_method() })
        .with_state(parts)
        .layer(around);
    served(match cors {
        Some(cors) => router.layer(cors),
        None => router,
    })
}

fn cors(origins: &[HeaderValue]) -> CorsLayer {
    let origin = match origins.iter().any(|origin| origin == "*") {
        true => AllowOrigin::any(),
        false => AllowOrigin::list(origins.iter().cloned()),
    };
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED.map(HeaderName::from_static))
        .max_age(PREFLIGHT_AGE)
}

fn is_grpc_web(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc-web"))
}

/// Whether a page sent the request that none of the configured origins is. Browsers name the origin
/// with every POST, also with those that cross-origin rules do not hold back.
fn is_foreign_page(parts: &ApiParts, request: &Request) -> bool {
    let origin = request.headers().get(header::ORIGIN);
    origin.is_some_and(|origin| !parts.cors_allowed_origins.contains(origin))
}

/// What every request passes.
async fn around(State(parts): State<ApiParts>, mut request: Request, next: Next) -> Response {
    let request_id = oip::request_id(request.headers());
    let id = HeaderValue::from_str(&request_id).ok();
    if is_foreign_page(&parts, &request) {
        // The browser is on this machine, the page that speaks through it is not.
        request.extensions_mut().remove::<Peer>();
    }
    let peer = request.extensions().get::<Peer>();
    let is_local = peer.is_some_and(|Peer(address)| address.ip().is_loopback());
    let headers = request.headers();
    let taken: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    // gRPC-Web and paths that nothing has are no routes; the services of the first trace by themselves.
    let begun = parts.clock.now();
    let server = request.extensions().get::<MatchedPath>().map(|route| {
        let route = route.as_str();
        match *request.method() {
            Method::POST => {
                let call = ServerCall::Http { method: "POST", route };
                parts.traces.begin(call, headers, begun)
            }
            // Questions come all the time and tell nothing, as probes do.
            Method::GET => {
                parts.traces.join(ServerCall::Http { method: "GET", route }, headers, begun)
            }
            // What OpenTelemetry calls a method that is not listed.
            _ => parts.traces.join(ServerCall::Http { method: "_OTHER", route }, headers, begun),
        }
    });
    let path = request.uri().path();
    let span = server.as_ref().map(|server| server.log_span(&request_id, path));
    let trace = server.as_ref().map_or_else(TraceContext::off, |server| server.context().clone());
    let mut response = if taken > parts.max_header_list_bytes {
        // What HTTP/2 answers by itself; the table of error kinds has no row for it.
        let limit = parts.max_header_list_bytes;
        let text = format!("the headers take {taken} bytes; at most {limit} are accepted");
        (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, super::call::error_body(&text))
            .into_response()
    } else {
        request.extensions_mut().insert(Call { request_id, is_local, trace });
        if let Some(id) = &id {
            // gRPC-Web makes no second one.
            request.headers_mut().insert(oip::REQUEST_ID, id.clone());
        }
        next.run(request).instrument(span.unwrap_or_else(tracing::Span::none)).await
    };
    if let Some(id) = id {
        response.headers_mut().insert(oip::REQUEST_ID, id);
    }
    if let Some(server) = server {
        server.inject(response.headers_mut());
        server.end(ServerOutcome::Http(response.status().as_u16()));
    }
    response
}
