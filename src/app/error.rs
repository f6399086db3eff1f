//! Why a service cannot start.
//!
//! Each message says what is missing and how to mend it. This file must never hold a secret.

use std::io;
use std::net::SocketAddr;

use super::audit::ShipStartError;
use crate::audit::AuditStartError;
use crate::catalog::CatalogError;
use crate::engine::ProviderName;
use crate::engine::library::LibraryError;
use crate::rpc::ReflectionError;
use crate::telemetry::traces::TracesError;

/// A service that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// An address cannot be bound.
    #[error("{key} = \"{address}\" cannot be bound: {error}")]
    Bind {
        /// The key of the configuration.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// ONNX Runtime cannot be had.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// A required execution provider is not in the library.
    #[error(
        "engine.providers: {provider} is required and this ONNX Runtime was built without it; use a \
         library that has it (engine.onnxruntime, ORT_DYLIB_PATH), or set its mode to \"prefer\""
    )]
    Provider {
        /// Which.
        provider: ProviderName,
    },
    /// No thread or timer for the asynchronous runtime.
    #[error("the asynchronous runtime cannot be built: {0}")]
    Runtime(io::Error),
    /// No thread to decode images.
    #[error("the threads that decode images cannot be started: {0}")]
    Threads(io::Error),
    /// The models' folder cannot be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The metrics are declared wrongly: a bug of the build.
    #[error("metrics: {0}")]
    Metrics(String),
    /// The record cannot be kept.
    #[error(transparent)]
    Audit(#[from] AuditStartError),
    /// The record cannot be shipped.
    #[error(transparent)]
    Ship(#[from] ShipStartError),
    /// Traces cannot be sent.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// The descriptors are wrong: a bug of the build.
    #[error(transparent)]
    Reflection(#[from] ReflectionError),
}
