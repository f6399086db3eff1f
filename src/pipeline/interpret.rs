//! From a model's outputs for one image to a decision: calibration, prevalence, threshold, gates.
//!
//! The raw scores are the model's own. A calibrated score is the sigmoid (two classes) or softmax
//! (several) of the calibrated logit:
//!
//! - the logit is the output with role `logits` (z of one column, z₁ − z₀ of two), else
//!   ln(p / (1 − p)) of the score, clipped to [1e-7, 1 − 1e-7];
//! - temperature: z / T (Guo et al. 2017, "On calibration of modern neural networks");
//! - Platt: a·z + b (Platt 1999, "Probabilistic outputs for support vector machines");
//! - another prevalence π′ than the π it was calibrated on shifts the logit by
//!   ln(π′ / (1 − π′)) − ln(π / (1 − π)) (Saerens, Latinne and Decaestecker 2002, "Adjusting the
//!   outputs of a classifier to new a priori probabilities"; the same as Elkan 2001, theorem 2).
//!
//! An image outside a gate of the bundle is rejected, whatever its score: what a model says of an
//! image that it was not made for means nothing. The quality gates see what
//! [`crate::imaging::QUALITY_STATISTICS`] lists; all else, rotation among it, is the
//! out-of-distribution gate's to find.
//! This file must never touch a pixel or a session: numbers in, a decision out.

use crate::bundle::{Activation, Calibration, Manifest, Reject, Task};
use crate::domain::Decision;
use crate::imaging::{ImageQuality, Warning, WarningCode, quality_warning};

/// How far a score stays from 0 and 1 where its logit is taken.
const CLIP: f64 = 1e-7;

/// A model's outputs for one image.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowOutputs<'a> {
    /// Role `scores`: one for each label, or of two labels the positive one's alone.
    pub scores: Option<&'a [f32]>,
    /// Role `logits`, likewise.
    pub logits: Option<&'a [f32]>,
    /// Role `ood`.
    pub ood: Option<f32>,
}

/// What they amount to.
#[derive(Debug, Clone, PartialEq)]
pub struct Interpretation {
    /// The model's own scores, in the order of the labels.
    pub raw: Vec<f64>,
    /// The calibrated ones; they sum to 1 unless each class has its own sigmoid.
    pub calibrated: Vec<f64>,
    /// The label's place: the side of the threshold for two classes, the best of several.
    pub label: usize,
    /// The decision.
    pub decision: Decision,
    /// Why the image is rejected; empty unless it is.
    pub rejections: Vec<Warning>,
}

/// A model's scores, without what is known of the image.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// The model's own scores, in the order of the labels.
    pub raw: Vec<f64>,
    /// The calibrated ones.
    pub calibrated: Vec<f64>,
    /// The label's place.
    pub label: usize,
    /// The calibrated score that the label was chosen by.
    score: f64,
}

/// The scores of one row, and its label, as `manifest` says.
pub fn scored(manifest: &Manifest, outputs: &RowOutputs<'_>) -> Scored {
    let (raw, calibrated) = match manifest.task {
        Task::Binary => binary(manifest, outputs),
        Task::Multiclass | Task::Segmentation => several(manifest, outputs),
    };
    let best = best(&calibrated);
    let positive = calibrated.len().saturating_sub(1);
    let judged = if manifest.task == Task::Binary { positive } else { best };
    let score = calibrated.get(judged).copied().unwrap_or(f64::NAN);
    let label = match manifest.task {
        Task::Binary if score >= manifest.postprocess.threshold => positive,
        Task::Binary => 0,
        Task::Multiclass | Task::Segmentation => best,
    };
    Scored { raw, calibrated, label, score }
}

/// Interprets one image's outputs as `manifest` says.
pub fn interpret(
    manifest: &Manifest,
    outputs: &RowOutputs<'_>,
    quality: &ImageQuality,
) -> Interpretation {
    let post = &manifest.postprocess;
    let Scored { raw, calibrated, label, score } = scored(manifest, outputs);
    let mut rejections = manifest
        .reject
        .as_ref()
        .map_or_else(Vec::new, |reject| rejections(reject, quality, outputs.ood.map(f64::from)));
    if raw.iter().chain(&calibrated).any(|score| !score.is_finite()) || calibrated.is_empty() {
        let text = "the model gave no finite score for this image";
        rejections.push(Warning::new(WarningCode::ScoreNotFinite, text));
    }
    let within = post.abstain.is_some_and(|[lo, hi]| (lo..=hi).contains(&score));
    let decision = if !rejections.is_empty() {
        Decision::Rejected
    } else if within {
        Decision::Abstain
    } else if score >= post.threshold {
        Decision::Positive
    } else if manifest.task == Task::Binary {
        Decision::Negative
    } else {
        // None of several classes is sure enough: there is no negative one to fall back on.
        Decision::Abstain
    };
    Interpretation { raw, calibrated, label, decision, rejections }
}

/// The place of the largest; the first of equals.
fn best(scores: &[f64]) -> usize {
    let mut best = 0;
    for (place, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = place;
        }
    }
    best
}

fn binary(manifest: &Manifest, outputs: &RowOutputs<'_>) -> (Vec<f64>, Vec<f64>) {
    let post = &manifest.postprocess;
    let logit = outputs.logits.and_then(|logits| match logits {
        [z] => Some(f64::from(*z)),
        [z0, z1] => Some(f64::from(*z1) - f64::from(*z0)),
        _ => None,
    });
    let score = outputs.scores.and_then(|scores| scores.last()).map(|p| f64::from(*p));
    let positive = match (score, logit) {
        (Some(p), _) => p,
        (None, Some(z)) => sigmoid(z),
        (None, None) => f64::NAN,
    };
    let raw = match outputs.scores {
        Some([p0, p1]) => vec![f64::from(*p0), f64::from(*p1)],
        _ => vec![1.0 - positive, positive],
    };
    let shift = post.site_prevalence.zip(post.training_prevalence);
    if post.calibration.is_none() && shift.is_none() {
        return (raw.clone(), raw);
    }
    let mut z = logit.unwrap_or_else(|| log_odds(positive.clamp(CLIP, 1.0 - CLIP)));
    z = match post.calibration {
        Some(Calibration::Temperature { temperature }) => z / temperature,
        Some(Calibration::Platt { a, b }) => a * z + b,
        None => z,
    };
    if let Some((site, training)) = shift {
        z += log_odds(site) - log_odds(training);
    }
    (raw, vec![sigmoid(-z), sigmoid(z)])
}

fn several(manifest: &Manifest, outputs: &RowOutputs<'_>) -> (Vec<f64>, Vec<f64>) {
    let post = &manifest.postprocess;
    let wide = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
    let (logits, scores) = (outputs.logits.map(wide), outputs.scores.map(wide));
    let each = |logits: &[f64]| match post.activation {
        Activation::Sigmoid => logits.iter().map(|z| sigmoid(*z)).collect(),
        Activation::Softmax | Activation::None => softmax(logits),
    };
    let raw = match (&scores, &logits) {
        (Some(scores), _) => scores.clone(),
        (None, Some(logits)) => each(logits),
        (None, None) => Vec::new(),
    };
    let Some(Calibration::Temperature { temperature }) = post.calibration else {
        return (raw.clone(), raw);
    };
    let logits = logits.unwrap_or_else(|| {
        let one = |p: &f64| match post.activation {
            Activation::Sigmoid => log_odds(p.clamp(CLIP, 1.0 - CLIP)),
            // Softmax does not mind what is added to all logits.
            Activation::Softmax | Activation::None => p.clamp(CLIP, 1.0).ln(),
        };
        raw.iter().map(one).collect()
    });
    let tempered: Vec<f64> = logits.iter().map(|z| z / temperature).collect();
    let calibrated = each(&tempered);
    (raw, calibrated)
}

fn rejections(reject: &Reject, quality: &ImageQuality, ood: Option<f64>) -> Vec<Warning> {
    let mut found: Vec<Warning> = Vec::new();
    for gate in &reject.quality {
        let Some(value) = quality.value(&gate.statistic) else { continue };
        let low = gate.min.is_some_and(|min| value < min);
        if !low && !gate.max.is_some_and(|max| value > max) {
            continue;
        }
        let (code, words) = quality_warning(&gate.statistic, low);
        let (side, bound) = match low {
            true => ("least", gate.min.unwrap_or(f64::NAN)),
            false => ("most", gate.max.unwrap_or(f64::NAN)),
        };
        let name = &gate.statistic;
        let text = format!("{words} ({name} {value:.4}, at {side} {bound} is accepted)");
        found.push(Warning::new(code, text));
    }
    if let Some(gate) = &reject.ood {
        let score = ood.unwrap_or(f64::NAN);
        // A distance that is not a number is no sign of being near.
        if score.is_nan() || score > gate.threshold {
            let text = format!(
                "the image lies outside of what the model was trained on (distance {score:.4}, at \
                 most {} is accepted)",
                gate.threshold
            );
            found.push(Warning::new(WarningCode::OutOfDistribution, text));
        }
    }
    found
}

fn sigmoid(z: f64) -> f64 {
    // Neither side overflows.
    if z >= 0.0 { 1.0 / (1.0 + (-z).exp()) } else { z.exp() / (1.0 + z.exp()) }
}

fn log_odds(p: f64) -> f64 {
    p.ln() - (-p).ln_1p()
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let high = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|z| (z - high).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests;
