//! Ships again and again: this process's own chain, and what dead processes left on a shared volume.
//!
//! A round goes through the spool once. After a failure the next one waits, longer each time and with
//! jitter, so that a store that comes back is not met by everybody at once; until then only disk is spent.
//! This file must never end because something failed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::commit_objects::commits;
use super::record::ChainId;
use super::ship::{ShipParts, Shipped, finish_chain, ship_on};
use super::ship_error::ShipError;
use super::signing::ManifestKey;
use super::spool::{ChainDir, chains, ship_lag, used_bytes};
use super::time::Micros;
use crate::lifecycle::Clock;
use crate::registry::{self, RegistrySettings};
use crate::store::{self, StoreSettings};
use crate::telemetry::AuditMetrics;

/// Who ships.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShipBy {
    /// The service itself.
    Process,
    /// `hilum audit ship` beside it.
    Sidecar,
}

/// How a shipper works.
#[derive(Debug, Clone)]
pub struct ShipperSettings {
    /// The spool, `<chain>/` in it.
    pub spool: PathBuf,
    /// Where files and manifests go.
    pub store: StoreSettings,
    /// Where heads are noted.
    pub registry: RegistrySettings,
    /// What manifests are signed by; `None` = they are not.
    pub key: Option<ManifestKey>,
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
    /// Chains of which there are still segments.
    pub left: usize,
}

/// A shipper of one spool. It opens store and registry when it first needs them, and again after a failure.
#[derive(Debug)]
pub struct Shipper {
    settings: ShipperSettings,
    clock: Arc<dyn Clock>,
    metrics: AuditMetrics,
    parts: Option<ShipParts>,
}

impl Shipper {
    /// A shipper that has not begun.
    pub fn new(settings: ShipperSettings, clock: Arc<dyn Clock>, metrics: AuditMetrics) -> Self {
        Self { settings, clock, metrics, parts: None }
    }

    fn now(&self) -> Micros {
        Micros::of(self.clock.utc())
    }

    async fn parts(&mut self) -> Result<ShipParts, ShipError> {
        if let Some(parts) = &self.parts {
            return Ok(parts.clone());
        }
        let ShipperSettings { store, registry, key, .. } = &self.settings;
        let parts = ShipParts {
            store: store::open(store.clone()).await?,
            registry: registry::open_current(registry).await?,
            key: key.clone(),
        };
        Ok(self.parts.insert(parts).clone())
    }

    /// Goes through the spool once. A chain that fails does not hold the others up.
    ///
    /// # Errors
    /// A spool that cannot be read, a registry or a store that cannot be opened.
    pub async fn round(&mut self) -> Result<Round, ShipError> {
        let done = self.ship_all().await;
        let failures = done.as_ref().map_or(1, |round| round.failures.len() as u64);
        self.metrics.ship_failed(failures);
        self.metrics.ship_lag(self.lag());
        done
    }

    async fn ship_all(&mut self) -> Result<Round, ShipError> {
        let mut round = Round::default();
        let dirs = chains(&self.settings.spool)?;
        if dirs.is_empty() {
            return Ok(round);
        }
        let parts = self.parts().await?;
        for dir in dirs {
            let mut shipped = Shipped::default();
            if let Err(error) = ship_on(&parts, &dir, self.now(), &mut shipped).await {
                round.failures.push((dir.chain, error));
            }
            self.metrics.shipped(shipped.rows, shipped.bytes);
            round.shipped.add(shipped);
            // What was cut off after a crash stays for a person and is nobody's to ship.
            round.left += usize::from(dir.segments().is_ok_and(|segments| !segments.is_empty()));
        }
        Ok(round)
    }

    /// Makes the folder of a chain whose process and disk are gone, so that a round adopts it, puts back what
    /// the store has as commits, ships it and closes the chain.
    ///
    /// # Errors
    /// A chain that is closed, that is in the spool already, or that the store has no commits of.
    pub async fn recover(&mut self, chain: ChainId) -> Result<(), ShipError> {
        let parts = self.parts().await?;
        let refused = |problem: &'static str| Err(ShipError::NotLost { chain, problem });
        let dir = ChainDir::of(&self.settings.spool, chain);
        if dir.path.exists() {
            return refused("it is in this spool already, and is shipped out of it");
        }
        let known = parts.registry.chain(&chain.to_string()).await?;
        if known.is_some_and(|known| known.closing.is_some()) {
            return refused("it is closed: everything of it was shipped");
        }
        if commits(parts.store.as_ref(), Some(chain)).await?.is_empty() {
            return refused("the store has no commits of it that are not shipped");
        }
        std::fs::create_dir_all(&dir.path)
            .map_err(|error| ShipError::Folder { path: dir.path.display().to_string(), error })
    }

    /// How long the oldest sealed segment has been waiting.
    fn lag(&self) -> Duration {
        ship_lag(&self.settings.spool, self.clock.utc())
    }

    /// Logs a round, if there is something to say.
    fn tell(&self, round: &Result<Round, ShipError>) {
        let failed = round.as_ref().map_or(true, |round| !round.failures.is_empty());
        // How urgent a failure is: for how long, and how much of the disk.
        let (lag_s, spool_bytes) = if failed {
            (self.lag().as_secs(), used_bytes(&self.settings.spool).unwrap_or_default())
        } else {
            (0, 0)
        };
        let round = match round {
            Ok(round) => round,
            Err(error) => {
                tracing::warn!(lag_s, spool_bytes, %error, "audit records are not shipped yet");
                return;
            }
        };
        let Shipped { segments, rows, files, bytes, closed } = round.shipped;
        if segments > 0 || closed > 0 {
            tracing::info!(segments, rows, files, bytes, closed, "audit records shipped");
        }
        for (chain, error) in &round.failures {
            // What time does not mend needs a person.
            if error.is_retryable() {
                tracing::warn!(%chain, lag_s, spool_bytes, %error, "audit records are not shipped yet");
            } else {
                tracing::error!(%chain, lag_s, spool_bytes, %error, "audit records cannot be shipped");
            }
        }
    }

    /// Rounds until `stop` resolves; one that is under way then is cut off, which costs a repetition.
    pub async fn run(&mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut failed = 0_u32;
        loop {
            let round = tokio::select! {
                () = &mut stop => return,
                round = self.round() => round,
            };
            let good = round.as_ref().is_ok_and(|round| round.failures.is_empty());
            self.tell(&round);
            failed = if good { 0 } else { failed.saturating_add(1) };
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
        backoff(interval, max_backoff, failed)
    }

    /// Rounds without a pause until no chain is left, for the end of what wrote them; failures are told and
    /// tried again.
    pub async fn drain(&mut self) {
        loop {
            let round = self.round().await;
            self.tell(&round);
            if round.is_ok_and(|round| round.left == 0) {
                return;
            }
            tokio::time::sleep(self.wait(0).min(Duration::from_secs(1))).await;
        }
    }

    /// The end of this process: ships what its own chain has sealed and closes the chain.
    ///
    /// # Errors
    /// [`ShipError`]; what is left is adopted by the next process.
    pub async fn finish(&mut self, own: ChainId) -> Result<Shipped, ShipError> {
        let dir = ChainDir::of(&self.settings.spool, own);
        let parts = self.parts().await?;
        let done = finish_chain(&parts, &dir, self.now()).await;
        match &done {
            Ok(shipped) => {
                let shipped = shipped.unwrap_or_default();
                self.metrics.shipped(shipped.rows, shipped.bytes);
            }
            Err(_) => self.metrics.ship_failed(1),
        }
        self.metrics.ship_lag(self.lag());
        Ok(done?.unwrap_or_default())
    }
}

/// The wait `interval`, doubled so many times and at most `most`, of which a random half is taken off.
pub(super) fn backoff(interval: Duration, most: Duration, doubled: u32) -> Duration {
    let whole = interval.saturating_mul(1 << doubled.min(16)).min(most.max(interval));
    whole.mul_f64(0.5 + fastrand::f64() / 2.0)
}

impl Shipped {
    fn add(&mut self, other: Self) {
        self.segments += other.segments;
        self.rows += other.rows;
        self.files += other.files;
        self.bytes += other.bytes;
        self.closed += other.closed;
    }
}
