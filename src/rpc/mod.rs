//! The gRPC edge: tonic services over the pipeline.
//!
//! A message is parsed, predicted and answered; an error becomes a status by the one table.
//! This room must never decide anything about a prediction.

mod edge;
mod health;
mod inference;
mod probe;
mod status;
mod traced;
mod vision;
mod web;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;

use crate::lifecycle::{Clock, Readiness, Shutdown};
use crate::oip::InferAnswer;
use crate::pipeline::{Idempotency, Pipeline};
use crate::proto::DESCRIPTORS;
use crate::proto::hilum::v1::ClassifyResponse;
use crate::proto::hilum::v1::vision_server::VisionServer;
use crate::proto::inference::grpc_inference_service_server::GrpcInferenceServiceServer;
use crate::shared_memory::SharedMemory;
use crate::telemetry::Traces;

pub use edge::GrpcEdge;
pub use web::{GrpcWeb, grpc_web};

/// What the services share.
#[derive(Debug, Clone)]
pub struct RpcParts {
    /// The one way to a prediction.
    pub pipeline: Pipeline,
    /// Whether the service is ready.
    pub readiness: Readiness,
    /// The stages of the end.
    pub shutdown: Shutdown,
    /// The source of time.
    pub clock: Arc<dyn Clock>,
    /// Bytes of a message, both ways.
    pub max_message_bytes: usize,
    /// How messages may be packed, both ways.
    pub compression: Vec<Compression>,
    /// Requests of one stream that run at a time, at least 1.
    pub max_stream_inflight: usize,
    /// Answers for repeats with the same key.
    pub repeats: Idempotency<ClassifyResponse>,
    /// The same for `ModelInfer`.
    pub infer_repeats: Idempotency<InferAnswer>,
    /// The regions of callers on this machine.
    pub shared_memory: SharedMemory,
    /// Where spans go.
    pub traces: Traces,
}

/// How a gRPC message is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl From<Compression> for CompressionEncoding {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::Gzip => CompressionEncoding::Gzip,
            Compression::Zstd => CompressionEncoding::Zstd,
        }
    }
}

/// Descriptors that reflection cannot serve: a bug of the build.
#[derive(Debug, thiserror::Error)]
pub enum ReflectionError {
    /// For reflection.
    #[error("gRPC reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// For the names of spans.
    #[error("the descriptors of the gRPC services: {0}")]
    Descriptors(#[from] prost_reflect::DescriptorError),
}

/// All services behind the edge's layer.
///
/// # Errors
/// When the compiled descriptors cannot be read.
pub fn service(parts: &RpcParts) -> Result<GrpcEdge, ReflectionError> {
    let limit = parts.max_message_bytes;
    let inference = GrpcInferenceServiceServer::new(inference::Inference::new(parts))
        .max_decoding_message_size(limit)
        .max_encoding_message_size(limit);
    let inference = parts.compression.iter().fold(inference, |service, packed| {
        service.accept_compressed((*packed).into()).send_compressed((*packed).into())
    });
    let vision = VisionServer::new(vision::Vision::new(parts))
        .max_decoding_message_size(limit)
        .max_encoding_message_size(limit);
    let vision = parts.compression.iter().fold(vision, |service, packed| {
        service.accept_compressed((*packed).into()).send_compressed((*packed).into())
    });
    let catalog = parts.pipeline.catalog().clone();
    let health = health::Health::new(parts.readiness.clone(), catalog, parts.shutdown.clone());
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(inference)
        .add_service(vision)
        .add_service(probe::Probe::new(parts.readiness.clone()))
        .add_service(HealthServer::new(health))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .prepare();
    Ok(GrpcEdge::new(routes, traced::Methods::compiled()?, parts))
}
