//! What is answered about one image.
//!
//! This file must never hold a pixel beyond the overlay that was asked for.

use std::time::Duration;

use bytes::Bytes;

use crate::audit::Record;
use crate::domain::Decision;
use crate::imaging::{Format, Heatmap, ImageStatistics, Warning};
use crate::pipeline::account::micros;
use crate::pipeline::tensor_rows::MAX_EMBEDDING;

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
    /// What the record tells of the scores, whatever the caller wanted to see.
    pub judged: Judged,
    /// Where the time went.
    pub timing: ImageTiming,
}

/// All that the model said of an image.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Judged {
    /// Its own scores, in the order of the labels.
    pub raw: Vec<f32>,
    /// The calibrated ones.
    pub calibrated: Vec<f32>,
    /// The label.
    pub label: Option<String>,
}

impl Classification {
    /// Tells the record what is known of the image.
    pub(in crate::pipeline) fn tell(&self, record: &mut Record) {
        let Self { judged, timing, .. } = self;
        record.scores.clone_from(&judged.raw);
        record.calibrated.clone_from(&judged.calibrated);
        record.label.clone_from(&judged.label);
        record.decision = Some(self.decision);
        record.warnings = self.warnings.iter().map(|w| w.code.name().to_owned()).collect();
        record.statistics = Some(self.statistics);
        record.ood_score = self.ood;
        if self.embedding.len() <= MAX_EMBEDDING {
            record.embedding.clone_from(&self.embedding);
        }
        record.queue_us = micros(timing.queue);
        record.decode_us = micros(timing.decode);
        record.infer_us = micros(timing.infer);
        record.batch_size = u32::try_from(timing.batch_rows).unwrap_or(u32::MAX);
    }
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
