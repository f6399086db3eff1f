//! A chain's opening in the registry, where the service does not ship: a sidecar notes it when it first sees the
//! chain's folder, and that may be gone with its disk before.
//!
//! Nobody waits for it: it is tried again until the registry has it, or the service ends.
//! This file must never touch the spool.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::record::ChainId;
use super::shipper::backoff;
use super::signing::ManifestKey;
use super::time::Micros;
use crate::lifecycle::Clock;
use crate::registry::{
    self, ChainClosing, ChainOpening, ClosedBy, Registry, RegistryError, RegistrySettings,
};

/// What is noted, and where.
#[derive(Debug, Clone)]
pub struct OpeningSettings {
    /// The chain.
    pub chain: ChainId,
    /// Its folder in the spool.
    pub folder: PathBuf,
    /// The registry.
    pub registry: RegistrySettings,
    /// What its manifests will be signed by, as far as the service knows.
    pub key: Option<ManifestKey>,
    /// The wait after the first failure, doubled by each further one.
    pub interval: Duration,
    /// The longest wait.
    pub max_backoff: Duration,
}

/// An opening that is to be noted.
#[derive(Debug)]
pub(super) struct Opening {
    settings: OpeningSettings,
    registry: Option<Arc<dyn Registry>>,
}

/// What the registry is to know of a chain's beginning.
pub(super) fn opening(chain: ChainId, key: Option<&ManifestKey>) -> ChainOpening {
    ChainOpening {
        chain: chain.to_string(),
        opened_at: chain.made().0,
        software: env!("CARGO_PKG_VERSION").to_owned(),
        signing_key: key.map(ManifestKey::public),
    }
}

impl Opening {
    pub const fn new(settings: OpeningSettings) -> Self {
        Self { settings, registry: None }
    }

    /// Tries until the registry has it.
    pub async fn note(&mut self) {
        let OpeningSettings { chain, interval, max_backoff, .. } = self.settings;
        let mut failed = 0_u32;
        while let Err(error) = self.try_note().await {
            tracing::warn!(%chain, %error, "the audit's chain is not noted in the registry yet");
            tokio::time::sleep(backoff(interval, max_backoff, failed)).await;
            failed = failed.saturating_add(1);
        }
    }

    async fn try_note(&mut self) -> Result<(), RegistryError> {
        let OpeningSettings { chain, registry, key, .. } = &self.settings;
        let registry = registry::open_current(registry).await?;
        registry.open_chain(&opening(*chain, key.as_ref())).await?;
        self.registry = Some(registry);
        Ok(())
    }

    /// Closes the chain if it was noted and has no row: it leaves no folder, so that no shipper would.
    pub async fn end(&self, clock: &dyn Clock) {
        let OpeningSettings { chain, folder, .. } = &self.settings;
        let Some(registry) = self.registry.as_ref().filter(|_| !folder.exists()) else { return };
        let closed_at = Micros::of(clock.utc()).0;
        let closing = ChainClosing { closed_at, closed_by: ClosedBy::Owner };
        if let Err(error) = registry.close_chain(&chain.to_string(), closing).await {
            tracing::warn!(%chain, %error, "the end of a chain without a row is not noted");
        }
    }
}
