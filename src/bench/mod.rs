//! Load on a running server, and what came of it: the room behind `hilum bench`.
//!
//! A plan and a transport go in. Callers send messages that were made beforehand, each answer is
//! recorded by the time since it *should* have been sent, and a report comes out.
//! This room must never change what is measured: it holds no retry and no cache of its own.

mod chart;
mod grpc;
mod html;
mod input;
mod job;
mod load;
mod progress;
mod record;
mod report;
mod rest;
mod transport;

use std::path::PathBuf;
use std::time::Duration;

use crate::client::ClientError;

pub use grpc::GrpcTransport;
pub use html::html;
pub use input::{InputSource, ModelInput, messages};
pub use job::{Job, Protocol};
pub use load::run;
pub use progress::{Live, show};
pub use record::{Latency, Life, Point, Recorder, Summary};
pub use report::{Report, Subject};
pub use rest::RestTransport;
pub use transport::{Answered, Transport};

/// What is sent, how and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Who decides when a request is sent.
    pub load: Load,
    /// Rows of each request.
    pub rows: usize,
    /// How long load is put on before anything is recorded.
    pub warmup: Duration,
    /// How much is recorded.
    pub length: Length,
    /// When an answer is of no use any more, from the time at which the request should be sent. It
    /// goes along as the protocol's own deadline.
    pub deadline: Option<Duration>,
    /// The bound on the wait for one answer.
    pub timeout: Duration,
}

/// Who decides when a request is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// So many callers, each of which sends when its last answer has come. A slow server slows its
    /// callers down, so that the latency is that of a client that waits.
    Closed {
        /// Callers, at least 1.
        callers: usize,
    },
    /// Requests come as they come, whatever the server does: a Poisson process. The latency counts
    /// from the time at which the request should have been sent, so that waiting in the generator
    /// is part of it (no coordinated omission).
    Open {
        /// Requests a second on average, above 0.
        rate: f64,
        /// Requests in flight at a time; a further one is counted and not sent.
        max_in_flight: usize,
        /// The seed of the arrival times.
        seed: u64,
    },
}

/// How much is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// For so long.
    Time(Duration),
    /// So many requests.
    Requests(u64),
}

/// Load that cannot be put on.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The server cannot be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server cannot be asked over REST.
    #[error("{address}: {problem}")]
    Rest {
        /// The server.
        address: String,
        /// Why.
        problem: String,
    },
    /// The messages cannot be made.
    #[error("{0}")]
    Input(String),
    /// A file of tensors.
    #[error(transparent)]
    File(#[from] crate::npy::NpyError),
    /// The report cannot be written.
    #[error("--report {}: {problem}", path.display())]
    Report {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: std::io::Error,
    },
    /// The generator itself failed.
    #[error("the load cannot be put on: {0}")]
    Generator(String),
}
