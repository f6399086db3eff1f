//! Why records were not shipped.
//!
//! Whatever it is, they are still in the spool. This file must never hold a row.

use super::manifest::ManifestError;
use super::pack::PackError;
use super::parquet_read::ParquetReadError;
use super::record::ChainId;
use super::spool::SpoolError;
use crate::registry::RegistryError;
use crate::store::{KeyError, StoreError};

/// Why something was not shipped. It is still in the spool.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A segment.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// A key that the store would not take.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// Other rows are in the store under the name of ours.
    #[error("{key}: it holds other rows than the segment{}", detail.as_ref().map_or_else(String::new, |d| format!(": {d}")))]
    OtherRows {
        /// The object.
        key: String,
        /// What is wrong with it, if it cannot be read at all.
        detail: Option<ParquetReadError>,
    },
    /// Another manifest is in the store under the number of ours.
    #[error("{key}: it does not continue the chain as the segment does")]
    OtherManifest {
        /// The object.
        key: String,
    },
    /// A commit in the store that does not continue the chain of a process whose spool has lost rows.
    #[error(
        "{key}: row {expected} is next; a commit is missing in the store or is of another chain. Put its \
         object back from a backup or an earlier version"
    )]
    CommitGap {
        /// The object.
        key: String,
        /// The row that is next.
        expected: u64,
    },
    /// The chain's manifests are signed by another key than this shipper has.
    #[error(
        "its opening notes that its manifests are signed by {noted}, but audit.signing_key_file {}; nothing of it \
         is shipped or closed. Ship it with that key's file: `hilum audit ship --once`",
        ours.as_ref().map_or_else(|| "names no key".to_owned(), |key| format!("holds {key}"))
    )]
    OtherKey {
        /// The public key that the registry noted, in hexadecimal digits.
        noted: String,
        /// That of this shipper, if it has one.
        ours: Option<String>,
    },
    /// A chain that is not to be recovered.
    #[error("chain {chain} is not recovered: {problem}")]
    NotLost {
        /// Which.
        chain: ChainId,
        /// Why.
        problem: &'static str,
    },
    /// A manifest in the store that cannot be believed.
    #[error("{key}: {error}")]
    Manifest {
        /// The object.
        key: String,
        /// Why.
        error: ManifestError,
    },
    /// A manifest cannot be written.
    #[error("a manifest cannot be written: {0}")]
    Json(#[from] serde_json::Error),
    /// The work was cut off.
    #[error("the work was cut off: {0}")]
    Cut(#[from] tokio::task::JoinError),
    /// A folder cannot be changed.
    #[error("{path}: {error}")]
    Folder {
        /// Which.
        path: String,
        /// Why.
        error: std::io::Error,
    },
}

impl ShipError {
    /// Whether time alone may mend it.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Registry(error) => error.is_retryable(),
            Self::Spool(SpoolError::Damaged(_)) => false,
            Self::Spool(_) | Self::Cut(_) | Self::Folder { .. } => true,
            _ => false,
        }
    }
}
