//! `inference.GRPCInferenceService`: the Open Inference Protocol over gRPC.
//!
//! Six calls are the protocol's core; the others are Triton's and are answered with a text that says
//! that they are not served.
//! This file must never look into a tensor.

use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use super::edge::CallContext;
use super::status;
use crate::domain::{ErrorKind, Fault};
use crate::lifecycle::Readiness;
use crate::oip::{self, Change, InferDefaults, Wish};
use crate::pipeline::Pipeline;
use crate::proto::inference::grpc_inference_service_server::GrpcInferenceService;
use crate::proto::inference::*;
use crate::telemetry::{Edge, TraceContext};

/// The service.
#[derive(Debug)]
pub struct Inference {
    pipeline: Pipeline,
    readiness: Readiness,
}

/// A call of the protocol that is not served.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not served by this server")]
struct NotServed(&'static str);

impl Fault for NotServed {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unimplemented
    }
}

impl Inference {
    /// The service over `pipeline`.
    pub fn new(pipeline: Pipeline, readiness: Readiness) -> Self {
        Self { pipeline, readiness }
    }

    async fn change(
        &self,
        change: Change,
        wish: Wish,
        context: &CallContext,
    ) -> Result<String, Status> {
        let catalog = self.pipeline.catalog();
        oip::repository_change(catalog, change, wish, context.is_local)
            .await
            .map_err(|error| status::of(&error, &context.request_id))
    }
}

/// The context that the edge has put beside the message.
fn context<T>(request: &Request<T>) -> CallContext {
    request.extensions().get::<CallContext>().cloned().unwrap_or_else(|| CallContext {
        request_id: "".into(),
        deadline: None,
        is_local: false,
        trace: TraceContext::off(),
    })
}

fn not_served<T, R>(call: &'static str, request: &Request<T>) -> Result<Response<R>, Status> {
    Err(status::of(&NotServed(call), &context(request).request_id))
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
        Ok(Response::new(ServerReadyResponse { ready: self.readiness.is_ready() }))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        let id = context(&request).request_id;
        let ModelReadyRequest { name, version } = request.into_inner();
        let (name, selector) =
            oip::model_selector(&name, &version).map_err(|error| status::of(&error, &id))?;
        let ready = oip::model_ready(self.pipeline.catalog(), &name, selector)
            .map_err(|error| status::of(&error, &id))?;
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(oip::server_metadata()))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let id = context(&request).request_id;
        let ModelMetadataRequest { name, version } = request.into_inner();
        let (name, selector) =
            oip::model_selector(&name, &version).map_err(|error| status::of(&error, &id))?;
        let catalog = self.pipeline.catalog();
        let resolved = catalog.resolve(&name, selector).map_err(|error| status::of(&error, &id))?;
        let models = catalog.models();
        Ok(Response::new(oip::model_metadata(&resolved.version, models.get(&name))))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let CallContext { request_id, deadline, trace, .. } = context(&request);
        let mut message = request.into_inner();
        let caller_id = std::mem::take(&mut message.id);
        let defaults = InferDefaults { edge: Edge::Grpc, deadline, trace };
        let request = oip::infer_request(message, defaults).map_err(|error| {
            self.pipeline.refused(Edge::Grpc, &error);
            status::of(&error, &request_id)
        })?;
        let prediction = self
            .pipeline
            .predict(request)
            .await
            .map_err(|error| status::of(&error, &request_id))?;
        let (version, timing) = (prediction.version, prediction.timing);
        let mut response = Response::new(oip::infer_response(prediction, caller_id));
        let metadata = response.metadata_mut();
        metadata.insert(oip::MODEL_VERSION, MetadataValue::from(version.number()));
        if let Ok(value) = MetadataValue::try_from(oip::server_timing(timing)) {
            metadata.insert(oip::SERVER_TIMING, value);
        }
        Ok(response)
    }

    type ModelStreamInferStream = futures::stream::Empty<Result<ModelStreamInferResponse, Status>>;

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Result<Response<Self::ModelStreamInferStream>, Status> {
        not_served("ModelStreamInfer", &request)
    }

    async fn model_config(
        &self,
        request: Request<ModelConfigRequest>,
    ) -> Result<Response<ModelConfigResponse>, Status> {
        not_served("ModelConfig", &request)
    }

    async fn model_statistics(
        &self,
        request: Request<ModelStatisticsRequest>,
    ) -> Result<Response<ModelStatisticsResponse>, Status> {
        not_served("ModelStatistics", &request)
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> Result<Response<RepositoryIndexResponse>, Status> {
        Ok(Response::new(oip::repository_index(self.pipeline.catalog(), request.get_ref())))
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
        not_served("SystemSharedMemoryStatus", &request)
    }

    async fn system_shared_memory_register(
        &self,
        request: Request<SystemSharedMemoryRegisterRequest>,
    ) -> Result<Response<SystemSharedMemoryRegisterResponse>, Status> {
        not_served("SystemSharedMemoryRegister", &request)
    }

    async fn system_shared_memory_unregister(
        &self,
        request: Request<SystemSharedMemoryUnregisterRequest>,
    ) -> Result<Response<SystemSharedMemoryUnregisterResponse>, Status> {
        not_served("SystemSharedMemoryUnregister", &request)
    }

    async fn cuda_shared_memory_status(
        &self,
        request: Request<CudaSharedMemoryStatusRequest>,
    ) -> Result<Response<CudaSharedMemoryStatusResponse>, Status> {
        not_served("CudaSharedMemoryStatus", &request)
    }

    async fn cuda_shared_memory_register(
        &self,
        request: Request<CudaSharedMemoryRegisterRequest>,
    ) -> Result<Response<CudaSharedMemoryRegisterResponse>, Status> {
        not_served("CudaSharedMemoryRegister", &request)
    }

    async fn cuda_shared_memory_unregister(
        &self,
        request: Request<CudaSharedMemoryUnregisterRequest>,
    ) -> Result<Response<CudaSharedMemoryUnregisterResponse>, Status> {
        not_served("CudaSharedMemoryUnregister", &request)
    }

    async fn trace_setting(
        &self,
        request: Request<TraceSettingRequest>,
    ) -> Result<Response<TraceSettingResponse>, Status> {
        not_served("TraceSetting", &request)
    }

    async fn log_settings(
        &self,
        request: Request<LogSettingsRequest>,
    ) -> Result<Response<LogSettingsResponse>, Status> {
        not_served("LogSettings", &request)
    }
}
