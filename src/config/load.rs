//! Reads the configuration: flags over environment over file over defaults.
//!
//! `HILUM__SECTION__KEY` is `section.key`; OpenTelemetry's own variables stand below the file. Every
//! problem is reported at once.
//! This file must never accept a key that it does not know.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use serde::Serialize;

use super::Config;

/// The beginning of each environment variable.
pub const ENVIRONMENT_PREFIX: &str = "HILUM__";

/// Values from flags; each that is there wins over everything else.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Overrides {
    /// `server.http_address`.
    #[serde(skip)]
    pub http_address: Option<SocketAddr>,
    /// `server.grpc_address`.
    #[serde(skip)]
    pub grpc_address: Option<SocketAddr>,
    /// `server.metrics_address`.
    #[serde(skip)]
    pub metrics_address: Option<SocketAddr>,
    /// `models.directory`.
    #[serde(skip)]
    pub models: Option<PathBuf>,
    /// `engine.onnxruntime`.
    #[serde(skip)]
    pub onnxruntime: Option<PathBuf>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The named file is not there.
    #[error("--config {}: there is no such file", .0.display())]
    NoFile(PathBuf),
    /// Problems, each naming its key.
    #[error("the configuration cannot be used:\n{}", .0.iter().map(|p| format!("  - {p}")).collect::<Vec<_>>().join("\n"))]
    Problems(Vec<String>),
}

/// The configuration from `file` (if named), the environment and `overrides`.
///
/// # Errors
/// Every problem at once.
pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Config, ConfigError> {
    if let Some(file) = file
        && !file.is_file()
    {
        return Err(ConfigError::NoFile(file.to_owned()));
    }
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    if let Some(endpoint) = otel_endpoint(|name| std::env::var(name).ok()) {
        figment = figment.merge(Serialized::default("telemetry.otlp_endpoint", endpoint));
    }
    if let Some(file) = file {
        figment = figment.merge(Toml::file_exact(file));
    }
    figment = figment.merge(Env::prefixed(ENVIRONMENT_PREFIX).split("__"));
    let Overrides { http_address, grpc_address, metrics_address, models, onnxruntime } = overrides;
    let text = |address: &Option<SocketAddr>| address.map(|address| address.to_string());
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let values = [
        ("server.http_address", text(http_address)),
        ("server.grpc_address", text(grpc_address)),
        ("server.metrics_address", text(metrics_address)),
        ("models.directory", path(models)),
        ("engine.onnxruntime", path(onnxruntime)),
    ];
    for (key, value) in values {
        if let Some(value) = value {
            figment = figment.merge(Serialized::default(key, value));
        }
    }
    let config: Config = figment
        .extract()
        .map_err(|errors| ConfigError::Problems(errors.into_iter().map(described).collect()))?;
    let problems = config.problems();
    if problems.is_empty() { Ok(config) } else { Err(ConfigError::Problems(problems)) }
}

/// The collector by OpenTelemetry's own variables ("OpenTelemetry Environment Variable
/// Specification", "OpenTelemetry Protocol Exporter").
fn otel_endpoint(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let is = |name, value: &str| variable(name).is_some_and(|v| v.eq_ignore_ascii_case(value));
    if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return None;
    }
    ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]
        .into_iter()
        .filter_map(variable)
        .find(|endpoint| !endpoint.is_empty())
}

/// An error with the key and the source that is at fault.
fn described(error: figment::Error) -> String {
    let source = error.metadata.as_ref().map_or_else(String::new, |metadata| {
        let place =
            metadata.source.as_ref().map_or_else(String::new, |source| format!(" {source}"));
        format!(" (from {}{place})", metadata.name)
    });
    let key = error.path.join(".");
    let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
    format!("{key}{}{source}", error.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opentelemetrys_variables_name_the_collector_unless_they_switch_it_off() {
        let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:4317");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4317");
        let found = |variables: &[(&str, &str)]| {
            otel_endpoint(|name| {
                let pair = variables.iter().find(|(key, _)| *key == name);
                pair.map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[general]).as_deref(), Some(general.1));
        assert_eq!(found(&[general, traces]).as_deref(), Some(traces.1));
        assert_eq!(found(&[general, (traces.0, "")]).as_deref(), Some(general.1));
        assert_eq!(found(&[general, ("OTEL_SDK_DISABLED", "TRUE")]), None);
        assert_eq!(found(&[general, ("OTEL_TRACES_EXPORTER", "none")]), None);
    }
}
