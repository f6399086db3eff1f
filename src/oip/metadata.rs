//! What a model takes and gives, as the protocol says it.
//!
//! Hidden outputs (maps, embeddings) are left out: a caller of the tensor model does not see them.
//! This file must never show a path or a digest's preimage.

use std::collections::HashMap;

use super::OipError;
use crate::catalog::{LoadedVersion, Model};
use crate::domain::{ModelName, TensorSpec, VersionSelector};
use crate::proto::inference::ModelMetadataResponse;
use crate::proto::inference::model_metadata_response::TensorMetadata;

/// The platform of every model: what Triton calls its ONNX Runtime backend.
pub const PLATFORM: &str = "onnxruntime_onnx";

/// The model and version that a message names.
///
/// # Errors
/// [`OipError::Name`].
pub fn model_selector(name: &str, version: &str) -> Result<(ModelName, VersionSelector), OipError> {
    Ok((name.parse()?, version.parse()?))
}

/// The metadata of a loaded version; `model` lists its siblings.
pub fn model_metadata(version: &LoadedVersion, model: Option<&Model>) -> ModelMetadataResponse {
    let tensor = |spec: &TensorSpec| TensorMetadata {
        name: spec.name.clone(),
        datatype: spec.datatype.name().to_owned(),
        shape: spec.shape.clone(),
    };
    let versions = model.map_or_else(
        || vec![version.version.to_string()],
        |model| model.ready_versions().map(|version| version.to_string()).collect(),
    );
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
    ModelMetadataResponse {
        name: version.name.to_string(),
        versions,
        platform: PLATFORM.to_owned(),
        inputs: version.inputs.iter().map(tensor).collect(),
        outputs: version.public_outputs().map(|(_, spec)| tensor(spec)).collect(),
        properties,
    }
}
