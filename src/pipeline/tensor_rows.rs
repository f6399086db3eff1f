//! What the record tells of an answer about tensors: scores, label, distance, features.
//!
//! A bundle says by roles which outputs these are; a model without a manifest has none.
//! This file must never make a decision: nobody was told one.

use super::account::{micros, narrow};
use super::classify::{Roles, RowTensors, floats};
use super::interpret::{RowOutputs, scored};
use crate::audit::Record;
use crate::batcher::BatchAnswer;
use crate::bundle::Manifest;
use crate::catalog::LoadedVersion;
use crate::domain::Tensor;
use crate::engine::OutputSet;

/// Numbers of one row that the record takes at most: scores are as many as a model has labels.
const MAX_SCORES: usize = 4096;
/// Numbers of an embedding.
pub(super) const MAX_EMBEDDING: usize = 8;

/// The rows of a run that was answered.
pub(super) struct TensorRows<'a> {
    manifest: Option<&'a Manifest>,
    outputs: Option<RowTensors<'a>>,
    has_rows: bool,
    answer: &'a BatchAnswer,
}

impl<'a> TensorRows<'a> {
    /// The outputs of which the record tells.
    pub fn outputs(version: &LoadedVersion) -> OutputSet {
        let roles = version.manifest.as_ref().map(|manifest| Roles::of(version, manifest));
        roles.map_or_else(OutputSet::default, |roles| roles.for_record().set())
    }

    /// The answer to a run for `set`.
    pub fn of(version: &'a LoadedVersion, set: OutputSet, answer: &'a BatchAnswer) -> Self {
        let manifest = version.manifest.as_ref();
        let outputs = manifest
            .map(|manifest| Roles::of(version, manifest).for_record().of_run(set, &answer.outputs));
        Self { manifest, outputs, has_rows: version.max_batch > 0, answer }
    }

    /// Tells what is known of the row at `place`.
    pub fn tell(&self, place: usize, record: &mut Record) {
        record.queue_us = micros(self.answer.queue);
        record.infer_us = micros(self.answer.compute.input + self.answer.compute.infer);
        record.batch_size = u32::try_from(self.answer.batch_rows).unwrap_or(u32::MAX);
        let (Some(manifest), Some(outputs)) = (self.manifest, self.outputs) else { return };
        let row = |tensor: Option<&Tensor>| match (tensor, self.has_rows) {
            (Some(tensor), true) => floats(Some(&tensor.slice_rows(place, place + 1))),
            (tensor, _) => floats(tensor),
        };
        let (scores, logits) = (row(outputs.scores), row(outputs.logits));
        let ood = row(outputs.ood).and_then(|values| values.first().copied());
        record.ood_score = ood.map(f64::from);
        record.embedding =
            row(outputs.embedding).filter(|e| e.len() <= MAX_EMBEDDING).unwrap_or_default();
        let width = scores.iter().chain(&logits).map(Vec::len).max().unwrap_or(0);
        if !(1..=MAX_SCORES).contains(&width) {
            return;
        }
        let found = scored(
            manifest,
            &RowOutputs { scores: scores.as_deref(), logits: logits.as_deref(), ood },
        );
        record.label = manifest.labels.get(found.label).cloned();
        record.scores = narrow(&found.raw);
        record.calibrated = narrow(&found.calibrated);
    }
}
