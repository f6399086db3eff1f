//! What is to be known of a bucket and how it is called.
//!
//! The configuration fills it in, the client reads it. This file must never hold a credential.

use std::num::NonZeroU32;
use std::time::Duration;

/// Bounds in time on every call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Timing {
    /// To connect.
    pub connect: Duration,
    /// One attempt.
    pub attempt: Duration,
    /// All attempts of a call and the waits between them.
    pub whole: Duration,
    /// Attempts of a call.
    pub attempts: NonZeroU32,
    /// The wait before the second attempt; it doubles with each further one and is jittered.
    pub backoff: Duration,
}

/// Who may take a lock off before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Whoever has the permission to.
    Governance,
    /// Nobody.
    Compliance,
}

/// Object Lock on what is kept for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// Who may take it off.
    pub mode: LockMode,
    /// Days that an object is locked for from when it is written.
    pub days: NonZeroU32,
}

/// A bucket and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Settings {
    /// The bucket's name.
    pub bucket: String,
    /// What all keys begin with: empty, or a key and `/`.
    pub prefix: String,
    /// The region; `None` = by the chain.
    pub region: Option<String>,
    /// Another store's address; `None` = Amazon's own.
    pub endpoint: Option<String>,
    /// The bucket's name in the path rather than in the host's name.
    pub path_style: bool,
    /// Key of KMS by which objects are encrypted: id, ARN or alias; `None` = as the bucket has it.
    pub kms_key: Option<String>,
    /// Object Lock; `None` = as the bucket has it.
    pub lock: Option<Lock>,
    /// Bounds in time.
    pub timing: S3Timing,
}
