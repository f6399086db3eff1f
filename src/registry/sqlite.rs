//! The registry in a file: the embedded default, for one machine.
//!
//! What is noted is on disk when a call returns; readers do not wait for a writer.
//! This file must never be used over a network file system, where SQLite's locks do not hold.

use std::path::Path;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use sqlx::migrate::Migrate as _;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use super::migrations::{self, File, MigrationStatus};
use super::{
    Chain, ChainClosing, ChainHead, ChainOpening, PAGE, Registry, RegistryError, RegistrySettings,
    queries,
};

/// The registry in a file.
#[derive(Debug)]
pub(super) struct SqliteRegistry {
    pool: SqlitePool,
    place: String,
    timeout: Duration,
}

impl SqliteRegistry {
    const FILES: &'static [File] = migrations::SQLITE;

    /// The registry in `file`, which is made when it is first used.
    pub(super) fn new(file: &Path, settings: &RegistrySettings) -> Result<Self, RegistryError> {
        let place = format!("sqlite:{}", file.display());
        if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty())
            && let Err(error) = std::fs::create_dir_all(folder)
        {
            return Err(RegistryError::Database { place, reason: error.to_string() });
        }
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(settings.timeout);
        let pool = SqlitePoolOptions::new()
            .max_connections(settings.connections.get())
            .acquire_timeout(settings.timeout)
            .connect_lazy_with(options);
        Ok(Self { pool, place, timeout: settings.timeout })
    }
}

queries::implement!(SqliteRegistry);
