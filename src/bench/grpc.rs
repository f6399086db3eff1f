//! The Open Inference Protocol over gRPC.
//!
//! A few connections, over which the callers are spread; raw contents.
//! This file must never hold more of an answer than its status and its number of rows.

use std::borrow::Cow;
use std::time::Duration;

use super::{Answered, BenchError, ModelInput, Transport};
use crate::client::Client;
use crate::domain::TensorSpec;
use crate::pipeline::NamedTensor;
use crate::proto::inference::ModelInferRequest;
use crate::proto::inference::model_infer_request::InferInputTensor;

/// Connections to one server.
#[derive(Debug, Clone)]
pub struct GrpcTransport {
    clients: Vec<Client>,
}

impl GrpcTransport {
    /// Opens `connections` connections (at least one) to `address` (`host:port`); opening and each
    /// call take at most `bound`.
    ///
    /// # Errors
    /// [`BenchError::Client`].
    pub async fn connect(
        address: &str,
        connections: usize,
        bound: Duration,
    ) -> Result<Self, BenchError> {
        let mut clients = Vec::with_capacity(connections.max(1));
        for _ in 0..connections.max(1) {
            clients.push(Client::connect(address, bound).await?);
        }
        Ok(Self { clients })
    }

    fn client(&self, caller: usize) -> &Client {
        &self.clients[caller % self.clients.len()]
    }
}

impl Transport for GrpcTransport {
    type Message = ModelInferRequest;

    fn name(&self) -> &'static str {
        "grpc"
    }

    async fn inputs(&self, model: &str, version: &str) -> Result<Vec<ModelInput>, BenchError> {
        let metadata = self.client(0).metadata(model, version).await?;
        metadata
            .inputs
            .into_iter()
            .map(|input| {
                let datatype = input.datatype.parse().map_err(|error| {
                    BenchError::Input(format!("input '{}' of the model: {error}", input.name))
                })?;
                Ok(TensorSpec { name: input.name, datatype, shape: input.shape })
            })
            .collect()
    }

    fn message(
        &self,
        model: &str,
        version: &str,
        inputs: Vec<NamedTensor>,
    ) -> Result<ModelInferRequest, BenchError> {
        let mut message = ModelInferRequest {
            model_name: model.to_owned(),
            model_version: version.to_owned(),
            ..Default::default()
        };
        for NamedTensor { name, tensor } in inputs {
            message.inputs.push(InferInputTensor {
                name,
                datatype: tensor.datatype.name().to_owned(),
                shape: tensor.shape.iter().map(|dim| *dim as i64).collect(),
                ..Default::default()
            });
            message.raw_input_contents.push(tensor.data);
        }
        Ok(message)
    }

    async fn send(
        &self,
        caller: usize,
        message: &ModelInferRequest,
        deadline: Option<Duration>,
    ) -> Answered {
        let sent = first_dimension(message.inputs.first().map(|input| &input.shape[..]));
        let answer = self
            .client(caller)
            .infer(message.clone(), deadline)
            .await
            .map_err(|error| Cow::Borrowed(error.status()))?;
        let came = first_dimension(answer.outputs.first().map(|output| &output.shape[..]));
        if came == sent { Ok(()) } else { Err(Cow::Borrowed("WRONG_NUMBER_OF_ROWS")) }
    }
}

fn first_dimension(shape: Option<&[i64]>) -> Option<i64> {
    shape.and_then(|shape| shape.first().copied())
}
