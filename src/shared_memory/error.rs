//! Why a region cannot be registered or used.
//!
//! Texts name the region, the limit and what to do; they go to callers.
//! This file must never show a path that the caller did not name.

use std::io;

use super::{MAX_NAME_BYTES, MAX_REGIONS};
use crate::domain::{ErrorKind, Fault};

/// A region that cannot be registered or used.
#[derive(Debug, thiserror::Error)]
pub enum SharedMemoryError {
    /// The service does not allow it.
    #[error(
        "system shared memory is switched off; it is for callers on the server's own machine: \
         server.system_shared_memory = \"on\" allows it on every listener"
    )]
    Off,
    /// A name or key that is none.
    #[error(
        "'{}' is not a {what}: 1 to {MAX_NAME_BYTES} printable ASCII characters without '/' are \
         expected{hint}",
        .text.escape_debug()
    )]
    Name {
        /// What it should be.
        what: &'static str,
        /// What came, cut.
        text: String,
        /// What else is allowed.
        hint: &'static str,
    },
    /// The name is taken.
    #[error("shared memory region '{0}' is registered already; unregister it first")]
    Taken(String),
    /// Too many regions.
    #[error("{MAX_REGIONS} shared memory regions are registered, which is the limit")]
    TooMany,
    /// No such region.
    #[error("there is no shared memory region '{0}'; register it first")]
    Unknown(String),
    /// The object cannot be opened.
    #[error("the shared memory object '{key}' cannot be opened: {error}")]
    Open {
        /// Its key.
        key: String,
        /// Why.
        error: io::Error,
    },
    /// Not a shared memory object.
    #[error("'{0}' is not a shared memory object")]
    NotAnObject(String),
    /// It reaches beyond the object.
    #[error(
        "region '{name}' takes bytes {offset} to {end} of the shared memory object '{key}', which \
         has {length}"
    )]
    BeyondObject {
        /// The region.
        name: String,
        /// The object.
        key: String,
        /// Its first byte.
        offset: u64,
        /// The byte after its last.
        end: u128,
        /// Bytes of the object.
        length: u64,
    },
    /// It reaches beyond the region.
    #[error(
        "{byte_size} bytes from offset {offset} reach beyond shared memory region '{name}', which \
         has {length} bytes"
    )]
    BeyondRegion {
        /// The region.
        name: String,
        /// Where the part begins.
        offset: u64,
        /// Its bytes.
        byte_size: u64,
        /// Bytes of the region.
        length: u64,
    },
    /// A region without bytes.
    #[error("a shared memory region of 0 bytes holds nothing; byte_size of at least 1 is expected")]
    Empty,
    /// A read or write failed.
    #[error("shared memory region '{name}' cannot be used: {error}")]
    Io {
        /// The region.
        name: String,
        /// Why.
        error: io::Error,
    },
}

impl Fault for SharedMemoryError {
    fn kind(&self) -> ErrorKind {
        match self {
            SharedMemoryError::Off => ErrorKind::FailedPrecondition,
            SharedMemoryError::Unknown(_) => ErrorKind::NotFound,
            SharedMemoryError::Taken(_) => ErrorKind::Conflict,
            SharedMemoryError::TooMany => ErrorKind::Overloaded,
            _ => ErrorKind::InvalidArgument,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            SharedMemoryError::Off => "SHARED_MEMORY_OFF",
            SharedMemoryError::Unknown(_) => "UNKNOWN_REGION",
            SharedMemoryError::Taken(_) => "REGION_EXISTS",
            _ => "INVALID_REGION",
        }
    }
}
