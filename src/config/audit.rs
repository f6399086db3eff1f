//! `[audit]`: the record of every answer.
//!
//! The comments below are the reference, as everywhere in the tree.
//! This file must never hold a key's secret: a file does.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::audit::{Durability, ShipBy};

/// Bytes below which a spool or a segment holds too little to be of use.
const LEAST_BYTES: u64 = 64 << 10;

/// The record of every answer (docs/audit.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// The directory of records that are not shipped yet; made if it is absent. Several processes may
    /// share it.
    pub spool_dir: PathBuf,
    /// When an answer may leave: `spool` = once its record is on the spool's disk, `store` = once the
    /// store has it too, so that it outlives the disk, `best_effort` = at once, so that records may be
    /// lost.
    pub durability: Durability,
    /// Bytes that the spool may take, with all its processes; when it is full, requests are refused.
    pub max_bytes: NonZeroU64,
    /// Bytes at which a segment of the spool is sealed, to be shipped.
    pub seal_bytes: NonZeroU64,
    /// The age at which it is sealed.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub seal_age: Duration,
    /// How long a request may wait for its record to be written; then it fails, and the record may still
    /// be written. With `durability = "store"`, a call to the store ends by then too.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub commit_timeout: Duration,
    /// The file with the keys of keyed hashes. Empty: `keys.toml` in `spool_dir`, made with a new key
    /// where it is absent. In production it belongs apart from the records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_file: Option<PathBuf>,
    /// Who brings sealed segments to the store: `process` = the service itself, `sidecar` = `hilum audit
    /// ship` beside it, on the same volume and with the same `spool_dir` and `[registry]`, in which the
    /// service then notes that its chain begins.
    pub shipper: ShipBy,
    /// The time between two rounds of the shipper.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub ship_interval: Duration,
    /// The longest wait of the shipper after failures in a row: the interval doubles with each of them, up
    /// to here, and is jittered.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub ship_max_backoff: Duration,
    /// The file with the Ed25519 key (PKCS #8 in PEM) that manifests are signed by. Empty: they are not
    /// signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_key_file: Option<PathBuf>,
}

impl Default for AuditConfig {
    fn default() -> Self {
        let bytes = |n: u64| NonZeroU64::MIN.saturating_add(n - 1);
        Self {
            spool_dir: PathBuf::from("data/spool"),
            durability: Durability::Spool,
            max_bytes: bytes(4 << 30),
            seal_bytes: bytes(64 << 20),
            seal_age: Duration::from_secs(300),
            commit_timeout: Duration::from_secs(10),
            keys_file: None,
            shipper: ShipBy::Process,
            ship_interval: Duration::from_secs(5),
            ship_max_backoff: Duration::from_secs(300),
            signing_key_file: None,
        }
    }
}

impl AuditConfig {
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.spool_dir.as_os_str().is_empty() {
            problems.push("audit.spool_dir is empty; name a directory".to_owned());
        }
        let (most, seal) = (self.max_bytes.get(), self.seal_bytes.get());
        if most < LEAST_BYTES || seal < LEAST_BYTES {
            problems.push(format!("audit.max_bytes and audit.seal_bytes: at least {LEAST_BYTES}"));
        }
        if seal > most {
            problems.push(format!(
                "audit.seal_bytes = {seal} is more than audit.max_bytes = {most}: no segment would \
                 ever be shipped"
            ));
        }
        if self.seal_age.is_zero() || self.commit_timeout.is_zero() {
            problems.push("audit.seal_age and commit_timeout: above 0".to_owned());
        }
        if self.ship_interval.is_zero() || self.ship_max_backoff < self.ship_interval {
            problems.push(
                "audit.ship_interval: above 0; audit.ship_max_backoff: at least as long".to_owned(),
            );
        }
        problems
    }
}
