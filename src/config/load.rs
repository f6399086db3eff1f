//! Reads the configuration: flags over environment over file over defaults.
//!
//! `HILUM__SECTION__KEY` is `section.key`. Every problem is reported at once.
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
    if let Some(file) = file {
        figment = figment.merge(Toml::file_exact(file));
    }
    figment = figment.merge(Env::prefixed(ENVIRONMENT_PREFIX).split("__"));
    let Overrides { grpc_address, metrics_address, models, onnxruntime } = overrides;
    let text = |address: &Option<SocketAddr>| address.map(|address| address.to_string());
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let values = [
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
