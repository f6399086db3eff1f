//! Who may change the server while it runs: callers on its own machine.
//!
//! Every call that changes more than its own answer asks here first, whatever the edge.
//! This file must never hold back a call that only reads.

use crate::domain::{ErrorKind, Fault};

/// The caller is on another machine, or a page of another origin speaks through a browser on this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} by callers on the server's own machine only")]
pub struct NotLocal(&'static str);

impl Fault for NotLocal {
    fn kind(&self) -> ErrorKind {
        ErrorKind::PermissionDenied
    }
}

/// Whether a caller who is on this machine or not may do `what` ("models are loaded").
///
/// # Errors
/// [`NotLocal`], which says so.
pub fn admit(is_local: bool, what: &'static str) -> Result<(), NotLocal> {
    if is_local { Ok(()) } else { Err(NotLocal(what)) }
}
