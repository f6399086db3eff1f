//! The HTTP edges: REST and gRPC-Web on one port, metrics and probes on another.
//!
//! A request is parsed, predicted and answered; an error becomes a status by the one table.
//! This room must never decide anything about a prediction.

mod api;
mod call;
mod probes;
mod rest;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use tower::util::MapRequest;

pub use api::{ApiParts, BodyLimits, api};
pub use probes::{ProbeParts, probes};
pub use rest::openapi;

/// Routes as the accept loop serves them.
pub type HttpService = MapRequest<Router, fn(http::Request<Incoming>) -> Request>;

fn served(router: Router) -> HttpService {
    MapRequest::new(router, |request| request.map(Body::new))
}
