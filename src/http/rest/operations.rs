//! Every operation: its path, its handler, what it takes and gives.
//!
//! This file must never describe what the handler beside the words does not do.

use axum::routing::{MethodRouter, get, post};

use super::{document, extensions, infer, models, predict};
use crate::http::ApiParts;
use crate::oip::json::extensions::{CUDA_REGION, LOG_SETTINGS, REGION, TRACE_SETTINGS};
use crate::oip::json::{INFER_REQUEST, INFER_RESPONSE};

/// One operation.
pub struct Operation {
    /// The method, in lower case as OpenAPI has it.
    pub method: &'static str,
    /// The path with its parameters in braces.
    pub path: &'static str,
    /// A name that no other operation has.
    pub id: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// The schema of the request's body.
    pub takes: Option<Schema>,
    /// The schema of the answer.
    pub gives: Schema,
    /// Whether 503 says the same with `false`.
    pub is_probe: bool,
    /// What serves it.
    pub handler: fn() -> MethodRouter<ApiParts>,
}

/// What a body is.
#[derive(Debug, Clone, Copy)]
pub enum Schema {
    /// A message of `proto/`, by its full name.
    Message(&'static str),
    /// A list of such a message.
    List(&'static str),
    /// A schema of this name among those of an inference; JSON and binary tensor data.
    Infer(&'static str),
    /// A schema of this name among those of Triton's extensions.
    Extension(&'static str),
    /// Triton's parameters of a load.
    Parameters,
    /// A file of an image, or a form with one.
    Image,
    /// Any object.
    Object,
}

const fn read(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    gives: Schema,
    handler: fn() -> MethodRouter<ApiParts>,
) -> Operation {
    let is_probe = false;
    Operation { method: "get", path, id, summary, takes: None, gives, is_probe, handler }
}

const fn probe(operation: Operation) -> Operation {
    Operation { is_probe: true, ..operation }
}

const fn act(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    takes: Schema,
    gives: Schema,
    handler: fn() -> MethodRouter<ApiParts>,
) -> Operation {
    let (takes, is_probe) = (Some(takes), false);
    Operation { method: "post", path, id, summary, takes, gives, is_probe, handler }
}

/// An action that takes no body.
const fn bare(operation: Operation) -> Operation {
    Operation { takes: None, ..operation }
}

const METADATA: Schema = Schema::Message("inference.ModelMetadataResponse");
const READY: Schema = Schema::Message("inference.ModelReadyResponse");
const CONFIG: Schema = Schema::Message("inference.ModelConfig");
const STATISTICS: Schema = Schema::Message("inference.ModelStatisticsResponse");
const REQUEST: Schema = Schema::Infer(INFER_REQUEST);
const REGIONS: Schema = Schema::List("inference.SystemSharedMemoryStatusResponse.RegionStatus");
const CUDA_REGIONS: Schema = Schema::List("inference.CudaSharedMemoryStatusResponse.RegionStatus");
const LOGGING: Schema = Schema::Extension(LOG_SETTINGS);
const TRACING: Schema = Schema::Extension(TRACE_SETTINGS);
const RESPONSE: Schema = Schema::Infer(INFER_RESPONSE);

/// All of them.
pub static OPERATIONS: &[Operation] = &[
    read(
        "/v2",
        "serverMetadata",
        "What this server is and can do",
        Schema::Message("inference.ServerMetadataResponse"),
        || get(models::server),
    ),
    read(
        "/v2/health/live",
        "serverLive",
        "Whether the server runs",
        Schema::Message("inference.ServerLiveResponse"),
        || get(models::live),
    ),
    probe(read(
        "/v2/health/ready",
        "serverReady",
        "Whether the server and every model's default version can answer",
        Schema::Message("inference.ServerReadyResponse"),
        || get(models::ready),
    )),
    read(
        "/v2/models/{model}",
        "modelMetadata",
        "What a model's default version takes and gives",
        METADATA,
        || get(models::metadata),
    ),
    read(
        "/v2/models/{model}/versions/{version}",
        "modelVersionMetadata",
        "What a version takes and gives",
        METADATA,
        || get(models::metadata),
    ),
    probe(read(
        "/v2/models/{model}/ready",
        "modelReady",
        "Whether a model's default version can answer",
        READY,
        || get(models::model_ready),
    )),
    probe(read(
        "/v2/models/{model}/versions/{version}/ready",
        "modelVersionReady",
        "Whether a version can answer",
        READY,
        || get(models::model_ready),
    )),
    read(
        "/v2/models/{model}/config",
        "modelConfig",
        "How a model's default version is configured",
        CONFIG,
        || get(models::config),
    ),
    read(
        "/v2/models/{model}/versions/{version}/config",
        "modelVersionConfig",
        "How a version is configured",
        CONFIG,
        || get(models::config),
    ),
    read(
        "/v2/models/stats",
        "statistics",
        "What every version has answered and how long it took",
        STATISTICS,
        || get(models::statistics),
    ),
    read(
        "/v2/models/{model}/stats",
        "modelStatistics",
        "What a model's versions have answered and how long it took",
        STATISTICS,
        || get(models::statistics),
    ),
    read(
        "/v2/models/{model}/versions/{version}/stats",
        "modelVersionStatistics",
        "What a version has answered and how long it took",
        STATISTICS,
        || get(models::statistics),
    ),
    act(
        "/v2/models/{model}/infer",
        "modelInfer",
        "Predict with a model's default version",
        REQUEST,
        RESPONSE,
        || post(infer::infer),
    ),
    act(
        "/v2/models/{model}/versions/{version}/infer",
        "modelVersionInfer",
        "Predict with a version",
        REQUEST,
        RESPONSE,
        || post(infer::infer),
    ),
    act(
        "/api/v1/predict",
        "predict",
        "Answer an image (PNG, JPEG or DICOM), with the reasons for the answer if they are asked for",
        Schema::Image,
        Schema::Message("hilum.v1.ClassifyResponse"),
        || post(predict::predict),
    ),
    act(
        "/v2/repository/index",
        "repositoryIndex",
        "Every version with its state and the reason for it",
        Schema::Message("inference.RepositoryIndexRequest"),
        Schema::List("inference.RepositoryIndexResponse.ModelIndex"),
        || post(models::index),
    ),
    act(
        "/v2/repository/models/{model}/load",
        "repositoryModelLoad",
        "Load what the models' folder has of a model; from this machine, with model control only",
        Schema::Parameters,
        Schema::Message("inference.RepositoryModelLoadResponse"),
        || post(models::load),
    ),
    act(
        "/v2/repository/models/{model}/unload",
        "repositoryModelUnload",
        "Take a model away; from this machine, with model control only",
        Schema::Parameters,
        Schema::Message("inference.RepositoryModelUnloadResponse"),
        || post(models::unload),
    ),
    read(
        "/v2/systemsharedmemory/status",
        "systemSharedMemoryStatus",
        "The registered regions of system shared memory",
        REGIONS,
        || get(extensions::regions),
    ),
    read(
        "/v2/systemsharedmemory/region/{region}/status",
        "systemSharedMemoryRegionStatus",
        "A registered region",
        REGIONS,
        || get(extensions::regions),
    ),
    act(
        "/v2/systemsharedmemory/region/{region}/register",
        "systemSharedMemoryRegister",
        "Register a part of a shared memory object; from this machine, unless it is allowed to all",
        Schema::Extension(REGION),
        Schema::Object,
        || post(extensions::register),
    ),
    bare(act(
        "/v2/systemsharedmemory/region/{region}/unregister",
        "systemSharedMemoryRegionUnregister",
        "Forget a region; one that is not there is forgotten already",
        Schema::Object,
        Schema::Object,
        || post(extensions::unregister),
    )),
    bare(act(
        "/v2/systemsharedmemory/unregister",
        "systemSharedMemoryUnregister",
        "Forget all regions",
        Schema::Object,
        Schema::Object,
        || post(extensions::unregister),
    )),
    read(
        "/v2/cudasharedmemory/status",
        "cudaSharedMemoryStatus",
        "CUDA's regions, of which there are none",
        CUDA_REGIONS,
        || get(extensions::cuda_regions),
    ),
    read(
        "/v2/cudasharedmemory/region/{region}/status",
        "cudaSharedMemoryRegionStatus",
        "A region of CUDA, which is not there",
        CUDA_REGIONS,
        || get(extensions::cuda_regions),
    ),
    act(
        "/v2/cudasharedmemory/region/{region}/register",
        "cudaSharedMemoryRegister",
        "Declined: CUDA shared memory is not served",
        Schema::Extension(CUDA_REGION),
        Schema::Object,
        || post(extensions::cuda_register),
    ),
    bare(act(
        "/v2/cudasharedmemory/region/{region}/unregister",
        "cudaSharedMemoryRegionUnregister",
        "Nothing is registered, so that this succeeds",
        Schema::Object,
        Schema::Object,
        || post(extensions::cuda_unregister),
    )),
    bare(act(
        "/v2/cudasharedmemory/unregister",
        "cudaSharedMemoryUnregister",
        "Nothing is registered, so that this succeeds",
        Schema::Object,
        Schema::Object,
        || post(extensions::cuda_unregister),
    )),
    read("/v2/logging", "logSettings", "The log settings", LOGGING, || {
        get(extensions::log_settings)
    }),
    act(
        "/v2/logging",
        "setLogSettings",
        "Change the log's level for the whole process; from this machine",
        LOGGING,
        LOGGING,
        || post(extensions::set_log_settings),
    ),
    read("/v2/trace/setting", "traceSettings", "What is traced", TRACING, || {
        get(extensions::trace_settings)
    }),
    act(
        "/v2/trace/setting",
        "setTraceSettings",
        "Refused but for what the settings are: the configuration sets them at start",
        TRACING,
        TRACING,
        || post(extensions::set_trace_settings),
    ),
    read(
        "/v2/models/{model}/trace/setting",
        "modelTraceSettings",
        "What is traced of a model: as of all",
        TRACING,
        || get(extensions::trace_settings),
    ),
    act(
        "/v2/models/{model}/trace/setting",
        "setModelTraceSettings",
        "Refused but for what the settings are: the configuration sets them at start",
        TRACING,
        TRACING,
        || post(extensions::set_trace_settings),
    ),
    read("/openapi.json", "openapi", "This document", Schema::Object, || get(document::serve)),
];
