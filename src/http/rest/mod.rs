//! The Open Inference Protocol over REST, and answers about images beside it.
//!
//! One table holds each operation with its handler and its documentation; the router and
//! `/openapi.json` are both made from it, so that neither has what the other lacks.
//! This file must never serve a route that the table does not have.

mod body;
mod document;
mod extensions;
mod infer;
mod models;
mod operations;
mod predict;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::decompression::RequestDecompressionLayer;

use super::ApiParts;
use super::call::HttpFault;

pub use document::openapi;

/// Below this an answer is sent as it is, whatever the caller accepts.
const MIN_COMPRESSED_BYTES: u64 = 1 << 10;

/// Answers of models, which alone are compressed, as by Triton: its asyncio client asks for gzip at every call, and
/// unpacks nothing but these.
fn is_compressed(path: &str) -> bool {
    path.ends_with("/infer")
}

/// The routes. Bodies are decompressed on the way in and, if asked for, answers of models compressed on the way out.
pub fn routes() -> Router<ApiParts> {
    let compression = CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(MIN_COMPRESSED_BYTES));
    operations::OPERATIONS
        .iter()
        .fold(Router::new(), |router, operation| {
            let handler = (operation.handler)();
            let compressed = is_compressed(operation.path);
            router.route(
                operation.path,
                if compressed { handler.layer(compression.clone()) } else { handler },
            )
        })
        // Bodies have bounds of their own, from the configuration.
        .route_layer(DefaultBodyLimit::disable())
        // What cannot be decompressed is refused where the body is read, in this API's own words.
        .route_layer(RequestDecompressionLayer::new().pass_through_unaccepted(true))
}

/// The model and version of a path; no version is the empty text.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// The model's name as it came.
    pub model: String,
    /// The version as it came.
    pub version: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = HttpFault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpFault> {
        let found = RawPathParams::from_request_parts(parts, state).await;
        let mut target = Self::default();
        for (key, value) in &found.map_err(|_| HttpFault::Path)? {
            match key {
                "model" => target.model = value.to_owned(),
                _ => target.version = value.to_owned(),
            }
        }
        Ok(target)
    }
}
