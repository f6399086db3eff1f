//! `[pipeline]`: the journey of images.
//!
//! The comments below are the reference, as everywhere in the tree.
//! This file must never hold a bound on a file: those are `limits.image`.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::{non_zero, non_zero_u32};

/// The journey of images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PipelineConfig {
    /// Threads that decode and prepare images; 0 = as many as there are cores to plan with
    /// (`engine.cores`).
    pub decode_threads: usize,
    /// Images of one model version that may wait to be decoded; a further one is refused.
    pub decode_queue: NonZeroUsize,
    /// Bytes of files of one model version that may wait to be decoded.
    pub decode_queue_bytes: NonZeroUsize,
    /// Bytes that all images in flight may take by what their headers claim; a single image that
    /// claims more is decoded alone.
    pub decode_memory_bytes: NonZeroU64,
    /// Pixels of the longer side of an overlay, unless the caller names a bound; an image is never
    /// enlarged. At most 4096.
    pub overlay_max_side: NonZeroU32,
    /// How long an answer is kept for a repeat with the same `idempotency-key`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub idempotency_window: Duration,
    /// Answers that are kept for repeats; the oldest goes first.
    pub idempotency_entries: NonZeroUsize,
    /// Bytes of answers that are kept for repeats.
    pub idempotency_bytes: NonZeroUsize,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            decode_threads: 0,
            decode_queue: non_zero(256),
            decode_queue_bytes: non_zero(256 << 20),
            decode_memory_bytes: NonZeroU64::MIN.saturating_add((1 << 30) - 1),
            overlay_max_side: non_zero_u32(1024),
            idempotency_window: Duration::from_secs(600),
            idempotency_entries: non_zero(1024),
            idempotency_bytes: non_zero(64 << 20),
        }
    }
}

impl PipelineConfig {
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.overlay_max_side.get() > crate::pipeline::MAX_OVERLAY_SIDE {
            problems.push(format!(
                "pipeline.overlay_max_side = {}: at most {}",
                self.overlay_max_side,
                crate::pipeline::MAX_OVERLAY_SIDE
            ));
        }
        problems
    }
}
