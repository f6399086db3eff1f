//! A version that is loaded: what it takes, what it gives, and the batcher that runs it.
//!
//! Built from a bundle and the engine's own signature, which must agree.
//! This file must never change once built: a new bundle is a new version.

use std::sync::Arc;

use crate::batcher::Batcher;
use crate::bundle::{Bundle, Manifest, OutputRole};
use crate::domain::{Digest, ModelName, ModelVersion, TensorSpec};
use crate::engine::{OutputSet, Signature};
use crate::telemetry::ModelMetrics;

/// A loaded version.
#[derive(Debug)]
pub struct LoadedVersion {
    /// The model's name.
    pub name: ModelName,
    /// The version.
    pub version: ModelVersion,
    /// The bundle's digest.
    pub digest: Digest,
    /// The manifest, unless the folder is bare.
    pub manifest: Option<Manifest>,
    /// The inputs, in the order of the graph.
    pub inputs: Vec<TensorSpec>,
    /// All outputs, in the order of the graph.
    pub outputs: Vec<TensorSpec>,
    /// The outputs that a caller sees, as places in `outputs`.
    pub public: OutputSet,
    /// Rows of a run; 0 when the first dimension is not a batch.
    pub max_batch: usize,
    /// Where the version counts.
    pub metrics: ModelMetrics,
    pub(super) batcher: Arc<Batcher>,
}

impl LoadedVersion {
    /// The outputs that a caller sees, with their places in the graph's order.
    pub fn public_outputs(&self) -> impl Iterator<Item = (usize, &TensorSpec)> {
        self.outputs.iter().enumerate().filter(|(index, _)| self.public.contains(*index))
    }
}

/// Inputs and outputs as they are served.
#[derive(Debug)]
pub struct ServedTensors {
    /// See [`LoadedVersion::inputs`].
    pub inputs: Vec<TensorSpec>,
    /// See [`LoadedVersion::outputs`].
    pub outputs: Vec<TensorSpec>,
    /// See [`LoadedVersion::public`].
    pub public: OutputSet,
}

impl ServedTensors {
    /// What a bundle and the graph say together.
    ///
    /// # Errors
    /// What differs between them.
    pub fn of(bundle: &Bundle, graph: &Signature) -> Result<Self, String> {
        let all = |set: OutputSet, index| set.with(index);
        let Some(manifest) = &bundle.manifest else {
            let public = (0..graph.outputs.len()).fold(OutputSet::default(), all);
            let (inputs, outputs) = (graph.inputs.clone(), graph.outputs.clone());
            return Ok(Self { inputs, outputs, public });
        };
        let model = &manifest.model;
        let declared: Vec<TensorSpec> = model.inputs.iter().map(TensorSpec::from).collect();
        let inputs = agree("model.input", &declared, &graph.inputs)?;
        let declared: Vec<TensorSpec> = model.outputs.iter().map(TensorSpec::from).collect();
        let outputs = agree("model.output", &declared, &graph.outputs)?;
        let role = |name: &str| model.outputs.iter().find(|o| o.name == name).map(|o| o.role);
        let public = outputs
            .iter()
            .enumerate()
            .filter(|(_, spec)| role(&spec.name).is_some_and(OutputRole::is_public))
            .fold(OutputSet::default(), |set, (index, _)| set.with(index));
        // A mask is the one thing that a segmentation model has to give.
        let public = match public == OutputSet::default() {
            true => (0..outputs.len()).fold(public, all),
            false => public,
        };
        Ok(Self { inputs, outputs, public })
    }

    /// Whether the first dimension of every tensor is the batch.
    pub fn are_batched(&self) -> bool {
        self.inputs.iter().chain(&self.outputs).all(TensorSpec::is_batched)
    }
}

/// The declared tensors in the graph's order; a dimension that the graph leaves free may be fixed by
/// the declaration, nothing else may differ.
fn agree(
    key: &str,
    declared: &[TensorSpec],
    graph: &[TensorSpec],
) -> Result<Vec<TensorSpec>, String> {
    if let Some(extra) = declared.iter().find(|d| graph.iter().all(|g| g.name != d.name)) {
        let names: Vec<&str> = graph.iter().map(|spec| spec.name.as_str()).collect();
        return Err(format!("{key} '{}' is not in the graph, which has {names:?}", extra.name));
    }
    graph
        .iter()
        .map(|spec| {
            let found = declared
                .iter()
                .find(|declared| declared.name == spec.name)
                .ok_or_else(|| format!("{key}: '{}' of the graph is not declared", spec.name))?;
            let fits = found.datatype == spec.datatype
                && found.shape.len() == spec.shape.len()
                && found.shape.iter().zip(&spec.shape).all(|(d, g)| *g < 0 || d == g);
            if !fits {
                return Err(format!(
                    "{key} '{}' is {} {:?} in the graph, {} {:?} is declared",
                    spec.name, spec.datatype, spec.shape, found.datatype, found.shape
                ));
            }
            Ok(found.clone())
        })
        .collect()
}
