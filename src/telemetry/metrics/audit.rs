//! The metrics of the audit.
//!
//! This file must never name a chain: each run would leave its series behind.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Recorder as _};

use super::{METADATA, Metrics, key};
use crate::telemetry::declared::*;

/// The handles of the audit.
#[derive(Clone)]
pub struct AuditMetrics {
    metrics: Metrics,
    records: Counter,
    commit: Histogram,
    store_commit: Histogram,
    bytes: Gauge,
    oldest: Gauge,
    unavailable: Gauge,
    shipped_rows: Counter,
    shipped_bytes: Counter,
    ship_failures: Counter,
    ship_lag: Gauge,
}

impl std::fmt::Debug for AuditMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("metrics of the audit")
    }
}

impl Metrics {
    /// The handles of the audit.
    pub fn audit(&self) -> AuditMetrics {
        let recorder = &self.0.recorder;
        let gauge = |name| recorder.register_gauge(&key(name, &[]), &METADATA);
        let counter = |name| recorder.register_counter(&key(name, &[]), &METADATA);
        AuditMetrics {
            records: counter(AUDIT_RECORDS),
            commit: recorder.register_histogram(&key(AUDIT_COMMIT, &[]), &METADATA),
            store_commit: recorder.register_histogram(&key(AUDIT_STORE_COMMIT, &[]), &METADATA),
            bytes: gauge(AUDIT_BYTES),
            oldest: gauge(AUDIT_OLDEST),
            unavailable: gauge(AUDIT_UNAVAILABLE),
            shipped_rows: counter(AUDIT_SHIPPED_ROWS),
            shipped_bytes: counter(AUDIT_SHIPPED_BYTES),
            ship_failures: counter(AUDIT_SHIP_FAILURES),
            ship_lag: gauge(AUDIT_SHIP_LAG),
            metrics: self.clone(),
        }
    }
}

impl AuditMetrics {
    /// Counts rows that were written, in `took`.
    pub fn committed(&self, rows: u64, took: Duration) {
        self.records.increment(rows);
        self.commit.record(took.as_secs_f64());
    }

    /// Counts a commit that the store has, or does not take, after `took`.
    pub fn committed_to_store(&self, took: Duration) {
        self.store_commit.record(took.as_secs_f64());
    }

    /// Shows these reasons of failures and drops with a count of 0: an alarm on a rate needs one to begin with.
    pub fn reasons(&self, reasons: impl Iterator<Item = &'static str>) {
        for reason in reasons {
            for name in [AUDIT_FAILURES, AUDIT_DROPPED] {
                let key = key(name, &[("reason", reason)]);
                self.metrics.0.recorder.register_counter(&key, &METADATA).increment(0);
            }
        }
    }

    /// Counts rows that were dropped.
    pub fn dropped(&self, reason: &'static str, rows: u64) {
        let key = key(AUDIT_DROPPED, &[("reason", reason)]);
        self.metrics.0.recorder.register_counter(&key, &METADATA).increment(rows);
    }

    /// Counts a time that records could not be written any more.
    pub fn failed(&self, reason: &'static str) {
        let key = key(AUDIT_FAILURES, &[("reason", reason)]);
        self.metrics.0.recorder.register_counter(&key, &METADATA).increment(1);
    }

    /// Shows what the spool takes.
    pub fn spool_bytes(&self, bytes: u64) {
        self.bytes.set(bytes as f64);
    }

    /// Shows how old the oldest segment of the spool is.
    pub fn spool_oldest(&self, age: Duration) {
        self.oldest.set(age.as_secs_f64());
    }

    /// Shows whether records cannot be written.
    pub fn unavailable(&self, unavailable: bool) {
        self.unavailable.set(f64::from(u8::from(unavailable)));
    }

    /// Counts what was brought to the store.
    pub fn shipped(&self, rows: u64, bytes: u64) {
        self.shipped_rows.increment(rows);
        self.shipped_bytes.increment(bytes);
    }

    /// Counts chains that could not be shipped.
    pub fn ship_failed(&self, chains: u64) {
        self.ship_failures.increment(chains);
    }

    /// Shows how long the oldest sealed segment has been waiting.
    pub fn ship_lag(&self, lag: Duration) {
        self.ship_lag.set(lag.as_secs_f64());
    }
}
