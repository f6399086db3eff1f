//! Structured logs on standard error: text for people, JSON for collectors.
//!
//! An event is one line with a level, a target, a message and fields with stable names.
//! This file must never log a request's content.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::log_json::JsonLines;

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Logs that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The filter cannot be read.
    #[error(
        "telemetry.log_filter '{filter}' cannot be read: {problem}; write for example \"info,hilum=debug\""
    )]
    Filter {
        /// What was configured.
        filter: String,
        /// Why it cannot be read.
        problem: String,
    },
    /// Another subscriber is installed in this process.
    #[error("logs are already set up in this process")]
    Twice,
}

/// Checks a filter without installing it.
///
/// # Errors
/// [`LogsError::Filter`].
pub fn check_filter(filter: &str) -> Result<EnvFilter, LogsError> {
    // ONNX Runtime tells each step of its optimiser at INFO; a filter that names `ort` wins.
    EnvFilter::try_new(format!("ort=warn,{filter}")).map_err(|error| LogsError::Filter {
        filter: filter.to_owned(),
        problem: error.to_string(),
    })
}

/// Sends this process's events to standard error.
///
/// # Errors
/// A filter that cannot be read, or a second call.
pub fn install(format: LogFormat, filter: &str) -> Result<(), LogsError> {
    let registry = tracing_subscriber::registry().with(check_filter(filter)?);
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_timer(SystemTime);
    let installed = match format {
        LogFormat::Text => registry.with(lines.with_ansi(false)).try_init(),
        LogFormat::Json => registry.with(lines.json().event_format(JsonLines)).try_init(),
    };
    installed.map_err(|_| LogsError::Twice)
}
