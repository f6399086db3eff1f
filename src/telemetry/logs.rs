//! Structured logs on standard error: text for people, JSON for collectors.
//!
//! An event is one line with a level, a target, a message and fields with stable names.
//! This file must never log a request's content.

use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

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

/// The most detailed events that are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing is.
    Off,
    /// Errors.
    Error,
    /// Warnings too.
    Warn,
    /// What happens in general too.
    Info,
    /// Details too.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// Every level, the quietest first.
    pub const ALL: [LogLevel; 6] = [
        LogLevel::Off,
        LogLevel::Error,
        LogLevel::Warn,
        LogLevel::Info,
        LogLevel::Debug,
        LogLevel::Trace,
    ];

    const fn name(self) -> &'static str {
        match self {
            LogLevel::Off => "off",
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }

    fn of(filter: &EnvFilter) -> Self {
        match filter.max_level_hint().and_then(LevelFilter::into_level) {
            // A filter without a hint lets everything through somewhere.
            None if filter.max_level_hint().is_none() => LogLevel::Trace,
            None => LogLevel::Off,
            Some(Level::ERROR) => LogLevel::Error,
            Some(Level::WARN) => LogLevel::Warn,
            Some(Level::INFO) => LogLevel::Info,
            Some(Level::DEBUG) => LogLevel::Debug,
            Some(Level::TRACE) => LogLevel::Trace,
        }
    }
}

/// The handle by which the level of this process's log is changed.
#[derive(Debug)]
pub struct LogControl(reload::Handle<EnvFilter, Registry>);

/// A process has one subscriber, and so one handle to it.
static CONTROL: OnceLock<LogControl> = OnceLock::new();

/// The handle, once [`install`] has succeeded.
pub fn control() -> Option<&'static LogControl> {
    CONTROL.get()
}

impl LogControl {
    /// The most detailed level that any target is logged at.
    pub fn level(&self) -> LogLevel {
        self.0.with_current(LogLevel::of).unwrap_or(LogLevel::Off)
    }

    /// Logs every target up to `level` from now on, in the place of the configured filter; ONNX
    /// Runtime is never logged above warnings, since it tells each step of its optimiser at INFO.
    pub fn set_level(&self, level: LogLevel) {
        let runtime = level.min(LogLevel::Warn).name();
        let filter = EnvFilter::new(format!("ort={runtime},{}", level.name()));
        // The subscriber lives as long as the process, so that the handle always has one.
        if self.0.reload(filter).is_ok() {
            tracing::warn!(level = level.name(), "the log's level was changed");
        }
    }
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
    let (filter, handle) = reload::Layer::new(check_filter(filter)?);
    let registry = tracing_subscriber::registry().with(filter);
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_timer(SystemTime);
    let installed = match format {
        LogFormat::Text => registry.with(lines.with_ansi(false)).try_init(),
        LogFormat::Json => registry.with(lines.json().event_format(JsonLines)).try_init(),
    };
    installed.map_err(|_| LogsError::Twice)?;
    CONTROL.set(LogControl(handle)).map_err(|_| LogsError::Twice)
}
