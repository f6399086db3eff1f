//! What the record is kept with, out of the configuration.
//!
//! This file must never choose a bound: the configuration has them all.

use std::sync::Arc;

use crate::audit::{Audit, AuditSettings, AuditStartError};
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
