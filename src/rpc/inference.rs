//! `inference.GRPCInferenceService`: the Open Inference Protocol over gRPC, with Triton's calls.
//!
//! Each call is taken out of its envelope, answered by the file of its group, and an error becomes a
//! status by the one table.
//! This file must never look into a tensor.

mod models;
mod stream;

use futures::stream::BoxStream;
use prost::Message as _;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use super::edge::{CallContext, context};
use super::{RpcParts, status};
use crate::domain::{Digest, Fault};
use crate::oip::{self, Change, InferAnswer, InferDefaults, InferError, RegionError, Wish};
use crate::pipeline::{IDEMPOTENCY_KEY, Repeatable};
use crate::proto::inference::grpc_inference_service_server::GrpcInferenceService;
use crate::proto::inference::*;
use crate::telemetry::Edge;

/// The scope of keys of `ModelInfer`.
const INFER: &str = "inference.GRPCInferenceService/ModelInfer";

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Inference(RpcParts);

impl Inference {
    /// The service over `parts`.
    pub fn new(parts: &RpcParts) -> Self {
        Self(parts.clone())
    }

    async fn change(
        &self,
        change: Change,
        wish: Wish,
        context: &CallContext,
    ) -> Result<String, Status> {
        let catalog = self.0.pipeline.catalog();
        oip::repository_change(catalog, change, wish, context.is_local)
            .await
            .map_err(|error| status::of(&error, &context.request_id))
    }

    async fn infer(
        &self,
        message: ModelInferRequest,
        context: &CallContext,
    ) -> Result<InferAnswer, InferError> {
        let (deadline, trace) = (context.deadline, context.trace.clone());
        let defaults = InferDefaults { edge: Edge::Grpc, deadline, trace };
        oip::infer(&self.0.pipeline, &self.0.shared_memory, message, defaults).await
    }
}

/// Answers a call that needs no waiting.
fn answer<Q, R, F: Fault>(
    request: Request<Q>,
    call: impl FnOnce(Q) -> Result<R, F>,
) -> Result<Response<R>, Status> {
    let id = context(&request).request_id;
    call(request.into_inner()).map(Response::new).map_err(|error| status::of(&error, &id))
}

#[tonic::async_trait]
impl GrpcInferenceService for Inference {
    async fn server_live(
        &self,
        _: Request<ServerLiveRequest>,
    ) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<ServerReadyRequest>,
    ) -> Result<Response<ServerReadyResponse>, Status> {
        Ok(Response::new(ServerReadyResponse { ready: self.0.readiness.is_ready() }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(oip::server_metadata(&self.0.shared_memory)))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        answer(request, |message| models::ready(self.0.pipeline.catalog(), &message))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        answer(request, |message| models::metadata(self.0.pipeline.catalog(), &message))
    }

    async fn model_config(
        &self,
        request: Request<ModelConfigRequest>,
    ) -> Result<Response<ModelConfigResponse>, Status> {
        answer(request, |message| models::config(self.0.pipeline.catalog(), &message))
    }

    async fn model_statistics(
        &self,
        request: Request<ModelStatisticsRequest>,
    ) -> Result<Response<ModelStatisticsResponse>, Status> {
        let catalog = self.0.pipeline.catalog();
        answer(request, |message| oip::model_statistics(catalog, &message.name, &message.version))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let context = context(&request);
        let key = request.metadata().get(IDEMPOTENCY_KEY).map(|key| key.as_bytes().to_vec());
        let message = request.into_inner();
        let asked = Repeatable::of(INFER, key.as_deref(), || Digest::of(&message.encode_to_vec()));
        let answer = async {
            let asked = asked.inspect_err(|error| self.0.pipeline.refused(Edge::Grpc, error))?;
            let work = self.infer(message, &context);
            self.0.infer_repeats.once(asked, InferAnswer::size, work).await
        };
        let answer: Result<InferAnswer, InferError> = answer.await;
        let answer = answer.map_err(|error| status::of(&error, &context.request_id))?;
        let mut response = Response::new(answer.message);
        let metadata = response.metadata_mut();
        metadata.insert(oip::MODEL_VERSION, MetadataValue::from(answer.version.number()));
        if let Ok(value) = MetadataValue::try_from(oip::server_timing(answer.timing)) {
            metadata.insert(oip::SERVER_TIMING, value);
        }
        Ok(response)
    }

    type ModelStreamInferStream = BoxStream<'static, Result<ModelStreamInferResponse, Status>>;

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Result<Response<Self::ModelStreamInferStream>, Status> {
        let context = context(&request);
        Ok(Response::new(stream::answers(self.clone(), context, request.into_inner())))
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> Result<Response<RepositoryIndexResponse>, Status> {
        Ok(Response::new(oip::repository_index(self.0.pipeline.catalog(), request.get_ref())))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Result<Response<RepositoryModelLoadResponse>, Status> {
        let context = context(&request);
        let RepositoryModelLoadRequest { repository_name: first, model_name: second, parameters } =
            request.into_inner();
        let wish = Wish { first, second, parameters };
        let model_name = self.change(Change::Load, wish, &context).await?;
        Ok(Response::new(RepositoryModelLoadResponse { model_name, is_loaded: true }))
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Result<Response<RepositoryModelUnloadResponse>, Status> {
        let context = context(&request);
        let RepositoryModelUnloadRequest { repository_name: first, model_name: second, parameters } =
            request.into_inner();
        let wish = Wish { first, second, parameters };
        let model_name = self.change(Change::Unload, wish, &context).await?;
        Ok(Response::new(RepositoryModelUnloadResponse { model_name, is_unloaded: true }))
    }

    async fn system_shared_memory_status(
        &self,
        request: Request<SystemSharedMemoryStatusRequest>,
    ) -> Result<Response<SystemSharedMemoryStatusResponse>, Status> {
        answer(request, |message| oip::system_regions(&self.0.shared_memory, &message.name))
    }

    async fn system_shared_memory_register(
        &self,
        request: Request<SystemSharedMemoryRegisterRequest>,
    ) -> Result<Response<SystemSharedMemoryRegisterResponse>, Status> {
        let is_local = context(&request).is_local;
        answer(request, |message| {
            oip::register_region(&self.0.shared_memory, &message, is_local)
                .map(|()| SystemSharedMemoryRegisterResponse {})
        })
    }

    async fn system_shared_memory_unregister(
        &self,
        request: Request<SystemSharedMemoryUnregisterRequest>,
    ) -> Result<Response<SystemSharedMemoryUnregisterResponse>, Status> {
        let is_local = context(&request).is_local;
        answer(request, |message| {
            oip::unregister_regions(&self.0.shared_memory, &message.name, is_local)
                .map(|()| SystemSharedMemoryUnregisterResponse {})
        })
    }

    async fn cuda_shared_memory_status(
        &self,
        request: Request<CudaSharedMemoryStatusRequest>,
    ) -> Result<Response<CudaSharedMemoryStatusResponse>, Status> {
        answer(request, |message| oip::cuda_regions(&message.name))
    }

    async fn cuda_shared_memory_register(
        &self,
        request: Request<CudaSharedMemoryRegisterRequest>,
    ) -> Result<Response<CudaSharedMemoryRegisterResponse>, Status> {
        answer(request, |_| Err(RegionError::NoCuda))
    }

    async fn cuda_shared_memory_unregister(
        &self,
        _: Request<CudaSharedMemoryUnregisterRequest>,
    ) -> Result<Response<CudaSharedMemoryUnregisterResponse>, Status> {
        // Nothing is registered, so that everything is unregistered.
        Ok(Response::new(CudaSharedMemoryUnregisterResponse {}))
    }

    async fn trace_setting(
        &self,
        request: Request<TraceSettingRequest>,
    ) -> Result<Response<TraceSettingResponse>, Status> {
        let (catalog, traces) = (self.0.pipeline.catalog(), &self.0.traces);
        answer(request, |message| oip::trace_settings(catalog, traces, &message))
    }

    async fn log_settings(
        &self,
        request: Request<LogSettingsRequest>,
    ) -> Result<Response<LogSettingsResponse>, Status> {
        let is_local = context(&request).is_local;
        answer(request, |message| oip::log_settings(&message, is_local))
    }
}
