//! Flags and output that several commands share.
//!
//! This file must never give a flag a default of its own: defaults are the configuration's.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::{exit, failed};
use crate::config::{self, Config, Overrides};

/// The configuration of a command that loads models.
#[derive(Debug, Default, clap::Args)]
pub struct ConfigFlags {
    /// Configuration file (TOML); docs/configuration.md lists the keys
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder with <name>/<version>/ [models.directory]
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// ONNX Runtime's shared library [engine.onnxruntime]
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
}

impl ConfigFlags {
    /// The configuration, with these flags over what `others` says; else the exit code, told.
    pub fn load(self, others: Overrides) -> Result<Config, ExitCode> {
        let Self { config, models, onnxruntime } = self;
        let overrides = Overrides { models, onnxruntime, ..others };
        config::load(config.as_deref(), &overrides).map_err(|error| failed(exit::USAGE, &error))
    }
}

/// Prints a value as JSON; else the exit code, told.
pub fn print_json(value: &impl Serialize) -> Result<(), ExitCode> {
    let text = serde_json::to_string_pretty(value).map_err(|e| failed(exit::FAILED, &e))?;
    print_text(&text)
}

/// Prints a text and ends its line; else the exit code, told. A reader that has read enough (`| head`)
/// is no failure, and what the command found stays its exit code.
pub fn print_text(text: &str) -> Result<(), ExitCode> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(failed(exit::FAILED, &format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}
