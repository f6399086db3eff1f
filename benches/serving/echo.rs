//! A tonic server that reads a `ModelInferRequest` and answers with the same message every time.
//!
//! What is left of a service when nothing is served: transport, framing, protobuf.
//! This file must never use a part of hilum beyond the generated messages.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, Ready, ready};
use hilum::proto::inference::{ModelInferRequest, ModelInferResponse};
use prost::Message as _;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};

use crate::Failure;

/// Serves on `port` until it is killed.
pub fn serve(port: u16, answer: Vec<u8>) -> Result<(), Failure> {
    let answer = ModelInferResponse::decode(answer.as_slice())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        tonic::transport::Server::builder()
            .tcp_nodelay(true)
            .add_service(Echo(answer))
            .serve(([127, 0, 0, 1], port).into())
            .await
    })?;
    Ok(())
}

#[derive(Clone)]
struct Echo(ModelInferResponse);

impl NamedService for Echo {
    const NAME: &'static str = "inference.GRPCInferenceService";
}

impl UnaryService<ModelInferRequest> for Echo {
    type Response = ModelInferResponse;
    type Future = Ready<Result<Response<ModelInferResponse>, Status>>;

    fn call(&mut self, request: Request<ModelInferRequest>) -> Self::Future {
        std::hint::black_box(request.into_inner());
        ready(Ok(Response::new(self.0.clone())))
    }
}

impl tower::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            let codec = tonic_prost::ProstCodec::default();
            Ok(Grpc::new(codec).unary(echo, request).await)
        })
    }
}
