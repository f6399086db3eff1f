//! Time, shutdown, readiness, cores and connections: what every long-lived part shares.
//!
//! Parts take a handle from here at start and give it back at the end.
//! This room must never know what is served.

mod clock;
mod connections;
pub mod cpu;
mod permits;
mod readiness;
mod shutdown;

pub use clock::{Clock, ManualClock, SystemClock};
pub use connections::{ConnectionLimits, HttpVersion, Peer, serve_connections};
pub use permits::{Permit, Permits};
pub use readiness::{Readiness, ReadinessPart};
pub use shutdown::Shutdown;
