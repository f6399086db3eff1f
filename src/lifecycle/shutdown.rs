//! The stages of an orderly end, as tokens that any part can wait for.
//!
//! draining → closing → aborting: each stage is entered once and never left.
//! This file must never decide how long a stage lasts; the application does.

use tokio_util::sync::CancellationToken;

/// The stages of shutdown.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    draining: CancellationToken,
    closing: CancellationToken,
    aborting: CancellationToken,
}

impl Shutdown {
    /// A service that runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Readiness turns false; requests are still accepted.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// No new connection, no new stream on an old one (GOAWAY); what is in flight ends.
    pub fn close(&self) {
        self.draining.cancel();
        self.closing.cancel();
    }

    /// Connections that are still open are cut.
    pub fn abort(&self) {
        self.close();
        self.aborting.cancel();
    }

    /// Whether [`Shutdown::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Whether [`Shutdown::close`] was called.
    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Waits for [`Shutdown::drain`].
    pub async fn drained(&self) {
        self.draining.cancelled().await;
    }

    /// Waits for [`Shutdown::close`].
    pub async fn closed(&self) {
        self.closing.cancelled().await;
    }

    /// Waits for [`Shutdown::abort`].
    pub async fn aborted(&self) {
        self.aborting.cancelled().await;
    }
}
