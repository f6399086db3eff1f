//! What loaded versions have done, as Triton's statistics say it.
//!
//! `inference_count` are rows and `execution_count` runs that succeeded: both are the sums over
//! `batch_stats`. A request counts once in `success` or `fail`, whatever its rows.
//! This file must never count anything itself.

use super::LookupError;
use crate::catalog::{Catalog, Form, LoadedVersion, image_base};
use crate::proto::inference::{
    InferBatchStatistics, InferStatistics, MemoryUsage, ModelStatistics, ModelStatisticsResponse,
    StatisticDuration,
};
use crate::telemetry::statistics::{BatchTally, Tally};

const FORMS: [Form; 2] = [Form::Tensors, Form::Images];

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
        let ready = versions.filter_map(|entry| entry.ready());
        let model_stats = ready.flat_map(|version| FORMS.map(|form| of(version, form))).flatten();
        return Ok(ModelStatisticsResponse { model_stats: model_stats.collect() });
    }
    let (name, selector) = super::model_selector(name, version)?;
    let (base, form) = match image_base(&name) {
        Some(base) => (base, Form::Images),
        None => (name.clone(), Form::Tensors),
    };
    if version.is_empty()
        && let Some(model) = models.get(&base)
    {
        let ready = model.versions.values().filter_map(|entry| entry.ready());
        let model_stats: Vec<_> = ready.filter_map(|version| of(version, form)).collect();
        if !model_stats.is_empty() {
            return Ok(ModelStatisticsResponse { model_stats });
        }
    }
    let (resolved, form) = catalog.resolve_form(&name, selector)?;
    Ok(ModelStatisticsResponse { model_stats: of(&resolved.version, form).into_iter().collect() })
}

/// What a version has done in a form; `None` where it has not that form.
fn of(version: &LoadedVersion, form: Form) -> Option<ModelStatistics> {
    let metrics = match form {
        Form::Tensors => &version.metrics,
        Form::Images => version.image_metrics.as_ref()?,
    };
    let reading = metrics.statistics().read();
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
    Some(ModelStatistics {
        name: metrics.names().0.to_owned(),
        version: version.version.to_string(),
        last_inference: reading.last_inference_ms,
        inference_count: reading.rows,
        execution_count: reading.runs,
        inference_stats: Some(stats),
        batch_stats: reading.batches.iter().map(batch).collect(),
        // The image form has no weights of its own.
        memory_usage: if form == Form::Images { Vec::new() } else { vec![weights] },
        ..ModelStatistics::default()
    })
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
