//! `hilum.v1.Probe`: readiness as a gRPC status, for load balancers that look at nothing else.
//!
//! Served as a client stream, so that a call without a message frame is answered too; on the wire a
//! unary call looks the same.
//! This file must never answer OK while the service is not ready.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;

use super::edge::CallContext;
use super::status;
use crate::domain::{ErrorKind, Fault};
use crate::lifecycle::Readiness;
use crate::proto::hilum::v1::{ReadyRequest, ReadyResponse};

/// The service.
#[derive(Debug, Clone)]
pub struct Probe {
    readiness: Readiness,
}

#[derive(Debug, thiserror::Error)]
#[error("not ready: {0}")]
struct NotReady(String);

impl Fault for NotReady {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }

    fn reason(&self) -> &'static str {
        "NOT_READY"
    }
}

impl Probe {
    /// The service over the latch.
    pub fn new(readiness: Readiness) -> Self {
        Self { readiness }
    }

    fn ready(&self, request: &tonic::Request<Streaming<ReadyRequest>>) -> Result<(), Status> {
        if self.readiness.is_ready() {
            return Ok(());
        }
        let context = request.extensions().get::<CallContext>();
        let id = context.map(|context| context.request_id.to_string()).unwrap_or_default();
        // The parts are named, their reasons stay in the log: they may hold paths.
        let parts: Vec<String> = self
            .readiness
            .reasons()
            .iter()
            .map(|reason| reason.split(':').next().unwrap_or_default().to_owned())
            .collect();
        Err(status::of(&NotReady(parts.join(", ")), &id))
    }
}

impl NamedService for Probe {
    const NAME: &'static str = "hilum.v1.Probe";
}

impl Service<Request<Body>> for Probe {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let probe = self.clone();
        async move {
            if request.uri().path() != "/hilum.v1.Probe/Ready" {
                return Ok(Status::unimplemented("hilum.v1.Probe has one call, Ready").into_http());
            }
            let ready =
                tower::service_fn(move |request: tonic::Request<Streaming<ReadyRequest>>| {
                    let answer = probe.ready(&request);
                    async move { answer.map(|()| tonic::Response::new(ReadyResponse {})) }
                });
            let codec = ProstCodec::<ReadyResponse, ReadyRequest>::default();
            Ok(Grpc::new(codec).client_streaming(ready, request).await)
        }
        .boxed()
    }
}
