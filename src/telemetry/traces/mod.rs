//! Traces: a span for each step of a request, sent to an OTLP collector over gRPC.
//!
//! An edge begins a server span from the caller's `traceparent` and hands a [`TraceContext`] down
//! the journey; each step that is over is written below it. Spans wait in a bounded queue, a thread
//! of its own sends them in batches. Off, a context is a `None` and nothing is measured.
//! A tracer belongs to one application, not to the process, as the metrics do.
//! This room must never make a request wait for a collector, or put what a caller wrote into a span.

mod export;
mod propagation;
mod span;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{Link, SpanKind, TraceId, TracerProvider as _};
use opentelemetry::{Context, InstrumentationScope, Key, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    Sampler, SamplingDecision, SamplingResult, SdkTracer, SdkTracerProvider, ShouldSample,
    SpanExporter,
};

use super::Metrics;
use crate::lifecycle::Clock;
use export::{Account, BoundedProcessor, CountingExporter};

pub use span::{
    BatchPart, BatchRun, ServerCall, ServerOutcome, ServerSpan, TraceContext, TraceStep, batch_ran,
};

/// Links that one batch span may have: above the rows of any batch.
const MAX_LINKS: u32 = 4096;

/// Where traces go and what may wait for that.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceSettings {
    /// The collector, such as `http://127.0.0.1:4317`; empty means off.
    pub endpoint: String,
    /// How long one export, and the flush at the end, may take.
    pub timeout: Duration,
    /// The share of traces begun here that is kept, 0 to 1.
    pub ratio: f64,
    /// Spans that may wait or be under way; a further one is dropped.
    pub queue: usize,
    /// Spans of one export.
    pub batch: usize,
    /// The longest time that a span waits for others.
    pub interval: Duration,
}

/// Traces that cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The exporter refuses its settings or the environment's.
    #[error("telemetry.otlp_endpoint = \"{endpoint}\" cannot be used: {problem}")]
    Exporter {
        /// The collector.
        endpoint: String,
        /// Why.
        problem: ExporterBuildError,
    },
}

/// The tracer of one application. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    account: Arc<Account>,
    ratio: f64,
}

impl Traces {
    /// The share of requests without a decision of their own that is traced; `None` when off.
    pub fn ratio(&self) -> Option<f64> {
        self.0.as_ref().map(|inner| inner.ratio)
    }

    /// Begins nothing, hands a caller's context on.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Sends spans to the collector of `settings`. Within a tokio runtime, which carries the
    /// connection; nothing is connected before the first span.
    ///
    /// `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` name the resource, `OTEL_EXPORTER_OTLP_HEADERS`
    /// the headers of an export, as the OpenTelemetry specification says.
    ///
    /// # Errors
    /// [`TracesError::Exporter`] when the exporter cannot be made.
    pub fn new(
        settings: &TraceSettings,
        metrics: &Metrics,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TracesError> {
        let TraceSettings { endpoint, timeout, .. } = settings;
        if endpoint.is_empty() {
            return Ok(Self::off());
        }
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(*timeout)
            .build()
            .map_err(|problem| TracesError::Exporter { endpoint: endpoint.clone(), problem })?;
        Ok(Self::to(exporter, settings, metrics, clock))
    }

    fn to<E: SpanExporter + 'static>(
        exporter: E,
        settings: &TraceSettings,
        metrics: &Metrics,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let TraceSettings { ratio, queue, batch, interval, .. } = settings;
        let account = Arc::new(Account::new(metrics.spans(), clock, *queue));
        let exporter = CountingExporter::new(exporter, Arc::clone(&account));
        let processor = BoundedProcessor::new(exporter, Arc::clone(&account), *batch, *interval);
        let provider = SdkTracerProvider::builder()
            .with_resource(resource())
            .with_sampler(Sampler::ParentBased(Box::new(RootSampler {
                ratio: Sampler::TraceIdRatioBased(*ratio),
            })))
            .with_max_links_per_span(MAX_LINKS)
            .with_span_processor(processor)
            .build();
        let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        let tracer = provider.tracer_with_scope(scope);
        Self(Some(Arc::new(Inner { provider, tracer, account, ratio: *ratio })))
    }

    /// Whether spans are sent anywhere.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Sends what waits and ends the exporter; blocks for `bound` at most. Spans that end later are
    /// lost.
    pub fn flush(&self, bound: Duration) {
        let Some(inner) = &self.0 else { return };
        if let Err(error) = inner.provider.shutdown_with_timeout(bound) {
            let spans = inner.account.waiting();
            tracing::warn!(%error, spans, ?bound, "traces were not flushed in time");
        }
    }
}

/// Who sends: what the environment names wins over ours.
fn resource() -> Resource {
    let detected = Resource::builder().build();
    let found = |key| detected.get(&Key::from_static_str(key));
    let mut ours = Vec::new();
    let name = found("service.name").map(|name| name.to_string());
    if name.is_none_or(|name| name.starts_with("unknown_service")) {
        ours.push(KeyValue::new("service.name", env!("CARGO_PKG_NAME")));
    }
    if found("service.version").is_none() {
        ours.push(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    }
    if found("service.instance.id").is_none() {
        ours.push(KeyValue::new("service.instance.id", uuid::Uuid::now_v7().to_string()));
    }
    Resource::builder().with_attributes(ours).build()
}

/// Decides about traces that begin here: a batch is kept, since only kept requests make its span;
/// everything else by the share.
#[derive(Debug, Clone)]
struct RootSampler {
    ratio: Sampler,
}

impl ShouldSample for RootSampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let mut result = self.ratio.should_sample(parent, trace_id, name, kind, attributes, links);
        if name == span::BATCH {
            result.decision = SamplingDecision::RecordAndSample;
        }
        result
    }
}
