//! Ships again and again: this process's own chain, and what dead processes left on a shared volume.
//!
//! A round goes through the spool once. After a failure the next one waits, longer each time and with
//! jitter, so that a store that comes back is not met by everybody at once; until then only disk is spent.
//! This file must never end because something failed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::record::ChainId;
use super::ship::{ShipError, ShipParts, Shipped, finish_chain, ship_chain};
use super::spool::{ChainDir, SpoolError, chains};
use super::time::Micros;
use crate::lifecycle::Clock;
use crate::telemetry::Metrics;

/// How a shipper works.
#[derive(Debug, Clone)]
pub struct ShipperSettings {
    /// The spool, `<chain>/` in it.
    pub spool: PathBuf,
    /// The time between two rounds.
    pub interval: Duration,
    /// The longest wait after failures.
    pub max_backoff: Duration,
}

/// One round.
#[derive(Debug, Default)]
pub struct Round {
    /// What was shipped.
    pub shipped: Shipped,
    /// What was not, by chain.
    pub failures: Vec<(ChainId, ShipError)>,
}

/// A shipper of one spool.
#[derive(Debug, Clone)]
pub struct Shipper {
    parts: ShipParts,
    settings: ShipperSettings,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl Shipper {
    /// A shipper that has not begun.
    pub fn new(
        parts: ShipParts,
        settings: ShipperSettings,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Self {
        Self { parts, settings, clock, metrics }
    }

    fn now(&self) -> Micros {
        Micros::of(self.clock.utc())
    }

    /// Goes through the spool once. A chain that fails does not hold the others up.
    ///
    /// # Errors
    /// A spool that cannot be read.
    pub async fn round(&self) -> Result<Round, SpoolError> {
        let mut round = Round::default();
        for dir in chains(&self.settings.spool)? {
            match ship_chain(&self.parts, &dir, self.now()).await {
                Ok(shipped) => round.add(shipped.unwrap_or_default()),
                Err(error) => round.failures.push((dir.chain, error)),
            }
        }
        let lag = self.lag()?;
        self.metrics.audit_shipped(lag, round.failures.len() as u64);
        Ok(round)
    }

    /// How long the oldest sealed segment has been waiting.
    fn lag(&self) -> Result<Duration, SpoolError> {
        let mut oldest: Option<std::time::SystemTime> = None;
        for dir in chains(&self.settings.spool)? {
            for segment in dir.sealed()? {
                // It may have been shipped meanwhile.
                let sealed = std::fs::metadata(&segment.path).and_then(|file| file.modified()).ok();
                oldest = oldest.into_iter().chain(sealed).min();
            }
        }
        let since = oldest.and_then(|oldest| self.clock.utc().duration_since(oldest).ok());
        Ok(since.unwrap_or_default())
    }

    /// Rounds until it is dropped or `stop` resolves; a round that is under way then is finished.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut failed = 0_u32;
        loop {
            failed = match self.round().await {
                Ok(round) => {
                    round.tell();
                    if round.failures.is_empty() { 0 } else { failed.saturating_add(1) }
                }
                Err(error) => {
                    tracing::warn!(%error, "the audit's spool cannot be read; nothing is shipped");
                    self.metrics.audit_shipped(Duration::ZERO, 1);
                    failed.saturating_add(1)
                }
            };
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(self.wait(failed)) => {}
            }
        }
    }

    /// The wait before the next round: the interval, doubled by each failure in a row, of which a random
    /// half is taken off.
    fn wait(&self, failed: u32) -> Duration {
        let ShipperSettings { interval, max_backoff, .. } = self.settings;
        if failed == 0 {
            return interval;
        }
        let whole = interval.saturating_mul(1 << failed.min(16)).min(max_backoff.max(interval));
        whole.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// The end of this process: ships what its own chain has sealed and closes the chain.
    ///
    /// # Errors
    /// [`ShipError`]; what is left is adopted by the next process.
    pub async fn finish(&self, own: ChainId) -> Result<Shipped, ShipError> {
        let dir = ChainDir::of(&self.settings.spool, own);
        Ok(finish_chain(&self.parts, &dir, self.now()).await?.unwrap_or_default())
    }
}

impl Round {
    fn add(&mut self, shipped: Shipped) {
        self.shipped.segments += shipped.segments;
        self.shipped.rows += shipped.rows;
        self.shipped.files += shipped.files;
        self.shipped.bytes += shipped.bytes;
        self.shipped.closed += shipped.closed;
    }

    /// Logs the round, if there is something to say.
    pub fn tell(&self) {
        let Shipped { segments, rows, files, bytes, closed } = self.shipped;
        if segments > 0 || closed > 0 {
            tracing::info!(segments, rows, files, bytes, closed, "audit records shipped");
        }
        for (chain, error) in &self.failures {
            // What time does not mend needs a person.
            if error.is_retryable() {
                tracing::warn!(%chain, %error, "audit records are not shipped yet");
            } else {
                tracing::error!(%chain, %error, "audit records cannot be shipped");
            }
        }
    }
}
