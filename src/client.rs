//! A gRPC client of this service: for `hilum healthcheck` and for users of the library.
//!
//! An address goes in, typed answers come out, each within a bound.
//! This file must never retry on its own: its callers know whether a second try is safe.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::proto::hilum::v1::vision_client::VisionClient;
use crate::proto::hilum::v1::{ClassifyRequest, ClassifyResponse};
use crate::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use crate::proto::inference::{
    ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse,
};

/// A server that cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an address.
    #[error("'{address}' is not an address such as 127.0.0.1:8001: {problem}")]
    Address {
        /// What was given.
        address: String,
        /// Why it is none.
        problem: String,
    },
    /// No connection.
    #[error("no connection to {address} within {bound:?}: {problem}")]
    Connect {
        /// The server.
        address: String,
        /// The bound.
        bound: Duration,
        /// Why.
        problem: String,
    },
    /// The call failed.
    #[error("{address} answered {code:?}: {message}")]
    Call {
        /// The server.
        address: String,
        /// The gRPC status.
        code: tonic::Code,
        /// Its text.
        message: String,
    },
}

impl ClientError {
    /// The gRPC status by its name in UPPER_SNAKE; an address or a connection that failed is
    /// `UNAVAILABLE`. A deadline that passed here, before the server said so, is
    /// `DEADLINE_EXCEEDED`, although tonic calls it cancelled.
    pub fn status(&self) -> &'static str {
        use tonic::Code;
        match self {
            ClientError::Address { .. } | ClientError::Connect { .. } => "UNAVAILABLE",
            ClientError::Call { code, message, .. } => match code {
                Code::Ok => "OK",
                Code::Cancelled if message == TIMED_OUT => "DEADLINE_EXCEEDED",
                Code::Cancelled => "CANCELLED",
                Code::Unknown => "UNKNOWN",
                Code::InvalidArgument => "INVALID_ARGUMENT",
                Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
                Code::NotFound => "NOT_FOUND",
                Code::AlreadyExists => "ALREADY_EXISTS",
                Code::PermissionDenied => "PERMISSION_DENIED",
                Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
                Code::FailedPrecondition => "FAILED_PRECONDITION",
                Code::Aborted => "ABORTED",
                Code::OutOfRange => "OUT_OF_RANGE",
                Code::Unimplemented => "UNIMPLEMENTED",
                Code::Internal => "INTERNAL",
                Code::Unavailable => "UNAVAILABLE",
                Code::DataLoss => "DATA_LOSS",
                Code::Unauthenticated => "UNAUTHENTICATED",
            },
        }
    }
}

/// tonic's text for a deadline that passed in its channel.
const TIMED_OUT: &str = "Timeout expired";

/// A connection to one server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    address: String,
    channel: Channel,
}

impl Client {
    /// Connects to `address` (`host:port`); the connection and each call take at most `bound`.
    ///
    /// # Errors
    /// [`ClientError::Address`] or [`ClientError::Connect`].
    pub async fn connect(address: &str, bound: Duration) -> Result<Self, ClientError> {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| {
            ClientError::Address { address: address.to_owned(), problem: error.to_string() }
        })?;
        let failed = |problem| ClientError::Connect { address: address.to_owned(), bound, problem };
        let endpoint = endpoint.connect_timeout(bound).timeout(bound).tcp_nodelay(true);
        let channel = tokio::time::timeout(bound, endpoint.connect())
            .await
            .map_err(|_| failed("nothing answered".to_owned()))?
            .map_err(|error| failed(root_cause(&error)))?;
        Ok(Self { address: address.to_owned(), channel })
    }

    /// Whether a service (a model's name, or "" for the server) is SERVING.
    ///
    /// # Errors
    /// [`ClientError::Call`].
    pub async fn is_serving(&self, service: &str) -> Result<bool, ClientError> {
        let request = HealthCheckRequest { service: service.to_owned() };
        let response = HealthClient::new(self.channel.clone()).check(request).await;
        let status = response.map_err(|status| self.failed(&status))?.into_inner().status();
        Ok(status == ServingStatus::Serving)
    }

    /// What a model takes and gives; an empty `version` means the champion.
    ///
    /// # Errors
    /// [`ClientError::Call`].
    pub async fn metadata(
        &self,
        name: &str,
        version: &str,
    ) -> Result<ModelMetadataResponse, ClientError> {
        let request = ModelMetadataRequest { name: name.to_owned(), version: version.to_owned() };
        let mut stub = GrpcInferenceServiceClient::new(self.channel.clone());
        let response = stub.model_metadata(request).await;
        response.map(tonic::Response::into_inner).map_err(|status| self.failed(&status))
    }

    /// One inference. `deadline` goes along as `grpc-timeout` and bounds the wait here too.
    ///
    /// # Errors
    /// [`ClientError::Call`].
    pub async fn infer(
        &self,
        message: ModelInferRequest,
        deadline: Option<Duration>,
    ) -> Result<ModelInferResponse, ClientError> {
        let mut request = tonic::Request::new(message);
        if let Some(deadline) = deadline {
            request.set_timeout(deadline);
        }
        let response = self.inference(usize::MAX).model_infer(request).await;
        response.map(tonic::Response::into_inner).map_err(|status| self.failed(&status))
    }

    /// The answer about one image. `deadline` as in [`Client::infer`].
    ///
    /// # Errors
    /// [`ClientError::Call`].
    pub async fn classify(
        &self,
        message: ClassifyRequest,
        deadline: Option<Duration>,
    ) -> Result<ClassifyResponse, ClientError> {
        let mut request = tonic::Request::new(message);
        if let Some(deadline) = deadline {
            request.set_timeout(deadline);
        }
        let mut stub = VisionClient::new(self.channel.clone())
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        let response = stub.classify(request).await;
        response.map(tonic::Response::into_inner).map_err(|status| self.failed(&status))
    }

    /// The Open Inference Protocol's stub; messages up to `max_message_bytes` both ways.
    pub fn inference(&self, max_message_bytes: usize) -> GrpcInferenceServiceClient<Channel> {
        GrpcInferenceServiceClient::new(self.channel.clone())
            .max_decoding_message_size(max_message_bytes)
            .max_encoding_message_size(max_message_bytes)
    }

    fn failed(&self, status: &tonic::Status) -> ClientError {
        ClientError::Call {
            address: self.address.clone(),
            code: status.code(),
            message: status.message().to_owned(),
        }
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), root_cause)
}
