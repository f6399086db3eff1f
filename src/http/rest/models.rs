//! What the server and its models say about themselves, and models that come and go.
//!
//! Each answer is the message that gRPC has, as JSON.
//! This file must never answer what the gRPC call beside it would not.

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use serde_json::Value;

use super::{Target, body};
use crate::domain::Fault;
use crate::http::ApiParts;
use crate::http::call::{Call, HttpFault, Refusal};
use crate::oip::json::{from_json, to_json};
use crate::oip::{self, Change, Served, Wish};
use crate::proto::inference::{
    ModelReadyResponse, RepositoryIndexRequest, RepositoryModelLoadResponse,
    RepositoryModelUnloadResponse, ServerLiveResponse, ServerReadyResponse,
};

type Answer = Result<Json<Value>, Refusal>;

/// The version that a target names.
fn resolved(parts: &ApiParts, call: &Call, target: &Target) -> Result<Served, Refusal> {
    oip::loaded(parts.pipeline.catalog(), &target.model, &target.version)
        .map_err(|error| Refusal::of(&error, &call.request_id))
}

fn named(target: Result<Target, HttpFault>, call: &Call) -> Result<Target, Refusal> {
    target.map_err(|fault| Refusal::of(&fault, &call.request_id))
}

/// 200 and true, or 503 and false.
fn ready_status(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// The server.
pub async fn server(State(parts): State<ApiParts>) -> Json<Value> {
    Json(to_json(&oip::server_metadata(&parts.memory)))
}

/// Whether the server runs.
pub async fn live() -> Json<Value> {
    Json(to_json(&ServerLiveResponse { live: true }))
}

/// Whether the server is ready.
pub async fn ready(State(parts): State<ApiParts>) -> (StatusCode, Json<Value>) {
    let ready = parts.readiness.is_ready();
    (ready_status(ready), Json(to_json(&ServerReadyResponse { ready })))
}

/// What a model takes and gives.
pub async fn metadata(
    State(parts): State<ApiParts>,
    Extension(call): Extension<Call>,
    target: Result<Target, HttpFault>,
) -> Answer {
    let target = named(target, &call)?;
    let served = resolved(&parts, &call, &target)?;
    let models = parts.pipeline.catalog().models();
    Ok(Json(to_json(&oip::model_metadata(&served, models.get(&served.version.name)))))
}

/// How a model is configured, as Triton says it.
pub async fn config(
    State(parts): State<ApiParts>,
    Extension(call): Extension<Call>,
    target: Result<Target, HttpFault>,
) -> Answer {
    let target = named(target, &call)?;
    let served = resolved(&parts, &call, &target)?;
    Ok(Json(to_json(&oip::model_config(&served))))
}

/// What a model's versions, or all versions, have answered and how long it took.
pub async fn statistics(
    State(parts): State<ApiParts>,
    Extension(call): Extension<Call>,
    target: Result<Target, HttpFault>,
) -> Answer {
    let target = named(target, &call)?;
    let catalog = parts.pipeline.catalog();
    let statistics = oip::model_statistics(catalog, &target.model, &target.version)
        .map_err(|error| Refusal::of(&error, &call.request_id))?;
    Ok(Json(to_json(&statistics)))
}

/// Whether a model answers.
pub async fn model_ready(
    State(parts): State<ApiParts>,
    Extension(call): Extension<Call>,
    target: Result<Target, HttpFault>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let refused = |fault: &dyn Fault| Refusal::of(fault, &call.request_id);
    let target = named(target, &call)?;
    let (name, version) =
        oip::model_selector(&target.model, &target.version).map_err(|error| refused(&error))?;
    let ready = oip::model_ready(parts.pipeline.catalog(), &name, version)
        .map_err(|error| refused(&error))?;
    Ok((ready_status(ready), Json(to_json(&ModelReadyResponse { ready }))))
}

/// Every version with its state: a list, as Triton has it.
pub async fn index(
    State(parts): State<ApiParts>,
    Extension(call): Extension<Call>,
    request: Request,
) -> Answer {
    let refused = |fault: &dyn Fault| Refusal::of(fault, &call.request_id);
    let (head, body) = request.into_parts();
    let body =
        body::read(&head.headers, body, parts.body).await.map_err(|fault| refused(&fault))?;
    let request: RepositoryIndexRequest = from_json(&body).map_err(|error| refused(&error))?;
    let index = oip::repository_index(parts.pipeline.catalog(), &request);
    Ok(Json(index.models.iter().map(to_json).collect()))
}

/// Loads what the models' folder has of a model.
pub async fn load(
    State(parts): State<ApiParts>,
    Extension(call): Extension<Call>,
    target: Result<Target, HttpFault>,
    request: Request,
) -> Answer {
    let model_name = change(Change::Load, &parts, &call, target, request).await?;
    Ok(Json(to_json(&RepositoryModelLoadResponse { model_name, is_loaded: true })))
}

/// Takes a model away.
pub async fn unload(
    State(parts): State<ApiParts>,
    Extension(call): Extension<Call>,
    target: Result<Target, HttpFault>,
    request: Request,
) -> Answer {
    let model_name = change(Change::Unload, &parts, &call, target, request).await?;
    Ok(Json(to_json(&RepositoryModelUnloadResponse { model_name, is_unloaded: true })))
}

async fn change(
    change: Change,
    parts: &ApiParts,
    call: &Call,
    target: Result<Target, HttpFault>,
    request: Request,
) -> Result<String, Refusal> {
    let refused = |fault: &dyn Fault| Refusal::of(fault, &call.request_id);
    let target = named(target, call)?;
    let (head, body) = request.into_parts();
    let body =
        body::read(&head.headers, body, parts.body).await.map_err(|fault| refused(&fault))?;
    let parameters = oip::json::repository_parameters(&body).map_err(|error| refused(&error))?;
    let wish = Wish { first: String::new(), second: target.model, parameters };
    let catalog = parts.pipeline.catalog();
    oip::repository_change(catalog, change, wish, call.is_local)
        .await
        .map_err(|error| refused(&error))
}
