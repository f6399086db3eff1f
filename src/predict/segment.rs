//! The mask of a segmentation bundle for `hilum prepare`, without a server.
//!
//! The bundle is loaded as a server would load it and asked image by image, from any thread.
//! This file must never prepare an image otherwise than the bundle's own recipe says.

use std::sync::Arc;

use super::{QuestionError, load};
use crate::config::Config;
use crate::domain::VersionSelector;
use crate::imaging::recipe::Recipe;
use crate::pipeline::{PredictError, Segmentation};
use crate::prepare::Segment;

/// What finds the lungs for `recipe`; `None` where it crops by no other bundle.
///
/// # Errors
/// [`QuestionError`]: the bundle is not there or is none.
pub fn segment(config: Config, recipe: &Recipe) -> Result<Option<Segment>, QuestionError> {
    let Some(bundle) = Segmentation::named_by(recipe) else { return Ok(None) };
    let unusable = |problem: String| {
        QuestionError::Images(PredictError::Segmentation { bundle: bundle.to_owned(), problem })
    };
    let (name, version) =
        bundle.split_once('/').ok_or_else(|| unusable("name/version is expected".to_owned()))?;
    let name =
        name.parse().map_err(|error: crate::domain::NameError| unusable(error.to_string()))?;
    let version =
        version.parse().map_err(|error: crate::domain::NameError| unusable(error.to_string()))?;
    let loaded = load(config, &name, VersionSelector::Exact(version))?;
    let found = Segmentation::resolve(&loaded.pipeline, bundle).map_err(QuestionError::Images)?;
    Ok(Some(Arc::new(move |decoded| {
        // The engines live as long as this does.
        let _ = &loaded;
        found.mask_of(decoded).map_err(|error| error.to_string())
    })))
}
