//! Which outputs a run shall give, and one image's part of them.
//!
//! Outputs are known by their role in the bundle. Those of maps are asked for only when a map is.
//! This file must never trust an engine's shape: what does not fit is an error of ours.

use crate::bundle::{Manifest, OutputRole};
use crate::catalog::LoadedVersion;
use crate::domain::Tensor;
use crate::engine::OutputSet;
use crate::imaging::Heatmap;

/// The outputs of a run, by their roles.
#[derive(Debug, Clone, Copy, Default)]
pub struct Roles {
    scores: Option<usize>,
    logits: Option<usize>,
    cam: Option<usize>,
    embedding: Option<usize>,
    ood: Option<usize>,
    mask: Option<usize>,
}

impl Roles {
    /// The outputs of `version` by their roles.
    pub fn of(version: &LoadedVersion, manifest: &Manifest) -> Self {
        let place = |role: OutputRole| {
            let declared = manifest.model.outputs.iter().find(|output| output.role == role)?;
            version.outputs.iter().position(|spec| spec.name == declared.name)
        };
        Self {
            scores: place(OutputRole::Scores),
            logits: place(OutputRole::Logits),
            cam: place(OutputRole::Cam),
            embedding: place(OutputRole::Embedding),
            ood: place(OutputRole::Ood),
            mask: place(OutputRole::Mask),
        }
    }

    /// Whether the model explains itself.
    pub const fn explains(self) -> bool {
        self.cam.is_some()
    }

    /// These without the map.
    #[must_use]
    pub const fn without_map(self) -> Self {
        Self { cam: None, ..self }
    }

    /// Those of which the record tells.
    #[must_use]
    pub const fn for_record(self) -> Self {
        Self { cam: None, mask: None, ..self }
    }

    /// The outputs to ask an engine for.
    pub fn set(self) -> OutputSet {
        let Self { scores, logits, cam, embedding, ood, mask } = self;
        [scores, logits, cam, embedding, ood, mask]
            .into_iter()
            .flatten()
            .fold(OutputSet::default(), OutputSet::with)
    }

    /// The outputs that came, which are those of [`Roles::set`] in the graph's order, of one row.
    pub fn row(self, outputs: &[Tensor]) -> RowTensors<'_> {
        self.of_run(self.set(), outputs)
    }

    /// The outputs of a run for `set`, which holds these.
    pub fn of_run(self, set: OutputSet, outputs: &[Tensor]) -> RowTensors<'_> {
        let at = move |place: Option<usize>| {
            let place = place?;
            outputs.get(set.indices().position(|index| index == place)?)
        };
        RowTensors {
            scores: at(self.scores),
            logits: at(self.logits),
            cam: at(self.cam),
            embedding: at(self.embedding),
            ood: at(self.ood),
            mask: at(self.mask),
        }
    }
}

/// One image's outputs.
#[derive(Debug, Clone, Copy)]
pub struct RowTensors<'a> {
    /// Role `scores`.
    pub scores: Option<&'a Tensor>,
    /// Role `logits`.
    pub logits: Option<&'a Tensor>,
    /// Role `cam`.
    pub cam: Option<&'a Tensor>,
    /// Role `embedding`.
    pub embedding: Option<&'a Tensor>,
    /// Role `ood`.
    pub ood: Option<&'a Tensor>,
    /// Role `mask`.
    pub mask: Option<&'a Tensor>,
}

/// The elements of an FP32 tensor; none of any other.
pub fn floats(tensor: Option<&Tensor>) -> Option<Vec<f32>> {
    let tensor = tensor.filter(|tensor| tensor.datatype == crate::domain::DataType::Fp32)?;
    let (whole, _) = tensor.data.as_chunks::<4>();
    Some(whole.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// The map of class `class` out of a `cam` of shape [1, classes, h, w].
pub fn heatmap(cam: Option<&Tensor>, class: usize) -> Option<Heatmap> {
    let values = floats(cam)?;
    let [_, _, height, width] = cam?.shape[..] else { return None };
    let size = height.checked_mul(width)?;
    let from = class.checked_mul(size)?;
    Heatmap::new(width, height, values.get(from..from.checked_add(size)?)?)
}
