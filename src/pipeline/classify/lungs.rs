//! The mask of another bundle, where a recipe crops to what it finds.
//!
//! The segmentation is a model like any other: its own recipe prepares the image, its own batcher
//! runs it.
//! This file must never choose a version by itself: the recipe names it.

use std::sync::Arc;
use std::time::Instant;

use super::outputs::{Roles, floats};
use super::row::{tensor, within};
use super::{Pipeline, PredictError};
use crate::batcher::{BatchAnswer, BatchRequest, Priority};
use crate::bundle::Manifest;
use crate::catalog::LoadedVersion;
use crate::domain::VersionSelector;
use crate::imaging::lung_field::LungMask;
use crate::imaging::preprocess::{self, Prepared, RunOptions};
use crate::imaging::recipe::{CropRegion, Recipe, Step};
use crate::imaging::{Decoded, Geometry};
use crate::telemetry::TraceContext;

/// A segmentation that is loaded.
#[derive(Debug, Clone)]
pub struct Segmentation {
    version: Arc<LoadedVersion>,
    recipe: Recipe,
    roles: Roles,
    options: RunOptions<'static>,
}

impl Segmentation {
    /// The bundle that a recipe crops by, `name/version`.
    pub fn named_by(recipe: &Recipe) -> Option<&str> {
        recipe.steps.iter().find_map(|step| match step {
            Step::Crop { region: CropRegion::LungField { bundle, .. } } => Some(bundle.as_str()),
            _ => None,
        })
    }

    /// The bundle `name/version`.
    ///
    /// # Errors
    /// [`PredictError::Segmentation`] where it is not loaded or is none.
    pub fn resolve(pipeline: &Pipeline, bundle: &str) -> Result<Self, PredictError> {
        let missing =
            |problem: String| PredictError::Segmentation { bundle: bundle.to_owned(), problem };
        let (name, version) =
            bundle.split_once('/').ok_or_else(|| missing("name/version is expected".to_owned()))?;
        let name =
            name.parse().map_err(|error: crate::domain::NameError| missing(error.to_string()))?;
        let version = version
            .parse()
            .map_err(|error: crate::domain::NameError| missing(error.to_string()))?;
        let resolved = pipeline.catalog.resolve(&name, VersionSelector::Exact(version));
        let version = resolved.map_err(|error| missing(error.to_string()))?.version;
        let manifest: &Manifest =
            version.manifest.as_ref().ok_or_else(|| missing("it has no manifest".to_owned()))?;
        let (recipe, layout) = match &manifest.preprocess {
            Some(recipe) if Self::named_by(recipe).is_none() => {
                (recipe.clone(), manifest.model.layout)
            }
            _ => return Err(missing("it has no recipe that runs by itself".to_owned())),
        };
        let roles = Roles::of(&version, manifest);
        let options = RunOptions { layout, ..RunOptions::default() };
        Ok(Self { version, recipe, roles, options })
    }

    /// The image as the segmentation takes it.
    ///
    /// # Errors
    /// As [`preprocess::run`].
    pub fn prepare(&self, decoded: &Decoded) -> Result<Prepared, PredictError> {
        Ok(preprocess::run(&self.recipe, decoded, &self.options)?)
    }

    /// Runs the segmentation on a prepared image.
    ///
    /// # Errors
    /// As the batcher.
    pub async fn mask(
        &self,
        prepared: Prepared,
        deadline: Option<Instant>,
        trace: TraceContext,
    ) -> Result<(LungMask, BatchAnswer), PredictError> {
        let geometry = prepared.geometry;
        let batch = self.batch(prepared, deadline, trace)?;
        let answer = within(deadline, self.version.batcher().submit(batch)?).await?;
        Ok((self.found(&answer, geometry)?, answer))
    }

    /// The mask of an image, on a thread that may block.
    ///
    /// # Errors
    /// As [`preprocess::run`] and the batcher.
    pub fn mask_of(&self, decoded: &Decoded) -> Result<LungMask, PredictError> {
        let prepared = self.prepare(decoded)?;
        let geometry = prepared.geometry;
        let batch = self.batch(prepared, None, TraceContext::off())?;
        let answer = self.version.batcher().submit(batch)?.wait()?;
        self.found(&answer, geometry)
    }

    fn batch(
        &self,
        prepared: Prepared,
        deadline: Option<Instant>,
        trace: TraceContext,
    ) -> Result<BatchRequest, PredictError> {
        Ok(BatchRequest {
            inputs: vec![tensor(&self.version, prepared.tensor, prepared.shape)?],
            outputs: self.roles.set(),
            deadline,
            priority: Priority::default(),
            trace,
            alone: false,
        })
    }

    fn found(&self, answer: &BatchAnswer, geometry: Geometry) -> Result<LungMask, PredictError> {
        let tensor = self.roles.row(&answer.outputs).mask;
        match (floats(tensor), tensor.map(|mask| mask.shape.as_slice())) {
            (Some(values), Some([1, 1, height, width])) => {
                let side = |n: &usize| u32::try_from(*n).unwrap_or(u32::MAX);
                Ok(LungMask { width: side(width), height: side(height), values, geometry })
            }
            _ => Err(PredictError::Broken("the segmentation gave no mask".to_owned())),
        }
    }
}
