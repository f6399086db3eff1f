//! Every metric: its name, labels, buckets and help text, once.
//!
//! `docs/metrics.md` is made from this list.
//! This file must never declare a label that a caller can fill in.

/// Seconds, 0.5 ms to 10 s, with an edge at 1.0 s.
const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Rows of a run.
const ROWS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Scores between 0 and 1.
const SHARES: &[f64] = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

/// What kind of series a metric is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// A level.
    Gauge,
    /// A distribution over fixed buckets.
    Histogram(&'static [f64]),
}

/// The declaration of one metric.
#[derive(Debug, Clone, Copy)]
pub struct MetricSpec {
    /// Its name in the exposition.
    pub name: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// Its label names.
    pub labels: &'static [&'static str],
    /// Its help text.
    pub help: &'static str,
}

macro_rules! declare {
    ($($id:ident = $name:literal, $kind:expr, [$($label:literal),*], $help:literal;)*) => {
        $(pub(super) const $id: &str = $name;)*
        /// Every metric that the service writes itself; process metrics come beside them.
        pub const DECLARED: &[MetricSpec] = &[$(MetricSpec {
            name: $name, kind: $kind, labels: &[$($label),*], help: $help,
        }),*];
    };
}

declare! {
    REQUESTS = "hilum_requests_total", MetricKind::Counter,
        ["protocol", "model", "version", "code"], "Inference requests answered, by outcome.";
    REQUEST_SECONDS = "hilum_request_duration_seconds", MetricKind::Histogram(SECONDS),
        ["protocol", "model", "version"], "From the head of an inference request to its answer.";
    STEP_SECONDS = "hilum_step_duration_seconds", MetricKind::Histogram(SECONDS),
        ["model", "version", "step"], "Time of one step of a prediction.";
    BATCH_SIZE = "hilum_batch_size", MetricKind::Histogram(ROWS),
        ["model", "version"], "Rows of a run of the model.";
    QUEUE_DEPTH = "hilum_queue_depth", MetricKind::Gauge,
        ["model", "version"], "Rows that wait for a run; of a model's image form, images that wait to be decoded.";
    INFLIGHT = "hilum_inflight_requests", MetricKind::Gauge,
        ["protocol"], "Requests accepted and not yet answered.";
    REJECTED = "hilum_rejected_total", MetricKind::Counter,
        ["model", "version", "reason"], "Inference requests refused or given up, by reason.";
    ROWS_TOTAL = "hilum_rows_total", MetricKind::Counter,
        ["model", "version"], "Rows predicted.";
    INPUT_COPIES = "hilum_input_copies_total", MetricKind::Counter,
        ["model", "version", "reason"],
        "Input tensors copied before a run: packed with others, or not aligned in their message.";
    MODEL_INFO = "hilum_model_info", MetricKind::Gauge,
        ["model", "version", "bundle", "alias", "provider"],
        "1 for each version that is served, 0 once it is not any more.";
    MODEL_MEMORY = "hilum_model_memory_bytes", MetricKind::Gauge,
        ["model", "version"], "Bytes of a version's weights, in all its engines.";
    PROVIDER_FALLBACKS = "hilum_provider_fallbacks_total", MetricKind::Counter,
        ["model", "version", "reason"],
        "Preferred execution providers that a load found missing; the reason names which.";
    SPANS_EXPORTED = "hilum_trace_spans_exported_total", MetricKind::Counter,
        [], "Spans that the trace collector has taken.";
    SPANS_DROPPED = "hilum_trace_spans_dropped_total", MetricKind::Counter,
        ["reason"], "Spans that were lost: the queue was full, or the export failed.";
    DECODE_MEMORY = "hilum_decode_memory_bytes", MetricKind::Gauge,
        [], "Bytes that images in flight take by what their headers claim.";
    WARNINGS = "hilum_warnings_total", MetricKind::Counter,
        ["model", "version", "reason"],
        "Warnings about images that were answered, reasons of a rejection among them.";
    SCORE = "hilum_score", MetricKind::Histogram(SHARES),
        ["model", "version"],
        "Calibrated score of the positive class, or of the best of several, of images not rejected.";
    AUDIT_RECORDS = "hilum_audit_records_total", MetricKind::Counter,
        [], "Rows of the record that were written; of aggregated refusals each counts.";
    AUDIT_COMMIT = "hilum_audit_commit_duration_seconds", MetricKind::Histogram(SECONDS),
        [], "Time of one commit: the rows of all that wait, written and made durable.";
    AUDIT_STORE_COMMIT = "hilum_audit_store_commit_duration_seconds", MetricKind::Histogram(SECONDS),
        [], "Time until the store had one commit, under audit.durability = \"store\"; failures too.";
    AUDIT_BYTES = "hilum_audit_spool_bytes", MetricKind::Gauge,
        [], "Bytes that the audit's spool takes.";
    AUDIT_OLDEST = "hilum_audit_spool_oldest_seconds", MetricKind::Gauge,
        [], "Age of the oldest segment in the audit's spool.";
    AUDIT_UNAVAILABLE = "hilum_audit_unavailable", MetricKind::Gauge,
        [], "1 while records cannot be written, so that requests are refused.";
    AUDIT_FAILURES = "hilum_audit_failures_total", MetricKind::Counter,
        ["reason"], "Times that records could not be written any more, by reason.";
    AUDIT_DROPPED = "hilum_audit_dropped_total", MetricKind::Counter,
        ["reason"], "Rows that were lost under audit.durability = \"best_effort\": an alarm.";
    AUDIT_SHIPPED_ROWS = "hilum_audit_shipped_rows_total", MetricKind::Counter,
        [], "Rows of the record that were brought to the store.";
    AUDIT_SHIPPED_BYTES = "hilum_audit_shipped_bytes_total", MetricKind::Counter,
        [], "Bytes of the files of rows that were brought to the store.";
    AUDIT_SHIP_FAILURES = "hilum_audit_ship_failures_total", MetricKind::Counter,
        [], "Times that a chain of the record could not be brought to the store; it is tried again.";
    AUDIT_SHIP_LAG = "hilum_audit_ship_lag_seconds", MetricKind::Gauge,
        [], "How long the oldest sealed segment has been waiting to be shipped.";
    READY = "hilum_ready", MetricKind::Gauge, [], "1 while the service is ready.";
    BUILD_INFO = "hilum_build_info", MetricKind::Gauge, ["version"], "1; the label is the release.";
}
