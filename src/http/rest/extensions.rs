//! Triton's shared-memory regions, log settings and trace settings, under the paths that it has.
//!
//! Each answer says what the gRPC call beside it says, in Triton's JSON.
//! This file must never change anything for a caller whom the gRPC call would refuse.

use axum::Json;
use axum::extract::{Extension, FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use serde_json::{Value, json};

use super::{Target, body};
use crate::domain::Fault;
use crate::http::ApiParts;
use crate::http::call::{Call, HttpFault, Refusal};
use crate::oip::json::extensions as json_of;
use crate::oip::{self, RegionError};
use crate::proto::inference::{LogSettingsRequest, LogSettingsResponse, TraceSettingRequest};

type Answer = Result<Json<Value>, Refusal>;

/// The region of a path; none is the empty text, which means all.
#[derive(Debug, Clone)]
pub struct Region(String);

impl<S: Send + Sync> FromRequestParts<S> for Region {
    type Rejection = HttpFault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpFault> {
        let found = RawPathParams::from_request_parts(parts, state).await;
        let found = found.map_err(|_| HttpFault::Path)?;
        Ok(Self(found.iter().next().map_or_else(String::new, |(_, name)| name.to_owned())))
    }
}

impl Call {
    fn refused(&self, fault: &dyn Fault) -> Refusal {
        Refusal::of(fault, &self.request_id)
    }
}

/// Triton's answer to a call that gives nothing back.
fn done() -> Json<Value> {
    Json(json!({}))
}

async fn whole_body(
    parts: &ApiParts,
    call: &Call,
    request: Request,
) -> Result<bytes::Bytes, Refusal> {
    let (head, body) = request.into_parts();
    body::read(&head.headers, body, parts.body).await.map_err(|fault| call.refused(&fault))
}

/// The regions of system shared memory, or one of them.
pub async fn regions(
    State(parts): State<ApiParts>,
    Extension(call): Extension<Call>,
    region: Result<Region, HttpFault>,
) -> Answer {
    let Region(name) = region.map_err(|fault| call.refused(&fault))?;
    let status = oip::system_regions(&parts.memory, &name).map_err(|error| call.refused(&error))?;
    Ok(Json(json_of::regions_to_json(&status)))
}

/// Registers a region.
pub async fn register(
    State(parts): State<ApiParts>,
    Extension(call): Extension<Call>,
    region: Result<Region, HttpFault>,
    request: Request,
) -> Answer {
    let Region(name) = region.map_err(|fault| call.refused(&fault))?;
    let body = whole_body(&parts, &call, request).await?;
    let message = json_of::region_from_json(&body, &name).map_err(|error| call.refused(&error))?;
    oip::register_region(&parts.memory, &message, call.is_local)
        .map_err(|error| call.refused(&error))?;
    Ok(done())
}

/// Forgets a region, or all.
pub async fn unregister(
    State(parts): State<ApiParts>,
    Extension(call): Extension<Call>,
    region: Result<Region, HttpFault>,
) -> Answer {
    let Region(name) = region.map_err(|fault| call.refused(&fault))?;
    oip::unregister_regions(&parts.memory, &name, call.is_local)
        .map_err(|error| call.refused(&error))?;
    Ok(done())
}

/// CUDA's regions, of which there are none.
pub async fn cuda_regions(
    Extension(call): Extension<Call>,
    region: Result<Region, HttpFault>,
) -> Answer {
    let Region(name) = region.map_err(|fault| call.refused(&fault))?;
    let status = oip::cuda_regions(&name).map_err(|error| call.refused(&error))?;
    Ok(Json(json_of::cuda_regions_to_json(&status)))
}

/// Declines a CUDA region.
pub async fn cuda_register(Extension(call): Extension<Call>) -> Refusal {
    call.refused(&RegionError::NoCuda)
}

/// Nothing is registered, so that everything is unregistered.
pub async fn cuda_unregister() -> Json<Value> {
    done()
}

fn logging(call: &Call, message: &LogSettingsRequest) -> Answer {
    let settings: LogSettingsResponse =
        oip::log_settings(message, call.is_local).map_err(|error| call.refused(&error))?;
    Ok(Json(json_of::log_settings_to_json(&settings)))
}

/// The log settings.
pub async fn log_settings(Extension(call): Extension<Call>) -> Answer {
    logging(&call, &LogSettingsRequest::default())
}

/// Changes log settings.
pub async fn set_log_settings(
    State(parts): State<ApiParts>,
    Extension(call): Extension<Call>,
    request: Request,
) -> Answer {
    let body = whole_body(&parts, &call, request).await?;
    let message = json_of::log_settings_from_json(&body).map_err(|error| call.refused(&error))?;
    logging(&call, &message)
}

fn tracing_of(parts: &ApiParts, call: &Call, message: &TraceSettingRequest) -> Answer {
    let settings = oip::trace_settings(parts.pipeline.catalog(), &parts.traces, message)
        .map_err(|error| call.refused(&error))?;
    Ok(Json(json_of::trace_settings_to_json(&settings)))
}

/// The trace settings, of a model or of all.
pub async fn trace_settings(
    State(parts): State<ApiParts>,
    Extension(call): Extension<Call>,
    target: Result<Target, HttpFault>,
) -> Answer {
    let Target { model: model_name, .. } = target.map_err(|fault| call.refused(&fault))?;
    tracing_of(&parts, &call, &TraceSettingRequest { model_name, ..Default::default() })
}

/// Refuses to change trace settings to anything but what they are.
pub async fn set_trace_settings(
    State(parts): State<ApiParts>,
    Extension(call): Extension<Call>,
    target: Result<Target, HttpFault>,
    request: Request,
) -> Answer {
    let Target { model, .. } = target.map_err(|fault| call.refused(&fault))?;
    let body = whole_body(&parts, &call, request).await?;
    let message =
        json_of::trace_settings_from_json(&body, &model).map_err(|error| call.refused(&error))?;
    tracing_of(&parts, &call, &message)
}
