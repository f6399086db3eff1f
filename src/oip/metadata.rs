//! What a model takes and gives, as the protocol says it.
//!
//! Hidden outputs (maps, embeddings) are left out: a caller of the tensor model does not see them.
//! This file must never show a path or a digest's preimage.

use std::collections::HashMap;

use super::images::image_specs;
use super::{OipError, Served};
use crate::catalog::{Catalog, CatalogError, Form, LoadedVersion, Model};
use crate::domain::{ModelName, TensorSpec, VersionSelector};
use crate::proto::inference::model_metadata_response::TensorMetadata;
use crate::proto::inference::{ModelMetadataResponse, ServerMetadataResponse};
use crate::shared_memory::SharedMemory;

/// The platform of every model: what Triton calls its ONNX Runtime backend.
pub const PLATFORM: &str = "onnxruntime_onnx";
/// That of a model's image form: decode, recipe, model and decision in one, as an ensemble.
pub const IMAGE_PLATFORM: &str = "ensemble";

/// What this server can do beyond the protocol's core.
const EXTENSIONS: [&str; 8] = [
    "classification",
    "model_repository",
    "schedule_policy",
    "model_configuration",
    "statistics",
    "binary_tensor_data",
    "parameters",
    "logging",
];
/// The same, where callers on this machine may register regions.
const SYSTEM_SHARED_MEMORY: &str = "system_shared_memory";

/// The metadata of the server.
pub fn server_metadata(memory: &SharedMemory) -> ServerMetadataResponse {
    let memory = memory.is_allowed().then_some(SYSTEM_SHARED_MEMORY);
    ServerMetadataResponse {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: EXTENSIONS.into_iter().chain(memory).map(str::to_owned).collect(),
    }
}

/// Whether a version answers requests.
///
/// # Errors
/// [`CatalogError::UnknownModel`] and [`CatalogError::UnknownVersion`].
pub fn model_ready(
    catalog: &Catalog,
    name: &ModelName,
    version: VersionSelector,
) -> Result<bool, CatalogError> {
    match catalog.resolve_form(name, version) {
        Ok(_) => Ok(true),
        Err(error @ (CatalogError::UnknownModel { .. } | CatalogError::UnknownVersion { .. })) => {
            Err(error)
        }
        Err(_) => Ok(false),
    }
}

/// The model and version that a message names.
///
/// # Errors
/// [`OipError::Name`].
pub fn model_selector(name: &str, version: &str) -> Result<(ModelName, VersionSelector), OipError> {
    Ok((name.parse()?, version.parse()?))
}

/// The metadata of a loaded version in the form that was asked for; `model` lists its siblings.
pub fn model_metadata(served: &Served, model: Option<&Model>) -> ModelMetadataResponse {
    let version = &*served.version;
    let tensor = |spec: &TensorSpec| TensorMetadata {
        name: spec.name.clone(),
        datatype: spec.datatype.name().to_owned(),
        shape: spec.shape.clone(),
    };
    let (inputs, outputs) = specs(served);
    let versions = model.map_or_else(
        || vec![version.version.to_string()],
        |model| model.ready_versions().map(|version| version.to_string()).collect(),
    );
    ModelMetadataResponse {
        name: served.name(),
        versions,
        platform: platform(served.form).to_owned(),
        inputs: inputs.iter().map(tensor).collect(),
        outputs: outputs.iter().map(tensor).collect(),
        properties: properties(version),
    }
}

/// What a version takes and gives in a form.
pub(super) fn specs(served: &Served) -> (Vec<TensorSpec>, Vec<TensorSpec>) {
    let version = &served.version;
    match served.form {
        Form::Images => image_specs(version),
        Form::Tensors => {
            let outputs = version.public_outputs().map(|(_, spec)| spec.clone()).collect();
            (version.inputs.clone(), outputs)
        }
    }
}

/// The platform of a form.
pub(super) const fn platform(form: Form) -> &'static str {
    match form {
        Form::Tensors => PLATFORM,
        Form::Images => IMAGE_PLATFORM,
    }
}

/// What a caller may know of a version beside its tensors.
pub(super) fn properties(version: &LoadedVersion) -> HashMap<String, String> {
    let mut properties = HashMap::from([
        ("bundle_sha256".to_owned(), version.digest.to_string()),
        ("execution_provider".to_owned(), version.batcher().provider().to_owned()),
    ]);
    if let Some(manifest) = &version.manifest {
        properties.insert("labels".to_owned(), manifest.labels.join(","));
        if !manifest.intended_use.notice.is_empty() {
            properties.insert("notice".to_owned(), manifest.intended_use.notice.clone());
        }
    }
    properties
}
