//! `bundle.toml`: what a model version is, as its makers declare it.
//!
//! The types below are the format; the JSON Schema in `docs/bundle.schema.json` is made from them.
//! This file must never read another file: it says whether the declaration makes sense by itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{DataType, Digest, ModelName, ModelVersion, TensorSpec};
use crate::imaging::Expectation;
use crate::imaging::preprocess::Layout;
use crate::imaging::recipe::Recipe;

/// The format's version that this build reads.
pub const SCHEMA: u32 = 1;

/// The manifest of a model version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The format's version: 1.
    pub schema: u32,
    /// The model's name; the folder above has the same.
    pub name: ModelName,
    /// The version, an integer as text; the folder has the same.
    pub version: ModelVersion,
    /// What the model does.
    pub task: Task,
    /// The names of the classes, in the order of the scores. For a binary model the last is the
    /// positive class. Empty for a segmentation model.
    #[serde(default)]
    pub labels: Vec<String>,
    /// The model file and its tensors.
    pub model: ModelFile,
    /// How an image becomes the input; without it only tensors are served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<Recipe>,
    /// What the model may be used for.
    pub intended_use: IntendedUse,
    /// From the model's output to a decision.
    #[serde(default)]
    pub postprocess: Postprocess,
    /// When an image is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reject: Option<Reject>,
    /// How rows are run together.
    #[serde(default)]
    pub batching: Batching,
    /// The frozen reference for drift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<BaselineFile>,
    /// Where the model comes from.
    pub provenance: Provenance,
}

/// What a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// One of two classes.
    Binary,
    /// One of several classes.
    Multiclass,
    /// A mask over the image.
    Segmentation,
}

/// The model file and its tensors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// The file's name in the bundle.
    pub file: String,
    /// Its SHA-256.
    #[schemars(with = "String", regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: Digest,
    /// The order of an image input's dimensions.
    pub layout: Layout,
    /// The number format of the weights, such as `fp32` or `fp16-weights`.
    pub precision: String,
    /// The inputs.
    #[serde(rename = "input")]
    pub inputs: Vec<InputTensor>,
    /// The outputs.
    #[serde(rename = "output")]
    pub outputs: Vec<OutputTensor>,
}

/// An input as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputTensor {
    /// Its name in the graph.
    pub name: String,
    /// Its data type.
    pub dtype: DataType,
    /// Its dimensions; -1 in the first place is the batch.
    pub shape: Vec<i64>,
}

/// An output as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputTensor {
    /// Its name in the graph.
    pub name: String,
    /// What it is for.
    pub role: OutputRole,
    /// Its data type.
    pub dtype: DataType,
    /// Its dimensions; -1 in the first place is the batch.
    pub shape: Vec<i64>,
}

/// What an output is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OutputRole {
    /// A score a class, in [0, 1].
    Scores,
    /// A score a class before the activation.
    Logits,
    /// Class activation maps `[n, classes, h, w]`.
    Cam,
    /// Features before the last layer `[n, d]`.
    Embedding,
    /// How far an image lies from the training data `[n]` or `[n, 1]`.
    Ood,
    /// A segmentation `[n, 1, h, w]`.
    Mask,
}

impl OutputRole {
    /// Whether a caller of the plain tensor model sees the output.
    pub const fn is_public(self) -> bool {
        matches!(self, OutputRole::Scores | OutputRole::Logits)
    }
}

/// What a model may be used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntendedUse {
    /// Whether answers are about a patient; then `notice` is required.
    pub medical: bool,
    /// A sentence that goes with each answer.
    #[serde(default)]
    pub notice: String,
    /// Whom or what the training data show.
    pub population: String,
    /// Ages in whole years of the patients that the training data show, from and to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_years: Option<[u16; 2]>,
    /// Radiographic views that the model was trained on, such as `PA`, `AP`.
    #[serde(default)]
    pub views: Vec<String>,
}

impl IntendedUse {
    /// What an image should show of whom.
    pub fn expectation(&self) -> Expectation {
        let frontal = |view: &String| matches!(view.as_str(), "PA" | "AP");
        Expectation {
            // A patient is as old as the last birthday says until the next.
            age_years: self.age_years.map(|[lo, hi]| f32::from(lo)..=f32::from(hi) + 0.999),
            frontal_chest: !self.views.is_empty() && self.views.iter().all(frontal),
        }
    }
}

/// From the model's output to a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Postprocess {
    /// What turns the logits into scores. Only where no output has the role `scores`, whose values
    /// are scores already.
    pub activation: Activation,
    /// How a score is calibrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// The decision threshold on the calibrated score, between 0 and 1: of the positive class, or of
    /// the best one where there are several.
    pub threshold: f64,
    /// Calibrated scores between the two are answered `abstain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abstain: Option<[f64; 2]>,
    /// The share of positives where the model is used; shifts the logit by the change in prior
    /// odds. Between 0 and 1, both excluded; binary models only, with `training_prevalence`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site_prevalence: Option<f64>,
    /// The share of positives in the data that the model was calibrated on. Between 0 and 1, both
    /// excluded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training_prevalence: Option<f64>,
}

impl Default for Postprocess {
    fn default() -> Self {
        Self {
            activation: Activation::None,
            calibration: None,
            threshold: 0.5,
            abstain: None,
            site_prevalence: None,
            training_prevalence: None,
        }
    }
}

/// What turns a model's output into scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// Over the classes.
    Softmax,
    /// Of each class by itself.
    Sigmoid,
    /// The output is a score already.
    None,
}

/// How a score is calibrated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Calibration {
    /// Logits divided by `temperature` (Guo et al. 2017).
    Temperature {
        /// Above 0.
        temperature: f64,
    },
    /// sigmoid(a · logit + b) (Platt 1999).
    Platt {
        /// Slope.
        a: f64,
        /// Intercept.
        b: f64,
    },
}

/// When an image is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reject {
    /// Bounds on image statistics.
    #[serde(default)]
    pub quality: Vec<QualityGate>,
    /// A bound on the out-of-distribution score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ood: Option<OodGate>,
}

/// A bound on one image statistic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QualityGate {
    /// The value that is bounded: `mean`, `std`, `p1`, `p99`, `entropy`, `sharpness`, `aspect` or
    /// `bits` as the audit record has them, `width` or `height` in pixels, or `color` (the mean over
    /// the pixels of the largest channel less the smallest, 0 to 255).
    pub statistic: String,
    /// The smallest value that is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The largest value that is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Where the bound comes from.
    pub source: String,
}

/// A bound on the out-of-distribution score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OodGate {
    /// The largest score that is accepted.
    pub threshold: f64,
    /// Where the bound comes from.
    pub source: String,
}

/// How rows are run together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Batching {
    /// Rows of a run, at least 1.
    pub max_batch: usize,
    /// How long a run may take, in milliseconds, by the measured cost of a row.
    pub max_run_ms: u64,
    /// Engines; 0 = choose from the CPU quota.
    pub instances: usize,
    /// Threads of one run; 0 = choose from the CPU quota.
    pub intra_threads: usize,
}

impl Default for Batching {
    fn default() -> Self {
        Self { max_batch: 32, max_run_ms: 100, instances: 0, intra_threads: 0 }
    }
}

/// The frozen reference for drift.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BaselineFile {
    /// The file's name in the bundle.
    pub file: String,
    /// Whether it reports only, until a person has confirmed it.
    pub provisional: bool,
}

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// SHA-256 over the training data.
    pub data_digest: String,
    /// The commit of the training code.
    pub code_commit: String,
    /// The day of the training, ISO 8601.
    pub date: String,
    /// The seed.
    pub seed: u64,
    /// Framework and version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub framework: Option<String>,
    /// The MLflow run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mlflow_run: Option<String>,
    /// The version that this one follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_version: Option<ModelVersion>,
}

impl From<&InputTensor> for TensorSpec {
    fn from(input: &InputTensor) -> Self {
        Self { name: input.name.clone(), datatype: input.dtype, shape: input.shape.clone() }
    }
}

impl From<&OutputTensor> for TensorSpec {
    fn from(output: &OutputTensor) -> Self {
        Self { name: output.name.clone(), datatype: output.dtype, shape: output.shape.clone() }
    }
}
