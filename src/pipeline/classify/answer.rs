//! What is answered about one image.
//!
//! This file must never hold a pixel beyond the overlay that was asked for.

use std::time::Duration;

use bytes::Bytes;

use crate::domain::Decision;
use crate::imaging::{Format, Heatmap, ImageStatistics, Warning};

/// The answer about one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Classification {
    /// The decision.
    pub decision: Decision,
    /// The label; `None` where the image was rejected and its scores were not asked for.
    pub label: Option<String>,
    /// The scores, as many and in the order that was asked for; none where `label` is `None`.
    pub scores: Vec<ClassScore>,
    /// What matters about the image; the reasons first where it was rejected.
    pub warnings: Vec<Warning>,
    /// The explanation, if one was asked for and the image was not rejected.
    pub explanation: Option<Explanation>,
    /// The file's format.
    pub format: Format,
    /// (width, height) of the image in pixels, upright.
    pub size: (u32, u32),
    /// (width, height) of the network's input.
    pub network: (u32, u32),
    /// Statistics of the image as it is shown.
    pub statistics: ImageStatistics,
    /// How far the image lies from what the model knows, if the model says it.
    pub ood: Option<f64>,
    /// The model's features before its last layer, if it gives them.
    pub embedding: Vec<f32>,
    /// Where the time went.
    pub timing: ImageTiming,
}

/// The scores of one class.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassScore {
    /// The class.
    pub label: String,
    /// The model's own score.
    pub raw: f64,
    /// The calibrated one.
    pub calibrated: f64,
}

/// Why the model says so.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The class that is explained.
    pub class: String,
    /// Grad-CAM++ of it, relative to its own largest value.
    pub heatmap: Heatmap,
    /// The map painted over the image, a PNG file, if it was asked for.
    pub overlay_png: Option<Bytes>,
}

/// Where the time of one image went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImageTiming {
    /// Decoding and preparing, the wait for a thread not counted.
    pub decode: Duration,
    /// Waiting: for a thread that decodes, and for a free engine.
    pub queue: Duration,
    /// The model's run, that of a segmentation before it included.
    pub infer: Duration,
    /// From outputs to a decision.
    pub interpret: Duration,
    /// Scaling the map and painting it.
    pub explain: Duration,
    /// Rows of the run that the image was part of.
    pub batch_rows: usize,
}
