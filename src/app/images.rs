//! What the journey of images is built with, out of the configuration.
//!
//! This file must never choose a bound: the configuration has them all.

use std::sync::Arc;

use super::AppError;
use crate::config::{Config, PipelineConfig};
use crate::lifecycle::Clock;
use crate::pipeline::{DecodePool, DecodeSettings, IdempotencySettings, ImageSettings};
use crate::telemetry::Metrics;

/// What is kept for a repeat, of each kind of answer.
pub(super) fn repeats(config: &Config) -> IdempotencySettings {
    IdempotencySettings {
        window: config.pipeline.idempotency_window,
        entries: config.pipeline.idempotency_entries.get(),
        bytes: config.pipeline.idempotency_bytes.get(),
    }
}

/// The threads that decode images, and the bounds on one.
pub(super) fn journey(
    config: &Config,
    cores: usize,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
) -> Result<(DecodePool, ImageSettings), AppError> {
    let PipelineConfig { decode_threads, .. } = config.pipeline;
    let settings = DecodeSettings {
        threads: if decode_threads > 0 { decode_threads } else { cores },
        queue_images: config.pipeline.decode_queue.get(),
        queue_bytes: config.pipeline.decode_queue_bytes.get(),
        memory_bytes: config.pipeline.decode_memory_bytes.get(),
    };
    let pool = DecodePool::start(settings, Arc::clone(clock), metrics.clone());
    let images = ImageSettings {
        limits: config.limits.image.clone(),
        overlay_max_side: config.pipeline.overlay_max_side.get(),
    };
    Ok((pool.map_err(AppError::Threads)?, images))
}
