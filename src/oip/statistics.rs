//! What loaded versions have done, as Triton's statistics say it.
//!
//! `inference_count` are rows and `execution_count` runs that succeeded: both are the sums over
//! `batch_stats`. A request counts once in `success` or `fail`, whatever its rows.
//! This file must never count anything itself.

use super::LookupError;
use crate::catalog::{Catalog, LoadedVersion};
use crate::proto::inference::{
    InferBatchStatistics, InferStatistics, MemoryUsage, ModelStatistics, ModelStatisticsResponse,
    StatisticDuration,
};
use crate::telemetry::statistics::{BatchTally, Tally};

/// The statistics of a version; without a version of each that is ready, without a name of each
/// model's.
///
/// # Errors
/// [`LookupError`]: the name or version is not one or is not served.
pub fn model_statistics(
    catalog: &Catalog,
    name: &str,
    version: &str,
) -> Result<ModelStatisticsResponse, LookupError> {
    let models = catalog.models();
    if name.is_empty() {
        let versions = models.values().flat_map(|model| model.versions.values());
        let model_stats = versions.filter_map(|entry| entry.ready()).map(|v| of(v)).collect();
        return Ok(ModelStatisticsResponse { model_stats });
    }
    let (name, selector) = super::model_selector(name, version)?;
    if version.is_empty()
        && let Some(model) = models.get(&name)
        && model.ready_versions().next().is_some()
    {
        let ready = model.versions.values().filter_map(|entry| entry.ready());
        return Ok(ModelStatisticsResponse { model_stats: ready.map(|v| of(v)).collect() });
    }
    let resolved = catalog.resolve(&name, selector)?;
    Ok(ModelStatisticsResponse { model_stats: vec![of(&resolved.version)] })
}

fn of(version: &LoadedVersion) -> ModelStatistics {
    let reading = version.metrics.statistics().read();
    let stats = InferStatistics {
        success: duration(reading.success),
        fail: duration(reading.fail),
        queue: duration(reading.queue),
        compute_input: duration(reading.compute.input),
        compute_infer: duration(reading.compute.infer),
        compute_output: duration(reading.compute.output),
        cache_hit: duration(Tally::default()),
        cache_miss: duration(Tally::default()),
    };
    let weights =
        MemoryUsage { r#type: "CPU".to_owned(), id: 0, byte_size: version.memory_bytes() };
    ModelStatistics {
        name: version.name.to_string(),
        version: version.version.to_string(),
        last_inference: reading.last_inference_ms,
        inference_count: reading.rows,
        execution_count: reading.runs,
        inference_stats: Some(stats),
        batch_stats: reading.batches.iter().map(batch).collect(),
        memory_usage: vec![weights],
        ..ModelStatistics::default()
    }
}

fn batch(tally: &BatchTally) -> InferBatchStatistics {
    InferBatchStatistics {
        batch_size: tally.rows,
        compute_input: duration(tally.compute.input),
        compute_infer: duration(tally.compute.infer),
        compute_output: duration(tally.compute.output),
    }
}

fn duration(tally: Tally) -> Option<StatisticDuration> {
    Some(StatisticDuration { count: tally.count, ns: tally.nanos })
}
