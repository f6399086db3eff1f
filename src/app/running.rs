//! The service while it serves, and the order in which it ends.
//!
//! What is made at start is held here until the signal comes.
//! This file must never outlast `shutdown_timeout` by more than the probes' own end.

use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::audit::{Audit, ShipThread};
use crate::catalog::Catalog;
use crate::lifecycle::{Readiness, Shutdown};
use crate::telemetry::Traces;

/// How long the connections of the probes may take to end.
const PROBES_END: Duration = Duration::from_millis(200);

/// The service while it serves.
pub(super) struct Running {
    pub(super) catalog: Catalog,
    pub(super) audit: Audit,
    pub(super) shipper: Option<ShipThread>,
    pub(super) readiness: Readiness,
    pub(super) shutdown: Shutdown,
    pub(super) loading: JoinHandle<()>,
    /// Dropped, it ends the look at the models' folder.
    pub(super) polling: Option<std::sync::mpsc::Sender<()>>,
    pub(super) served: JoinSet<()>,
    pub(super) probes: JoinHandle<()>,
    pub(super) probes_shutdown: Shutdown,
    pub(super) upkeep: JoinHandle<()>,
    pub(super) traces: Traces,
    pub(super) flush_bound: Duration,
    pub(super) drain_grace: Duration,
    pub(super) shutdown_timeout: Duration,
}

impl Running {
    /// Ends in good order; `hurry` cuts the grace short.
    pub(super) async fn end(mut self, hurry: impl Future<Output = ()>) {
        let begun = Instant::now();
        let end = begun + self.shutdown_timeout;
        tracing::info!(grace = ?self.drain_grace, "draining: not ready, still accepting");
        self.readiness.drain();
        self.shutdown.drain();
        drop(self.polling);
        tokio::select! {
            () = tokio::time::sleep(self.drain_grace) => {}
            () = hurry => tracing::info!("a second signal cuts the grace short"),
        }
        tracing::info!("closing: no new requests, what is in flight ends");
        self.shutdown.close();
        // The engines need a moment of the bound for themselves.
        let reserve = self.shutdown_timeout.saturating_sub(self.drain_grace) / 4;
        let all = async { while self.served.join_next().await.is_some() {} };
        if tokio::time::timeout_at(end - reserve, all).await.is_err() {
            tracing::warn!("the bound is reached: connections that are still open are cut");
            self.shutdown.abort();
            while self.served.join_next().await.is_some() {}
        }
        let catalog = self.catalog;
        let engines = tokio::task::spawn_blocking(move || catalog.stop());
        if tokio::time::timeout_at(end, engines).await.is_err() {
            tracing::warn!("a run of a model outlasts the bound and is left behind");
        }
        // Every answer has left: what is left to write are refusals and the seal.
        let (audit, chain) = (self.audit.clone(), self.audit.chain());
        let sealed = tokio::task::spawn_blocking(move || audit.end());
        let sealed = tokio::time::timeout_at(end, sealed).await.is_ok();
        if !sealed {
            tracing::error!(
                "the audit's disk outlasts the bound; the next process seals its segment"
            );
        }
        // What is not shipped in time is shipped by the next process.
        if let Some(shipper) = self.shipper {
            let left = end.saturating_duration_since(Instant::now());
            let within = left.saturating_sub(PROBES_END * 2);
            let chain = chain.filter(|_| sealed);
            let shipped = tokio::task::spawn_blocking(move || shipper.end(chain, within));
            if tokio::time::timeout_at(end, shipped).await.is_err() {
                tracing::warn!("the shipper outlasts the bound and is left behind");
            }
        }
        // The last spans are those of the last runs; the probes' end keeps its share of the bound.
        let left = end.saturating_duration_since(Instant::now()).saturating_sub(PROBES_END);
        let (bound, traces) = (left.min(self.flush_bound), self.traces);
        let _ = tokio::task::spawn_blocking(move || traces.flush(bound)).await;
        self.upkeep.abort();
        self.loading.abort();
        self.probes_shutdown.abort();
        let _ = tokio::time::timeout(PROBES_END, self.probes).await;
        tracing::info!(took = ?begun.elapsed(), "stopped");
    }
}
