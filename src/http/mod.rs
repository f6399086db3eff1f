//! HTTP: metrics and probes on a port of their own.
//!
//! `/metrics` for Prometheus, `/livez` and `/readyz` for an orchestrator, `/healthz` for people.
//! This room must never decide whether the service is ready; it asks the latch.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::body::Incoming;
use tower::util::MapRequest;

use crate::lifecycle::Readiness;
use crate::telemetry::Metrics;

/// What the routes share.
#[derive(Debug, Clone)]
pub struct ProbeParts {
    /// Whether the service is ready.
    pub readiness: Readiness,
    /// What is counted.
    pub metrics: Metrics,
}

/// Routes as the accept loop serves them.
pub type HttpService = MapRequest<Router, fn(http::Request<Incoming>) -> Request>;

/// The routes of the metrics and probe port.
pub fn probes(parts: ProbeParts) -> HttpService {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/healthz", get(ready))
        .fallback(|| async {
            (StatusCode::NOT_FOUND, "there are /metrics, /livez, /readyz and /healthz\n")
        })
        .with_state(parts);
    MapRequest::new(router, |request| request.map(Body::new))
}

async fn metrics(State(parts): State<ProbeParts>) -> Response {
    parts.metrics.set_ready(parts.readiness.is_ready());
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, parts.metrics.render()).into_response()
}

async fn ready(State(parts): State<ProbeParts>) -> Response {
    if parts.readiness.is_ready() {
        return "ready\n".into_response();
    }
    let reasons = parts.readiness.reasons().join("\n");
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{reasons}\n")).into_response()
}
