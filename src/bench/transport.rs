//! What the generator needs of a protocol: the model's inputs, a message, and its answer's status.
//!
//! Each protocol is one file beside this one.
//! This file must never know a protocol.

use std::borrow::Cow;
use std::time::Duration;

use super::{BenchError, ModelInput};
use crate::pipeline::NamedTensor;

/// How a request ended: done, or the protocol's name of the status, such as `RESOURCE_EXHAUSTED`.
pub type Answered = Result<(), Cow<'static, str>>;

/// A way to a server.
pub trait Transport: Send + Sync + 'static {
    /// A request that was made beforehand; cheap to send again and again.
    type Message: Send + Sync + 'static;

    /// The protocol's name, for the report.
    fn name(&self) -> &'static str;

    /// What the model takes.
    fn inputs(
        &self,
        model: &str,
        version: &str,
    ) -> impl Future<Output = Result<Vec<ModelInput>, BenchError>> + Send;

    /// Makes a message; an empty version means the champion.
    ///
    /// # Errors
    /// What the protocol cannot carry.
    fn message(
        &self,
        model: &str,
        version: &str,
        inputs: Vec<NamedTensor>,
    ) -> Result<Self::Message, BenchError>;

    /// Sends a message for caller `caller` and waits for its answer, which must have as many rows.
    fn send(
        &self,
        caller: usize,
        message: &Self::Message,
        deadline: Option<Duration>,
    ) -> impl Future<Output = Answered> + Send;
}
