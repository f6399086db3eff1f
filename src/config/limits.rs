//! `[limits]`: how much of anything there may be.
//!
//! The comments below are the reference, as everywhere in the tree.
//! This file must never hold a bound that nothing asks for.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::imaging::DecodeLimits;

/// Bounds: nothing waits or grows without one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Bytes of a gRPC message, both ways, and of an HTTP request's body after decompression.
    pub max_message_bytes: NonZeroUsize,
    /// How long the body of an HTTP request may take to arrive.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub body_timeout: Duration,
    /// Connections of a listener at a time; a further one waits in the kernel's backlog.
    pub max_connections: NonZeroUsize,
    /// Requests at a time on one HTTP/2 connection.
    pub max_concurrent_streams: NonZeroU32,
    /// Bytes of a request's header list.
    pub max_header_list_bytes: NonZeroU32,
    /// Predictions in flight over all models; a further one is refused.
    pub max_inflight_requests: NonZeroUsize,
    /// Rows that may wait for one model version; a request that does not fit is refused.
    pub queue_rows: NonZeroUsize,
    /// Bytes of inputs that may wait for one model version.
    pub queue_bytes: NonZeroUsize,
    /// Requests of one `ModelStreamInfer` stream that run at a time; no more are read meanwhile.
    pub max_stream_inflight: NonZeroUsize,
    /// How long a connection is used, give or take a tenth; then it takes no new requests, so that
    /// callers connect anew and spread over the instances there are. `0s` = for good.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub max_connection_age: Duration,
    /// How long work in flight may take on a connection that is too old; then it is cut.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub max_connection_age_grace: Duration,
    /// An HTTP/2 peer that is silent for this long is pinged.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub keepalive_interval: Duration,
    /// A peer that answers no ping, or sends no HTTP/1.1 head, for this long is cut.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub keepalive_timeout: Duration,
    /// Bounds on one image file.
    pub image: DecodeLimits,
}

pub(super) const fn non_zero(n: usize) -> NonZeroUsize {
    match NonZeroUsize::new(n) {
        Some(n) => n,
        None => NonZeroUsize::MIN,
    }
}

pub(super) const fn non_zero_u32(n: u32) -> NonZeroU32 {
    match NonZeroU32::new(n) {
        Some(n) => n,
        None => NonZeroU32::MIN,
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_message_bytes: non_zero(64 << 20),
            body_timeout: Duration::from_secs(30),
            max_connections: non_zero(1024),
            max_concurrent_streams: non_zero_u32(256),
            max_header_list_bytes: non_zero_u32(16 << 10),
            max_inflight_requests: non_zero(4096),
            queue_rows: non_zero(4096),
            queue_bytes: non_zero(256 << 20),
            max_stream_inflight: non_zero(32),
            max_connection_age: Duration::ZERO,
            max_connection_age_grace: Duration::from_secs(60),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(20),
            image: DecodeLimits::default(),
        }
    }
}
