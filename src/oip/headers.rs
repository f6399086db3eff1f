//! Headers that both edges read and write, since gRPC's metadata are HTTP's headers.
//!
//! This file must never trust a caller's value: it is checked or replaced.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use crate::pipeline::Timing;

/// The header of a request's id, both ways.
pub const REQUEST_ID: &str = "x-request-id";
/// The header of the version that answered.
pub const MODEL_VERSION: &str = "x-model-version";
/// The header of the number of the answer's record.
pub const AUDIT_ID: &str = "x-audit-id";
/// The header that says where the time went (W3C Server Timing).
pub const SERVER_TIMING: &str = "server-timing";

const MAX_ID_BYTES: usize = 128;

/// The caller's id if it is short and printable, else one of ours (UUID version 7, RFC 9562).
pub fn request_id(headers: &HeaderMap) -> Arc<str> {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    match given.filter(|id| !id.is_empty() && id.len() <= MAX_ID_BYTES) {
        Some(id) => id.into(),
        None => uuid::Uuid::now_v7().to_string().into(),
    }
}

/// The value of `server-timing`: durations in milliseconds.
pub fn server_timing(timing: Timing) -> String {
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    // What tensors have no part in is left out of their answers.
    let image =
        [("decode", timing.decode), ("interpret", timing.interpret), ("explain", timing.explain)];
    let image: String = image
        .iter()
        .filter(|(_, took)| !took.is_zero())
        .map(|(step, took)| format!("{step};dur={:.3}, ", ms(*took)))
        .collect();
    format!(
        "{image}queue;dur={:.3}, infer;dur={:.3}, total;dur={:.3}",
        ms(timing.queue),
        ms(timing.infer),
        ms(timing.total)
    )
}
