//! What the protocol asks about one model: readiness, metadata, configuration.
//!
//! This file must never answer for a version that the catalog does not resolve.

use crate::catalog::Catalog;
use crate::oip::{self, LookupError};
use crate::proto::inference::*;

/// Whether a version answers requests.
pub fn ready(
    catalog: &Catalog,
    message: &ModelReadyRequest,
) -> Result<ModelReadyResponse, LookupError> {
    let (name, selector) = oip::model_selector(&message.name, &message.version)?;
    Ok(ModelReadyResponse { ready: oip::model_ready(catalog, &name, selector)? })
}

/// What a version takes and gives.
pub fn metadata(
    catalog: &Catalog,
    message: &ModelMetadataRequest,
) -> Result<ModelMetadataResponse, LookupError> {
    let served = oip::loaded(catalog, &message.name, &message.version)?;
    Ok(oip::model_metadata(&served, catalog.models().get(&served.version.name)))
}

/// How a version is run.
pub fn config(
    catalog: &Catalog,
    message: &ModelConfigRequest,
) -> Result<ModelConfigResponse, LookupError> {
    let served = oip::loaded(catalog, &message.name, &message.version)?;
    Ok(ModelConfigResponse { config: Some(oip::model_config(&served)) })
}
