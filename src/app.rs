//! Wires the rooms together and runs them until the end.
//!
//! Listeners are bound by the caller, so that a test can ask for port 0. The start is short: models
//! load while the probes already answer.
//! This file must never hold a rule of its own beyond the order of start and end.

mod audit;
mod error;
mod images;
mod listeners;
mod running;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::audit::{Audit, AuditStartError, ShipThread};
use crate::catalog::{Catalog, CatalogError, CatalogParts, CatalogSettings, ModelControl};
use crate::config::Config;
use crate::engine::library;
use crate::engine::{Provider, ProviderMode};
use crate::http::{self, ApiParts, BodyLimits, HttpService, ProbeParts};
use crate::lifecycle::cpu::CpuQuota;
use crate::lifecycle::{
    Clock, ConnectionLimits, HttpVersion, Permits, Readiness, Shutdown, SystemClock,
    serve_connections,
};
use crate::pipeline::{Admission, Idempotency, Pipeline};
use crate::rpc::{self, GrpcEdge, RpcParts};
use crate::shared_memory::SharedMemory;
use crate::telemetry::traces::TraceSettings;
use crate::telemetry::{Metrics, Traces};

pub use audit::{ShipStartError, shipper_settings};
pub use error::AppError;
pub use listeners::{Addresses, Listeners};
use running::Running;

/// The one way to a prediction and what it stands on: the service without its edges. No model is
/// loaded yet; [`Catalog::start`] does that.
#[derive(Debug)]
pub struct Core {
    /// The way, with the catalog.
    pub pipeline: Pipeline,
    /// Held back by each model until its champion is ready.
    pub readiness: Readiness,
    /// The stages of the end.
    pub shutdown: Shutdown,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl Core {
    /// Loads ONNX Runtime and looks that the models' folder can be read. Answers are not written down:
    /// nobody is served.
    ///
    /// # Errors
    /// What is missing and how to mend it.
    pub fn build(config: &Config) -> Result<Self, AppError> {
        Self::with_audit(config, |_| Ok(Audit::off()))
    }

    fn with_audit(
        config: &Config,
        audit: impl FnOnce(&audit::AuditParts<'_>) -> Result<Audit, AuditStartError>,
    ) -> Result<Self, AppError> {
        let runtime = library::load(config.engine.onnxruntime.as_deref())?;
        require_providers(&config.engine.providers)?;
        let metrics = Metrics::new().map_err(|error| AppError::Metrics(error.to_string()))?;
        let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let quota = CpuQuota::detect();
        let cores = quota.cores_or(config.engine.cores);
        tracing::info!(
            cores,
            affinity = quota.affinity,
            cgroup = quota.cgroup,
            "cores to plan with"
        );
        let settings = CatalogSettings {
            directory: config.models.directory.clone(),
            control: config.models.control,
            load: config.models.load.clone(),
            unload_timeout: config.models.unload_timeout,
            memory_limit: config.models.memory_limit,
            providers: config.engine.providers.clone(),
            instances: config.engine.instances,
            intra_threads: config.engine.intra_threads,
            deterministic: config.engine.deterministic,
            queue_rows: config.limits.queue_rows.get(),
            queue_bytes: config.limits.queue_bytes.get(),
        };
        let parts = CatalogParts {
            runtime,
            permits: Permits::new(cores),
            clock: Arc::clone(&clock),
            metrics: metrics.clone(),
            readiness: readiness.clone(),
        };
        // A folder that cannot be read stops the start; the models in it only hold readiness back.
        std::fs::read_dir(&settings.directory)
            .map_err(|error| CatalogError::Directory { path: settings.directory.clone(), error })?;
        let catalog = Catalog::new(settings, parts);
        let admission = Admission::new(config.limits.max_inflight_requests.get(), shutdown.clone());
        let images = images::journey(config, cores, &clock, &metrics)?;
        let audit = audit(&audit::AuditParts {
            config,
            clock: &clock,
            metrics: &metrics,
            readiness: &readiness,
        })?;
        let (clock_too, metrics_too) = (Arc::clone(&clock), metrics.clone());
        let pipeline = Pipeline::new(catalog, admission, images, audit, clock_too, metrics_too);
        Ok(Self { pipeline, readiness, shutdown, clock, metrics })
    }
}

/// The service, built and not yet running.
pub struct App {
    listeners: Listeners,
    grpc: GrpcEdge,
    api: HttpService,
    probes: ProbeParts,
    catalog: Catalog,
    audit: Audit,
    shipper: Option<ShipThread>,
    readiness: Readiness,
    shutdown: Shutdown,
    limits: ConnectionLimits,
    traces: Traces,
    flush_bound: Duration,
    poll: Option<Duration>,
    drain_grace: Duration,
    shutdown_timeout: Duration,
}

impl App {
    /// Loads ONNX Runtime, scans the models and builds the edges.
    ///
    /// # Errors
    /// What is missing and how to mend it.
    pub fn build(config: &Config, listeners: Listeners) -> Result<Self, AppError> {
        let core = Core::with_audit(config, audit::start)?;
        let Core { pipeline, readiness, shutdown, clock, metrics } = core;
        let (catalog, audit) = (pipeline.catalog().clone(), pipeline.audit().clone());
        let traces = Traces::new(&trace_settings(config), &metrics, Arc::clone(&clock))?;
        let shipper = audit::ship(config, &audit, &clock, &metrics)?;
        let memory = SharedMemory::new(config.server.shared_memory_callers());
        let kept = images::repeats(config);
        let repeats = Idempotency::new(kept, Arc::clone(&clock));
        let infer_repeats = Idempotency::new(kept, Arc::clone(&clock));
        let grpc = rpc::service(&RpcParts {
            pipeline: pipeline.clone(),
            readiness: readiness.clone(),
            shutdown: shutdown.clone(),
            clock: Arc::clone(&clock),
            max_message_bytes: config.limits.max_message_bytes.get(),
            compression: config.server.grpc_compression.clone(),
            max_stream_inflight: config.limits.max_stream_inflight.get(),
            repeats: repeats.clone(),
            infer_repeats: infer_repeats.clone(),
            shared_memory: memory.clone(),
            traces: traces.clone(),
        })?;
        let api = ApiParts {
            pipeline,
            readiness: readiness.clone(),
            repeats,
            infer_repeats,
            memory,
            body: BodyLimits {
                max_bytes: config.limits.max_message_bytes.get(),
                timeout: config.limits.body_timeout,
            },
            max_header_list_bytes: config.limits.max_header_list_bytes.get() as usize,
            cors_allowed_origins: config.server.cors_origins(),
            clock,
            traces: traces.clone(),
        };
        Ok(Self {
            listeners,
            api: http::api(api, rpc::grpc_web(grpc.clone())),
            grpc,
            probes: ProbeParts { readiness: readiness.clone(), metrics },
            catalog,
            audit,
            shipper,
            readiness,
            shutdown,
            limits: connection_limits(config),
            traces,
            flush_bound: config.telemetry.otlp_timeout,
            poll: (config.models.control == ModelControl::Poll)
                .then_some(config.models.poll_interval),
            drain_grace: config.server.drain_grace,
            shutdown_timeout: config.server.shutdown_timeout,
        })
    }

    /// The addresses of the listeners, as bound.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn addresses(&self) -> io::Result<Addresses> {
        self.listeners.addresses()
    }

    /// The latch, for who waits for the start.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Serves until `signal` resolves, then ends in good order: not ready first, requests still
    /// accepted for `drain_grace` (cut short if `signal` resolves once more), then GOAWAY, what is
    /// in flight, the connections, the engines, the traces; all within `shutdown_timeout`.
    pub async fn run_until<S, F>(self, mut signal: S)
    where
        S: FnMut() -> F,
        F: Future<Output = ()>,
    {
        let running = self.start();
        signal().await;
        running.end(signal()).await;
    }

    /// Serves from now on; models load meanwhile.
    fn start(self) -> Running {
        let Self { listeners, grpc, api, probes, .. } = self;
        let Self { catalog, readiness, shutdown, limits, poll, .. } = self;
        // Not ready before the first model has said so, even for an instant.
        let models = readiness.hold("models");
        let loading = {
            let catalog = catalog.clone();
            tokio::task::spawn_blocking(move || match catalog.start(|| models.release()) {
                Ok(()) => {}
                Err(error) => {
                    tracing::error!(%error, "no model is loaded");
                    models.refuse(error.to_string());
                }
            })
        };
        let polling = poll.and_then(|every| poll_models(catalog.clone(), every));
        let mut served = JoinSet::new();
        let Listeners { http: http_listener, grpc: grpc_listener, metrics: metrics_listener } =
            listeners;
        let (bounds, end) = (limits.clone(), shutdown.clone());
        served.spawn(serve_connections(grpc_listener, grpc, HttpVersion::Http2, bounds, end));
        let (bounds, end) = (limits.clone(), shutdown.clone());
        served.spawn(serve_connections(http_listener, api, HttpVersion::Any, bounds, end));
        // Probes and metrics answer until the last request is done.
        let probes_shutdown = Shutdown::new();
        let upkeep = tokio::spawn(upkeep(probes.metrics.clone()));
        let probes = tokio::spawn(serve_connections(
            metrics_listener,
            http::probes(probes),
            HttpVersion::Any,
            limits,
            probes_shutdown.clone(),
        ));
        Running {
            catalog,
            audit: self.audit,
            shipper: self.shipper,
            readiness,
            shutdown,
            loading,
            polling,
            served,
            probes,
            probes_shutdown,
            upkeep,
            traces: self.traces,
            flush_bound: self.flush_bound,
            drain_grace: self.drain_grace,
            shutdown_timeout: self.shutdown_timeout,
        }
    }
}

/// Looks at the models' folder again and again, on a thread of its own since loading blocks, until
/// what is returned is dropped.
fn poll_models(catalog: Catalog, every: Duration) -> Option<std::sync::mpsc::Sender<()>> {
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let poll = move || {
        while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
            if let Err(error) = catalog.poll_once() {
                tracing::warn!(%error, "the models' folder cannot be looked at; nothing is changed");
            }
        }
    };
    match std::thread::Builder::new().name("models".to_owned()).spawn(poll) {
        Ok(_) => Some(stop),
        Err(error) => {
            tracing::error!(%error, "the models' folder is not polled: no thread");
            None
        }
    }
}

fn require_providers(providers: &[Provider]) -> Result<(), AppError> {
    for provider in providers {
        if !provider.name.is_built_in() {
            match provider.mode {
                ProviderMode::Require => {
                    return Err(AppError::Provider { provider: provider.name });
                }
                ProviderMode::Prefer => {
                    let provider = provider.name.name();
                    tracing::warn!(provider, "ONNX Runtime was built without this provider");
                }
            }
        }
    }
    Ok(())
}

fn trace_settings(config: &Config) -> TraceSettings {
    let telemetry = &config.telemetry;
    TraceSettings {
        endpoint: telemetry.otlp_endpoint.clone(),
        timeout: telemetry.otlp_timeout,
        ratio: telemetry.trace_ratio,
        queue: telemetry.trace_queue.get(),
        batch: telemetry.trace_batch.get(),
        interval: telemetry.trace_interval,
    }
}

fn connection_limits(config: &Config) -> ConnectionLimits {
    let limits = &config.limits;
    ConnectionLimits {
        max_connections: limits.max_connections.get(),
        max_concurrent_streams: limits.max_concurrent_streams.get(),
        max_header_list_bytes: limits.max_header_list_bytes.get(),
        keepalive_interval: limits.keepalive_interval,
        keepalive_timeout: limits.keepalive_timeout,
        max_age: (!limits.max_connection_age.is_zero()).then_some(limits.max_connection_age),
        max_age_grace: limits.max_connection_age_grace,
    }
}

/// Keeps the recorder's memory flat when nobody scrapes.
async fn upkeep(metrics: Metrics) {
    let mut ticks = tokio::time::interval(Duration::from_secs(5));
    loop {
        ticks.tick().await;
        metrics.upkeep();
    }
}
