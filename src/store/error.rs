//! Why an object could not be had or kept.
//!
//! A message names the object and says what to do. This file must never hold an object's content.

use crate::domain::Digest;

/// A call that did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such object.
    #[error("{key}: there is no such object")]
    NotFound {
        /// The object.
        key: String,
    },
    /// Other bytes are there under the same key.
    #[error("{key}: another object is there already ({found}, not {wanted}); it was left as it is")]
    Different {
        /// The object.
        key: String,
        /// The digest of what was to be written.
        wanted: Digest,
        /// The digest of what is there.
        found: Digest,
    },
    /// The store has other bytes than were sent.
    #[error("{key}: the store took bytes with SHA-256 {found}, {wanted} was sent")]
    Corrupt {
        /// The object.
        key: String,
        /// What was sent.
        wanted: Digest,
        /// What the store says that it has, as it writes it.
        found: String,
    },
    /// The object is longer than the caller wants to read.
    #[error("{key}: {bytes} bytes are more than the {limit} that are read")]
    TooLarge {
        /// The object.
        key: String,
        /// Its length.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
    /// Credentials are missing or not enough, or the object is locked.
    #[error("{key}: the store refuses: {reason}")]
    Denied {
        /// The object, or the store itself.
        key: String,
        /// What the store says.
        reason: String,
    },
    /// The store does not do what is configured.
    #[error("{key}: {reason}")]
    Refused {
        /// The object, or the store itself.
        key: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The store cannot be reached, is too slow or asks to come later.
    #[error("{key}: the store cannot be reached or is too busy: {reason}")]
    Unavailable {
        /// The object, or the store itself.
        key: String,
        /// What happened.
        reason: String,
    },
    /// The folder cannot be read or written.
    #[error("{key}: {error}")]
    Io {
        /// The file.
        key: String,
        /// What the system says.
        error: std::io::Error,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody's doing.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Io { .. } | Self::Corrupt { .. } => true,
            Self::NotFound { .. }
            | Self::Different { .. }
            | Self::TooLarge { .. }
            | Self::Denied { .. }
            | Self::Refused { .. } => false,
        }
    }
}
