//! The shipper inside the service: a thread of its own, so that files and the packing of segments hold no
//! request up.
//!
//! It begins with the service and ends after it, when the last segment is sealed. Where a sidecar ships, it does no
//! more than to note the chain's beginning.
//! This file must never wait beyond what it was given.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::opening::{Opening, OpeningSettings};
use super::record::ChainId;
use super::shipper::{Shipper, ShipperSettings};
use crate::lifecycle::Clock;
use crate::telemetry::AuditMetrics;

/// What is to be done at the end: the chain to finish, and how long that may take.
type End = Option<(ChainId, Duration)>;

/// A shipper at work.
#[derive(Debug)]
pub struct ShipThread {
    end: oneshot::Sender<End>,
    thread: JoinHandle<()>,
}

impl ShipThread {
    /// Begins to ship.
    ///
    /// # Errors
    /// No thread, or no timer.
    pub fn start(
        settings: ShipperSettings,
        clock: Arc<dyn Clock>,
        metrics: AuditMetrics,
    ) -> io::Result<Self> {
        let (end, told) = oneshot::channel();
        let mut shipper = Shipper::new(settings, clock, metrics);
        let work = async move {
            let mut what = None;
            let stop = async { what = told.await.ok().flatten() };
            shipper.run(stop).await;
            let Some((chain, within)) = what else { return };
            match tokio::time::timeout(within, shipper.finish(chain)).await {
                Ok(Ok(shipped)) => {
                    tracing::info!(%chain, rows = shipped.rows, "the audit's chain is shipped and closed");
                }
                Ok(Err(error)) => {
                    tracing::warn!(%chain, %error, "the audit's chain is left to the next process");
                }
                Err(_) => {
                    tracing::warn!(%chain, "the audit's chain is left to the next process: no time")
                }
            }
        };
        Self::of(end, work)
    }

    /// Begins to note a chain's opening, for a service whose records a sidecar ships.
    ///
    /// # Errors
    /// No thread, or no timer.
    pub fn note(settings: OpeningSettings, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let (end, mut told) = oneshot::channel::<End>();
        let mut opening = Opening::new(settings);
        let work = async move {
            let early = tokio::select! {
                what = &mut told => Some(what),
                () = opening.note() => None,
            };
            let what = match early {
                Some(what) => what,
                None => told.await,
            };
            if let Some((_, within)) = what.ok().flatten() {
                let _ = tokio::time::timeout(within, opening.end(clock.as_ref())).await;
            }
        };
        Self::of(end, work)
    }

    fn of(
        end: oneshot::Sender<End>,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("ship".to_owned()).spawn(move || {
            runtime.block_on(work);
            // A call that was cut off must not hold the end up.
            runtime.shutdown_background();
        })?;
        Ok(Self { end, thread })
    }

    /// Finishes `chain`, whose last segment is sealed, within that time, and ends; blocks.
    pub fn end(self, chain: Option<ChainId>, within: Duration) {
        // Without a receiver it has ended by itself.
        let _ = self.end.send(chain.map(|chain| (chain, within)));
        let _ = self.thread.join();
    }
}
