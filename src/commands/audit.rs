//! `hilum audit`: the record, what it says, on its way to the store, and whether it is whole there.
//!
//! Here is what the subcommands share. This file must never write anything.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;

use super::audit_replay::Replay;
use super::audit_ship::Ship;
use super::audit_show::{ExportCommand, Show};
use super::audit_verify::Verify;
use super::{exit, failed};
use crate::config::{self, Config, Overrides};
use crate::registry::{self, Registry};
use crate::store::{self, ObjectStore, StoreSettings};

const EXAMPLES: &str = "Examples:
  hilum audit show --model mnist --since 2026-11-28
  hilum audit show --audit-id 0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --output json
  hilum audit show --find xray.png
  hilum audit ship --once
  hilum audit ship --recover 0193a1b2c3d47e5f8a9b0c1d2e3f4a5b
  hilum audit verify --config hilum.toml
  hilum audit export week.parquet --model pneumonia --since 2026-11-23 --until 2026-11-30
  hilum audit replay images/ --model pneumonia

Exit codes: 0 done, 1 failed, 2 usage, 3 (verify) something is wrong, (show, export) with --find or
--audit-id nothing was found, (replay) something differs, a version is not there or no file was found.";

/// The record: read, ship and verify it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct AuditCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(Box<Show>),
    Ship(Ship),
    Verify(Verify),
    Export(Box<ExportCommand>),
    Replay(Box<Replay>),
}

impl AuditCommand {
    /// Does it.
    pub fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Show(show) => show.run(),
            Command::Ship(ship) => ship.run(),
            Command::Verify(verify) => verify.run(),
            Command::Export(export) => export.run(),
            Command::Replay(replay) => replay.run(),
        };
        done.unwrap_or_else(|code| code)
    }
}

/// The configuration; else the exit code, told.
pub(super) fn configured(file: Option<&Path>) -> Result<Config, ExitCode> {
    config::load(file, &Overrides::default()).map_err(|error| failed(exit::USAGE, &error))
}

/// A runtime for what calls a store or a database; else the exit code, told.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, ExitCode> {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    built.map_err(|error| failed(exit::FAILED, &error))
}

/// The store; else the exit code, told.
pub(super) async fn open_store(config: &Config) -> Result<Arc<dyn ObjectStore>, ExitCode> {
    let opened = store::open(config.store.settings()).await;
    opened.map_err(|error| failed(exit::FAILED, &error))
}

/// The store, which must be there; else the exit code, told.
pub(super) async fn open_to_read(config: &Config) -> Result<Arc<dyn ObjectStore>, ExitCode> {
    match missing_store(config) {
        Some(missing) => Err(failed(exit::FAILED, &missing)),
        None => open_store(config).await,
    }
}

/// Why nothing can be read from a store in a folder.
pub(super) fn missing_store(config: &Config) -> Option<String> {
    match config.store.settings() {
        StoreSettings::Local { directory } => missing("store.directory", &directory),
        StoreSettings::S3(_) => None,
    }
}

/// What is wrong if the folder that `key` names is not there.
pub(super) fn missing(key: &str, folder: &Path) -> Option<String> {
    let said = || format!("{key} {}: there is no such folder", folder.display());
    (!folder.is_dir()).then(said)
}

/// The registry, which nothing is written to; else the exit code, told.
pub(super) async fn open_registry(config: &Config) -> Result<Arc<dyn Registry>, ExitCode> {
    let settings = config.registry.settings().map_err(|error| failed(exit::USAGE, &error))?;
    registry::open_to_read(&settings).await.map_err(|error| {
        let hint = "--without-registry does without it: a missing end or chain is not seen then";
        failed(exit::FAILED, &format!("{error}; {hint}"))
    })
}
