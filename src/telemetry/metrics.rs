//! The handles by which metrics are written, and the scrape that shows them.
//!
//! A recorder belongs to one application, not to the process, so that two never mix in a test.
//! Labels are enums or names of loaded models; this file must never take one from a caller.

pub mod audit;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder as _, SharedString,
    Unit,
};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use super::declared::*;
use super::statistics::{ComputeTimes, VersionStatistics};
use crate::domain::ErrorKind;

/// The label under which requests for unknown models count.
pub const NO_MODEL: &str = "_none";

/// The protocol that a request came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// gRPC, gRPC-Web included.
    Grpc,
    /// REST.
    Http,
}

impl Edge {
    const ALL: [Edge; 2] = [Edge::Grpc, Edge::Http];

    const fn name(self) -> &'static str {
        match self {
            Edge::Grpc => "grpc",
            Edge::Http => "http",
        }
    }

    const fn index(self) -> usize {
        match self {
            Edge::Grpc => 0,
            Edge::Http => 1,
        }
    }
}

/// A step of a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Waiting for a free engine.
    Queue,
    /// The run of the model.
    Infer,
    /// Decoding an image and preparing its tensor, the wait for a thread not counted.
    Decode,
    /// From the model's outputs to a decision.
    Interpret,
    /// Scaling a heat map and painting it.
    Explain,
}

impl Step {
    const ALL: [Step; 5] = [Step::Queue, Step::Infer, Step::Decode, Step::Interpret, Step::Explain];

    const fn name(self) -> &'static str {
        match self {
            Step::Queue => "queue",
            Step::Infer => "infer",
            Step::Decode => "decode",
            Step::Interpret => "interpret",
            Step::Explain => "explain",
        }
    }
}

/// How a request ended.
pub type Outcome = Result<(), ErrorKind>;

/// The metrics of one application. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    process: metrics_process::Collector,
    inflight: [Gauge; Edge::ALL.len()],
    ready: Gauge,
    decode_memory: Gauge,
    no_model: ModelMetrics,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// What is shown of a version that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// Its model.
    pub model: String,
    /// Its number.
    pub version: String,
    /// Its bundle's digest.
    pub bundle: String,
    /// `champion` or nothing.
    pub alias: &'static str,
    /// The execution provider that runs it.
    pub provider: &'static str,
}

impl ModelInfo {
    /// Whether both are about the same version of the same model.
    pub fn is_version_of(&self, other: &Self) -> bool {
        (&self.model, &self.version) == (&other.model, &other.version)
    }
}

/// The handles of one model version.
#[derive(Debug, Clone)]
pub struct ModelMetrics(Arc<Handles>);

struct Handles {
    model: String,
    version: String,
    recorder: OnceLock<std::sync::Weak<Inner>>,
    duration: [Histogram; Edge::ALL.len()],
    steps: [Histogram; Step::ALL.len()],
    batch_size: Histogram,
    queue_depth: Gauge,
    memory: Gauge,
    rows: Counter,
    statistics: VersionStatistics,
    copies_packed: Counter,
    copies_unaligned: Counter,
    by_code: [[OnceLock<Counter>; ErrorKind::ALL.len() + 1]; Edge::ALL.len()],
}

impl std::fmt::Debug for Handles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "metrics of {}/{}", self.model, self.version)
    }
}

const METADATA: Metadata<'static> = Metadata::new("hilum", Level::INFO, None);

fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    let labels: Vec<Label> =
        labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
    Key::from_parts(name, labels)
}

impl Metrics {
    /// A recorder with every declared metric described.
    ///
    /// # Errors
    /// When a declaration has no buckets.
    pub fn new() -> Result<Self, BuildError> {
        let mut builder = PrometheusBuilder::new();
        for spec in DECLARED {
            if let MetricKind::Histogram(buckets) = spec.kind {
                let matcher = Matcher::Full(spec.name.to_owned());
                builder = builder.set_buckets_for_metric(matcher, buckets)?;
            }
        }
        let recorder = builder.build_recorder();
        for spec in DECLARED {
            let (name, help) = (KeyName::from_const_str(spec.name), SharedString::from(spec.help));
            match spec.kind {
                MetricKind::Counter => recorder.describe_counter(name, None::<Unit>, help),
                MetricKind::Gauge => recorder.describe_gauge(name, None::<Unit>, help),
                MetricKind::Histogram(_) => recorder.describe_histogram(name, None::<Unit>, help),
            }
        }
        let process = metrics_process::Collector::default();
        metrics::with_local_recorder(&recorder, || process.describe());
        let build = key(BUILD_INFO, &[("version", env!("CARGO_PKG_VERSION"))]);
        recorder.register_gauge(&build, &METADATA).set(1.0);
        let inflight = Edge::ALL.map(|edge| {
            recorder.register_gauge(&key(INFLIGHT, &[("protocol", edge.name())]), &METADATA)
        });
        let ready = recorder.register_gauge(&key(READY, &[]), &METADATA);
        let decode_memory = recorder.register_gauge(&key(DECODE_MEMORY, &[]), &METADATA);
        let no_model = handles(&recorder, NO_MODEL, NO_MODEL);
        let handle = recorder.handle();
        let inner = Inner { recorder, handle, process, inflight, ready, decode_memory, no_model };
        let metrics = Self(Arc::new(inner));
        metrics.adopt(&metrics.0.no_model);
        Ok(metrics)
    }

    /// The handles of one model version.
    pub fn model(&self, model: &str, version: &str) -> ModelMetrics {
        let handles = handles(&self.0.recorder, model, version);
        self.adopt(&handles);
        handles
    }

    /// The handles under which requests for unknown models count.
    pub fn no_model(&self) -> ModelMetrics {
        self.0.no_model.clone()
    }

    /// Shows a version that is served (1) or not any more (0).
    pub fn model_info(&self, info: &ModelInfo, served: bool) {
        let labels = [
            ("model", info.model.as_str()),
            ("version", &info.version),
            ("bundle", &info.bundle),
            ("alias", info.alias),
            ("provider", info.provider),
        ];
        let gauge = self.0.recorder.register_gauge(&key(MODEL_INFO, &labels), &METADATA);
        gauge.set(if served { 1.0 } else { 0.0 });
    }

    /// The counters of the span exporter.
    pub(super) fn spans(&self) -> SpanCounters {
        let counter =
            |name, labels: &[_]| self.0.recorder.register_counter(&key(name, labels), &METADATA);
        SpanCounters {
            exported: counter(SPANS_EXPORTED, &[]),
            queue_full: counter(SPANS_DROPPED, &[("reason", "queue_full")]),
            export_failed: counter(SPANS_DROPPED, &[("reason", "export_failed")]),
        }
    }

    /// Counts a request in flight until the answer is dropped.
    pub fn inflight(&self, edge: Edge) -> InflightGuard {
        let gauge = &self.0.inflight[edge.index()];
        gauge.increment(1.0);
        InflightGuard(gauge.clone())
    }

    /// Shows what images in flight take.
    pub fn decode_memory(&self, bytes: u64) {
        self.0.decode_memory.set(bytes as f64);
    }

    /// Shows whether the service is ready.
    pub fn set_ready(&self, ready: bool) {
        self.0.ready.set(if ready { 1.0 } else { 0.0 });
    }

    /// Moves samples into their buckets; call every few seconds, scraped or not.
    pub fn upkeep(&self) {
        self.0.handle.run_upkeep();
    }

    /// The exposition in Prometheus' text format 0.0.4, process metrics included.
    pub fn render(&self) -> String {
        metrics::with_local_recorder(&self.0.recorder, || self.0.process.collect());
        self.0.handle.render()
    }

    fn adopt(&self, handles: &ModelMetrics) {
        let _ = handles.0.recorder.set(Arc::downgrade(&self.0));
    }
}

fn handles(recorder: &PrometheusRecorder, model: &str, version: &str) -> ModelMetrics {
    let labels = [("model", model), ("version", version)];
    let with = |name, value| [labels[0], labels[1], (name, value)];
    let counter = |name, labels: &[_]| recorder.register_counter(&key(name, labels), &METADATA);
    let histogram = |name, labels: &[_]| recorder.register_histogram(&key(name, labels), &METADATA);
    let duration = |edge: Edge| [("protocol", edge.name()), labels[0], labels[1]];
    ModelMetrics(Arc::new(Handles {
        model: model.to_owned(),
        version: version.to_owned(),
        recorder: OnceLock::new(),
        duration: Edge::ALL.map(|edge| histogram(REQUEST_SECONDS, &duration(edge))),
        steps: Step::ALL.map(|step| histogram(STEP_SECONDS, &with("step", step.name()))),
        batch_size: histogram(BATCH_SIZE, &labels),
        queue_depth: recorder.register_gauge(&key(QUEUE_DEPTH, &labels), &METADATA),
        memory: recorder.register_gauge(&key(MODEL_MEMORY, &labels), &METADATA),
        rows: counter(ROWS_TOTAL, &labels),
        statistics: VersionStatistics::default(),
        copies_packed: counter(INPUT_COPIES, &with("reason", "packed")),
        copies_unaligned: counter(INPUT_COPIES, &with("reason", "unaligned")),
        by_code: Default::default(),
    }))
}

/// What became of the spans of traces.
pub(super) struct SpanCounters {
    pub exported: Counter,
    pub queue_full: Counter,
    pub export_failed: Counter,
}

/// A request in flight.
#[derive(Debug)]
pub struct InflightGuard(Gauge);

impl Drop for InflightGuard {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl ModelMetrics {
    /// What the version has done since it was loaded.
    pub fn statistics(&self) -> &VersionStatistics {
        &self.0.statistics
    }

    /// The names of the model and its version, as the labels have them.
    pub fn names(&self) -> (&str, &str) {
        (&self.0.model, &self.0.version)
    }

    /// Counts an answered request.
    pub fn answered(&self, edge: Edge, outcome: Outcome, took: Duration) {
        self.0.statistics.ended(outcome.is_ok(), took);
        let index = match outcome {
            Ok(()) => 0,
            Err(kind) => 1 + ErrorKind::ALL.iter().position(|k| *k == kind).unwrap_or_default(),
        };
        let code = outcome.map_or_else(|kind| kind.name(), |()| "OK");
        let Some(inner) = self.0.recorder.get().and_then(std::sync::Weak::upgrade) else { return };
        let (model, version) = (self.0.model.as_str(), self.0.version.as_str());
        let counter = self.0.by_code[edge.index()][index].get_or_init(|| {
            let labels =
                [("protocol", edge.name()), ("model", model), ("version", version), ("code", code)];
            inner.recorder.register_counter(&key(REQUESTS, &labels), &METADATA)
        });
        counter.increment(1);
        self.0.duration[edge.index()].record(took.as_secs_f64());
        if outcome.is_err() {
            let labels = [("model", model), ("version", version), ("reason", code)];
            inner.recorder.register_counter(&key(REJECTED, &labels), &METADATA).increment(1);
        }
    }

    /// Records the time of a step.
    pub fn step(&self, step: Step, took: Duration) {
        let index = Step::ALL.iter().position(|s| *s == step).unwrap_or_default();
        self.0.steps[index].record(took.as_secs_f64());
    }

    /// Records a run of `rows` rows that succeeded.
    pub fn ran(&self, rows: usize, times: ComputeTimes) {
        self.0.statistics.ran(rows, times);
        self.0.batch_size.record(rows as f64);
        self.0.rows.increment(rows as u64);
    }

    /// Counts an answered image: its score, unless it was rejected, and the codes of its warnings.
    pub fn interpreted(&self, score: Option<f64>, warnings: impl Iterator<Item = &'static str>) {
        let Some(inner) = self.0.recorder.get().and_then(std::sync::Weak::upgrade) else { return };
        let labels = [("model", self.0.model.as_str()), ("version", self.0.version.as_str())];
        if let Some(score) = score {
            inner.recorder.register_histogram(&key(SCORE, &labels), &METADATA).record(score);
        }
        for code in warnings {
            let labels = [labels[0], labels[1], ("reason", code)];
            inner.recorder.register_counter(&key(WARNINGS, &labels), &METADATA).increment(1);
        }
    }

    /// Shows how many rows wait.
    pub fn queue_depth(&self, rows: usize) {
        self.0.queue_depth.set(rows as f64);
    }

    /// Shows what the version's weights take.
    pub fn memory_bytes(&self, bytes: u64) {
        self.0.memory.set(bytes as f64);
    }

    /// Counts a load on another execution provider than `wanted`.
    pub fn provider_fallback(&self, wanted: &str) {
        let Some(inner) = self.0.recorder.get().and_then(std::sync::Weak::upgrade) else { return };
        let (model, version) = (self.0.model.as_str(), self.0.version.as_str());
        let labels = [("model", model), ("version", version), ("reason", wanted)];
        inner.recorder.register_counter(&key(PROVIDER_FALLBACKS, &labels), &METADATA).increment(1);
    }

    /// Counts an input that was copied to stand beside others.
    pub fn packed(&self) {
        self.0.copies_packed.increment(1);
    }

    /// Counts an input that was copied because its bytes were not aligned.
    pub fn unaligned(&self) {
        self.0.copies_unaligned.increment(1);
    }
}

#[cfg(test)]
mod tests;
