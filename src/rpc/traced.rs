//! The server span of a call: named after the method it is for, ended by the status it ends with.
//!
//! The status of a call stands in its trailers, so the span goes with the answer's body.
//! This file must never name a span after a path that no service has.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use prost_reflect::DescriptorPool;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::lifecycle::Clock;
use crate::proto::DESCRIPTORS;
use crate::telemetry::traces::{ServerCall, ServerOutcome, ServerSpan};
use crate::telemetry::{TraceStep, Traces};

/// Packages whose calls are probes: they join a trace and begin none.
const PROBES: [&str; 3] = ["grpc.health.", "grpc.reflection.", "hilum.v1.Probe"];

/// The methods of all services, by their path.
#[derive(Debug, Clone)]
pub struct Methods(Arc<HashMap<String, Method>>);

#[derive(Debug)]
struct Method {
    service: String,
    method: String,
    is_probe: bool,
}

impl Methods {
    /// The methods of the compiled descriptors.
    ///
    /// # Errors
    /// When they cannot be read: a bug of the build.
    pub fn compiled() -> Result<Self, prost_reflect::DescriptorError> {
        let mut methods = HashMap::new();
        let sets = [
            DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        for set in sets {
            for service in DescriptorPool::decode(set)?.services() {
                let name = service.full_name();
                let is_probe = PROBES.iter().any(|probe| name.starts_with(probe));
                for method in service.methods() {
                    let (service, method) = (name.to_owned(), method.name().to_owned());
                    let path = format!("/{service}/{method}");
                    methods.insert(path, Method { service, method, is_probe });
                }
            }
        }
        Ok(Self(Arc::new(methods)))
    }

    /// Begins the span of a request that came at `now`.
    pub fn begin<B>(&self, traces: &Traces, request: &Request<B>, now: Instant) -> ServerSpan {
        let headers = request.headers();
        match self.0.get(request.uri().path()) {
            Some(Method { service, method, is_probe }) => {
                let call = ServerCall::Grpc { service, method };
                match is_probe {
                    true => traces.join(call, headers, now),
                    false => traces.begin(call, headers, now),
                }
            }
            None => traces.begin(ServerCall::UnknownGrpc, headers, now),
        }
    }
}

/// Ends `span` with the answer: now if the status is there, else when its body ends.
pub fn answered(
    response: Response<Body>,
    span: ServerSpan,
    clock: &Arc<dyn Clock>,
) -> Response<Body> {
    if !span.context().is_on() {
        return response;
    }
    if let Some(status) = Status::from_header_map(response.headers()) {
        span.end(ServerOutcome::Grpc(status.code().into()));
        return response;
    }
    let clock = Arc::clone(clock);
    let encoding = Some(clock.now());
    response.map(|inner| Body::new(TracedBody { inner, span: Some(span), encoding, clock }))
}

/// A body that ends the span of its call.
struct TracedBody {
    inner: Body,
    span: Option<ServerSpan>,
    /// When the encoding of the first message began, until it is done.
    encoding: Option<Instant>,
    clock: Arc<dyn Clock>,
}

impl TracedBody {
    fn end(&mut self, code: Code) {
        if let Some(span) = self.span.take() {
            span.end(ServerOutcome::Grpc(code.into()));
        }
    }

    fn seen(&mut self, frame: &Frame<Bytes>) {
        if let Some(trailers) = frame.trailers_ref() {
            self.end(code_of(trailers));
        } else if let (Some(begun), Some(span)) = (self.encoding.take(), &self.span) {
            span.context().step(TraceStep::Encode, begun, self.clock.now());
        }
    }
}

fn code_of(trailers: &HeaderMap) -> Code {
    Status::from_header_map(trailers).map_or(Code::Unknown, |status| status.code())
}

impl http_body::Body for TracedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => self.seen(frame),
            Some(Err(status)) => self.end(status.code()),
            None => self.end(Code::Unknown),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_of_the_descriptors_is_known_by_its_path() {
        let methods = Methods::compiled().unwrap();
        let infer = &methods.0["/inference.GRPCInferenceService/ModelInfer"];
        assert_eq!(
            (infer.service.as_str(), infer.is_probe),
            ("inference.GRPCInferenceService", false)
        );
        for probe in [
            "/grpc.health.v1.Health/Check",
            "/hilum.v1.Probe/Ready",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        ] {
            assert!(methods.0[probe].is_probe, "{probe}");
        }
    }
}
