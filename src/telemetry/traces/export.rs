//! The way of a span from its end to the collector: counted, bounded, and told about when it fails.
//!
//! The batching is the SDK's; around it stand a bound on all spans that are not yet delivered, and
//! counters of what became of each.
//! This file must never block who ends a span, or log more often than [`SAY_EVERY`].

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor,
};

use crate::lifecycle::Clock;
use crate::telemetry::metrics::SpanCounters;

/// The least time between two log lines about lost spans.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// What became of the spans.
pub struct Account {
    counters: SpanCounters,
    clock: Arc<dyn Clock>,
    bound: usize,
    waiting: AtomicUsize,
    lost: AtomicUsize,
    said: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} spans wait", self.waiting(), self.bound)
    }
}

impl Account {
    /// An empty account over at most `bound` spans at a time.
    pub fn new(counters: SpanCounters, clock: Arc<dyn Clock>, bound: usize) -> Self {
        let (waiting, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { counters, clock, bound, waiting, lost, said: Mutex::default() }
    }

    /// Spans that wait or are under way.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Takes a place for a span; false when there is none, which is counted.
    fn enter(&self) -> bool {
        if self.waiting.fetch_add(1, Ordering::AcqRel) < self.bound {
            return true;
        }
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        self.counters.queue_full.increment(1);
        self.lose(1, &"the queue is full (telemetry.trace_queue)");
        false
    }

    fn sent(&self, spans: usize, result: &OTelSdkResult) {
        self.waiting.fetch_sub(spans, Ordering::AcqRel);
        match result {
            Ok(()) => self.counters.exported.increment(spans as u64),
            Err(error) => {
                self.counters.export_failed.increment(spans as u64);
                self.lose(spans, error);
            }
        }
    }

    /// Tells about lost spans now and then.
    fn lose(&self, spans: usize, reason: &dyn std::fmt::Display) {
        self.lost.fetch_add(spans, Ordering::Relaxed);
        // Whoever finds it locked need not say the same again.
        let Ok(mut said) = self.said.try_lock() else { return };
        let now = self.clock.now();
        if said.is_some_and(|said| now.saturating_duration_since(said) < SAY_EVERY) {
            return;
        }
        *said = Some(now);
        let lost = self.lost.swap(0, Ordering::Relaxed);
        tracing::warn!(lost, %reason, "spans were lost; requests are not affected");
    }
}

/// An exporter whose results are counted.
#[derive(Debug)]
pub struct CountingExporter<E> {
    inner: E,
    account: Arc<Account>,
}

impl<E> CountingExporter<E> {
    /// Counts the results of `inner`.
    pub fn new(inner: E, account: Arc<Account>) -> Self {
        Self { inner, account }
    }
}

impl<E: SpanExporter> SpanExporter for CountingExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.inner.export(batch).await;
        self.account.sent(spans, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// The SDK's batching behind a bound on all that is not delivered.
#[derive(Debug)]
pub struct BoundedProcessor {
    inner: BatchSpanProcessor,
    account: Arc<Account>,
}

impl BoundedProcessor {
    /// Hands `batch` spans at a time to `exporter`, each `interval` at the latest.
    pub fn new<E: SpanExporter + 'static>(
        exporter: E,
        account: Arc<Account>,
        batch: usize,
        interval: Duration,
    ) -> Self {
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(account.bound)
            .with_max_export_batch_size(batch)
            .with_scheduled_delay(interval)
            .build();
        let inner = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        Self { inner, account }
    }
}

impl SpanProcessor for BoundedProcessor {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.account.enter() {
            self.inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
