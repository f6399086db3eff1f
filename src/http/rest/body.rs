//! Reads a request's body, bounded in bytes and in time.
//!
//! The frames of the body, decompressed by then, become one piece of memory of which tensors are
//! slices.
//! This file must never trust a length that a caller states.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

use crate::http::BodyLimits;
use crate::http::call::HttpFault;

/// The header by which the binary tensor data extension says how long the JSON is, both ways.
pub const JSON_LENGTH: &str = "inference-header-content-length";
/// What a caller's statement of the length may reserve before the bytes are there.
const MAX_RESERVED: usize = 1 << 20;

/// The content types whose body is read. The third is what curl says by itself.
const MEDIA: [&str; 3] =
    ["application/json", "application/octet-stream", "application/x-www-form-urlencoded"];

/// The whole body.
///
/// # Errors
/// [`HttpFault`]: of what kind, how large or how slow it was.
pub async fn read(headers: &HeaderMap, body: Body, limits: BodyLimits) -> Result<Bytes, HttpFault> {
    read_as(headers, body, limits, &MEDIA).await
}

/// The whole body, if it is of one of `media`.
///
/// # Errors
/// As [`read`].
pub async fn read_as(
    headers: &HeaderMap,
    mut body: Body,
    limits: BodyLimits,
    media: &[&str],
) -> Result<Bytes, HttpFault> {
    check_kind(headers, media)?;
    let stated = match text(headers, header::CONTENT_LENGTH.as_str())? {
        Some(length) => length.parse::<usize>().unwrap_or_default(),
        None => 0,
    };
    if stated > limits.max_bytes {
        return Err(HttpFault::TooLarge(limits.max_bytes));
    }
    let reading = async {
        let mut whole = BytesMut::with_capacity(stated.min(MAX_RESERVED));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| HttpFault::Body(innermost(&error)))?;
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + data.len() > limits.max_bytes {
                return Err(HttpFault::TooLarge(limits.max_bytes));
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    };
    let slow = |_| HttpFault::Slow(limits.timeout);
    tokio::time::timeout(limits.timeout, reading).await.map_err(slow)?
}

/// The length of the JSON that the headers state.
///
/// # Errors
/// [`HttpFault::Header`].
pub fn json_length(headers: &HeaderMap) -> Result<Option<usize>, HttpFault> {
    let Some(length) = text(headers, JSON_LENGTH)? else { return Ok(None) };
    let digits = length.bytes().all(|byte| byte.is_ascii_digit());
    match length.parse() {
        Ok(length) if digits => Ok(Some(length)),
        _ => {
            let shown = short(length);
            let problem = format!("'{shown}' is not a number of bytes");
            Err(HttpFault::Header { name: "Inference-Header-Content-Length", problem })
        }
    }
}

fn check_kind(headers: &HeaderMap, media: &[&str]) -> Result<(), HttpFault> {
    // What a layer before this one can read, it has read and taken the header off.
    if let Some(encoding) = text(headers, header::CONTENT_ENCODING.as_str())?
        && encoding != "identity"
    {
        return Err(HttpFault::Encoding(short(encoding)));
    }
    let Some(kind) = text(headers, header::CONTENT_TYPE.as_str())? else { return Ok(()) };
    let essence = kind.split(';').next().unwrap_or_default().trim();
    match media.iter().any(|media| media.eq_ignore_ascii_case(essence)) {
        true => Ok(()),
        false if media.contains(&MEDIA[0]) => Err(HttpFault::Media(short(kind))),
        false => Err(HttpFault::FileMedia(short(kind))),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, HttpFault> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let name = match name {
        JSON_LENGTH => "Inference-Header-Content-Length",
        "content-type" => "Content-Type",
        "content-encoding" => "Content-Encoding",
        _ => "Content-Length",
    };
    let problem = || "the value is not printable ASCII".to_owned();
    value.to_str().map(Some).map_err(|_| HttpFault::Header { name, problem: problem() })
}

fn short(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}

/// What went wrong at the bottom, without the wrappers' own words.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
