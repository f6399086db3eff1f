//! A version that is loaded: what it takes, what it gives, and the batcher that runs it.
//!
//! Built from a bundle and the engine's own signature, which must agree.
//! This file must never change once built: a new bundle is a new version.

use std::sync::Arc;

use super::memory::MemoryShare;
use crate::batcher::{BatchShape, Batcher};
use crate::bundle::{Bundle, Manifest, OutputRole};
use crate::domain::{CHAMPION, Digest, ModelName, ModelVersion, TensorSpec};
use crate::engine::{OutputSet, Signature};
use crate::telemetry::{ModelInfo, ModelMetrics};

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
    /// The names of the classes, as the manifest has them; empty without one.
    pub labels: Arc<[String]>,
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
    /// Where its image form counts, `<name>.image`; `None` where it answers no images.
    pub image_metrics: Option<ModelMetrics>,
    /// Engines of this version.
    pub instances: usize,
    pub(super) batcher: Batcher,
    pub(super) memory: MemoryShare,
}

impl LoadedVersion {
    /// The queue and engines of this version.
    pub fn batcher(&self) -> &Batcher {
        &self.batcher
    }

    /// Bytes that its weights take, in all engines.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.bytes
    }

    /// What metrics show of it.
    pub(super) fn info(&self, is_champion: bool) -> ModelInfo {
        ModelInfo {
            model: self.name.to_string(),
            version: self.version.to_string(),
            bundle: self.digest.to_string(),
            alias: if is_champion { CHAMPION } else { "" },
            provider: self.batcher.provider(),
        }
    }

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
    /// What the first dimension means.
    pub batch: BatchShape,
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
            let Signature { inputs, outputs } = freed(graph);
            return Ok(Self::with_batch(inputs, outputs, public, graph));
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
        Ok(Self::with_batch(inputs, outputs, public, graph))
    }

    fn with_batch(
        inputs: Vec<TensorSpec>,
        outputs: Vec<TensorSpec>,
        public: OutputSet,
        graph: &Signature,
    ) -> Self {
        let declared: Vec<TensorSpec> = inputs.iter().chain(&outputs).cloned().collect();
        let all: Vec<TensorSpec> = graph.inputs.iter().chain(&graph.outputs).cloned().collect();
        let batch = Self::shape(&declared, &all);
        Self { inputs, outputs, public, batch }
    }

    /// What the first dimension means: the batch where it is free in every tensor; a fixed batch
    /// where every tensor has two dimensions or more and the same number in the first, and the
    /// manifest, if there is one, leaves it free.
    fn shape(declared: &[TensorSpec], graph: &[TensorSpec]) -> BatchShape {
        if !declared.iter().all(TensorSpec::is_batched) {
            return BatchShape::None;
        }
        if graph.iter().all(TensorSpec::is_batched) {
            return BatchShape::Free;
        }
        let firsts: Vec<Option<usize>> = graph
            .iter()
            .map(|spec| match spec.shape[..] {
                [first, _, ..] => usize::try_from(first).ok().filter(|first| *first > 0),
                _ => None,
            })
            .collect();
        match firsts.first() {
            Some(Some(rows)) if firsts.iter().all(|first| *first == Some(*rows)) => {
                BatchShape::Fixed(*rows)
            }
            _ => BatchShape::None,
        }
    }
}

/// A bare graph's tensors with a free batch in the place of a fixed one.
fn freed(graph: &Signature) -> Signature {
    let free = |specs: &[TensorSpec]| -> Vec<TensorSpec> {
        let mut specs = specs.to_vec();
        specs.iter_mut().for_each(|spec| spec.shape.iter_mut().take(1).for_each(|dim| *dim = -1));
        specs
    };
    let all: Vec<TensorSpec> = graph.inputs.iter().chain(&graph.outputs).cloned().collect();
    let as_rows = Signature { inputs: free(&graph.inputs), outputs: free(&graph.outputs) };
    let declared: Vec<TensorSpec> =
        as_rows.inputs.iter().chain(&as_rows.outputs).cloned().collect();
    match ServedTensors::shape(&declared, &all) {
        BatchShape::Fixed(_) => as_rows,
        BatchShape::Free | BatchShape::None => graph.clone(),
    }
}

/// The declared tensors in the graph's order; a dimension that the graph leaves free may be fixed by
/// the declaration, and a first dimension that the graph fixes may be declared free (the batch is
/// filled up then); nothing else may differ.
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
                && found
                    .shape
                    .iter()
                    .zip(&spec.shape)
                    .enumerate()
                    .all(|(at, (d, g))| *g < 0 || d == g || (at == 0 && *d < 0));
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
