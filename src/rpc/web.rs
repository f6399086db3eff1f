//! gRPC-Web: the same services for browsers, over any version of HTTP.
//!
//! A request is taken out of its frames, answered as any gRPC call, and put into frames again.
//! This file must never decide who may call from where; the HTTP port's cross-origin rules do.

use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower::Layer as _;

use super::GrpcEdge;

/// All services for requests of the content type of gRPC-Web.
pub type GrpcWeb = GrpcWebService<GrpcEdge>;

/// The services of `edge` for browsers.
pub fn grpc_web(edge: GrpcEdge) -> GrpcWeb {
    GrpcWebLayer::new().layer(edge)
}
