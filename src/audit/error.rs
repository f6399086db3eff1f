//! Why a record cannot be written down now, and why the audit cannot begin.
//!
//! What a caller is told names no path; the log does.
//! This file must never hold a row.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::keys::KeyError;
use crate::domain::{ErrorKind, Fault};

/// A record that is not durable, so that its answer cannot leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AuditError {
    /// The spool has reached its bound.
    #[error("the audit's spool is full: nothing is answered until records were shipped")]
    Full,
    /// The disk refuses.
    #[error("the audit record cannot be written: nothing is answered until it can")]
    Disk,
    /// The directory belongs to another process, or is gone.
    #[error("the audit's directory is lost to this process: nothing is answered until it is back")]
    Lost,
    /// The store refuses, cannot be reached or is too slow, and durability is "store".
    #[error("the audit record cannot be written to the store: nothing is answered until it can")]
    Store,
    /// More records wait than may.
    #[error("too many audit records wait to be written; try again")]
    Behind,
    /// The disk takes longer than a caller may wait.
    #[error("the audit record was not written in time; try again")]
    Slow,
    /// The service ends.
    #[error("the audit has ended with the service; send the request to another one")]
    Ended,
}

impl AuditError {
    /// Every error, for metrics.
    pub const ALL: [AuditError; 7] = [
        AuditError::Full,
        AuditError::Disk,
        AuditError::Lost,
        AuditError::Store,
        AuditError::Behind,
        AuditError::Slow,
        AuditError::Ended,
    ];

    /// The word of metrics.
    pub const fn name(self) -> &'static str {
        match self {
            AuditError::Full => "spool_full",
            AuditError::Disk => "disk",
            AuditError::Lost => "lock_lost",
            AuditError::Store => "store",
            AuditError::Behind => "behind",
            AuditError::Slow => "slow",
            AuditError::Ended => "ended",
        }
    }
}

impl Fault for AuditError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }

    fn reason(&self) -> &'static str {
        match self {
            AuditError::Full => "AUDIT_SPOOL_FULL",
            AuditError::Disk => "AUDIT_DISK",
            AuditError::Lost => "AUDIT_LOCK_LOST",
            AuditError::Store => "AUDIT_STORE",
            AuditError::Behind => "AUDIT_BEHIND",
            AuditError::Slow => "AUDIT_SLOW",
            AuditError::Ended => "SHUTTING_DOWN",
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            AuditError::Behind => Some(Duration::from_millis(50)),
            AuditError::Ended => None,
            AuditError::Full
            | AuditError::Disk
            | AuditError::Lost
            | AuditError::Store
            | AuditError::Slow => Some(Duration::from_secs(1)),
        }
    }
}

/// An audit that cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum AuditStartError {
    /// A file or folder of the spool.
    #[error(
        "audit.spool_dir: {}: {error}; name a directory that this process can write", path.display()
    )]
    Spool {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Durability is "store", and no store is named.
    #[error("audit.durability = \"store\" needs a store; name one in the section `store`")]
    NoStore,
    /// No thread, or no timer.
    #[error("the thread that writes audit records cannot be started: {0}")]
    Thread(io::Error),
}
