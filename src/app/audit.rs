//! What the record is kept and shipped with, out of the configuration.
//!
//! This file must never choose a bound: the configuration has them all.

use std::sync::Arc;

use crate::audit::{
    Audit, AuditSettings, AuditStartError, ChainDir, ChainId, Durability, ManifestKey,
    OpeningSettings, ShipBy, ShipThread, ShipperSettings, SigningError,
};
use crate::config::Config;
use crate::lifecycle::{Clock, Readiness};
use crate::telemetry::Metrics;

/// What the audit stands on.
pub(super) struct AuditParts<'a> {
    pub config: &'a Config,
    pub clock: &'a Arc<dyn Clock>,
    pub metrics: &'a Metrics,
    pub readiness: &'a Readiness,
}

/// Opens the spool.
pub(super) fn start(parts: &AuditParts<'_>) -> Result<Audit, AuditStartError> {
    let AuditParts { config, clock, metrics, readiness } = parts;
    let audit = &config.audit;
    let settings = AuditSettings {
        spool_dir: audit.spool_dir.clone(),
        keys_file: audit.keys_file.clone(),
        durability: audit.durability,
        store: (audit.durability == Durability::Store).then(|| config.store.settings()),
        max_bytes: audit.max_bytes.get(),
        seal_bytes: audit.seal_bytes.get(),
        seal_age: audit.seal_age,
        commit_timeout: audit.commit_timeout,
        // As many as can be in flight, and once more for those whose callers have left.
        queue: config.limits.max_inflight_requests.get().saturating_mul(2),
        image_digest: config.server.image_digest(),
    };
    Audit::start(&settings, clock, metrics, readiness)
}

/// A shipper that cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ShipStartError {
    /// The registry's settings.
    #[error("{0}")]
    Registry(String),
    /// The key of manifests.
    #[error(transparent)]
    Key(#[from] SigningError),
    /// No thread.
    #[error("the thread that ships audit records cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// What a shipper works with.
///
/// # Errors
/// A file that the configuration names and that cannot be used.
pub fn shipper_settings(config: &Config) -> Result<ShipperSettings, ShipStartError> {
    let audit = &config.audit;
    Ok(ShipperSettings {
        spool: audit.spool_dir.clone(),
        store: config.store.settings(),
        registry: config.registry.settings().map_err(ShipStartError::Registry)?,
        key: audit.signing_key_file.as_deref().map(ManifestKey::read).transpose()?,
        interval: audit.ship_interval,
        max_backoff: audit.ship_max_backoff,
    })
}

/// Begins to ship; where a sidecar does that, to note that the chain begins.
pub(super) fn ship(
    config: &Config,
    audit: &Audit,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
) -> Result<Option<ShipThread>, ShipStartError> {
    match config.audit.shipper {
        ShipBy::Process => {
            let settings = shipper_settings(config)?;
            Ok(Some(ShipThread::start(settings, Arc::clone(clock), metrics.audit())?))
        }
        ShipBy::Sidecar => {
            let settings = audit.chain().and_then(|chain| opening_settings(config, chain));
            let started = settings.map(|settings| ShipThread::note(settings, Arc::clone(clock)));
            Ok(started.transpose()?)
        }
    }
}

/// What a service that does not ship knows of its chain's beginning. Files that only the sidecar may have are told and
/// done without.
fn opening_settings(config: &Config, chain: ChainId) -> Option<OpeningSettings> {
    let audit = &config.audit;
    let registry = config.registry.settings().inspect_err(|error| {
        tracing::warn!(%chain, %error, "the chain's opening is left to the sidecar");
    });
    let key = audit.signing_key_file.as_deref().and_then(|file| {
        let told = |error: &SigningError| {
            tracing::warn!(%chain, %error, "the chain's opening is noted without its key");
        };
        ManifestKey::read(file).inspect_err(told).ok()
    });
    Some(OpeningSettings {
        chain,
        folder: ChainDir::of(&audit.spool_dir, chain).path,
        registry: registry.ok()?,
        key,
        interval: audit.ship_interval,
        max_backoff: audit.ship_max_backoff,
    })
}
