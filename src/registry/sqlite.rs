//! The registry in a file: the embedded default, for one machine.
//!
//! What is noted is on disk when a call returns; readers do not wait for a writer.
//! This file must never be used over a network file system, where SQLite's locks do not hold.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use sqlx::migrate::Migrate as _;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use tempfile::TempDir;

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
    reads_only: bool,
    /// A copy that is read in the file's stead.
    _copy: Option<TempDir>,
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
        Ok(Self::with(options, place, settings, None))
    }

    /// The registry in `file` as it is: neither it nor its folder is written to.
    pub(super) fn to_read(file: &Path, settings: &RegistrySettings) -> Result<Self, RegistryError> {
        let place = format!("sqlite:{}", file.display());
        if !file.is_file() {
            return Err(RegistryError::Missing(file.display().to_string()));
        }
        let (log, shared) = (beside(file, "-wal"), beside(file, "-shm"));
        let logged = std::fs::metadata(&log).map_or(0, |log| log.len()) > 0;
        // SQLite makes a shared index beside a file with a log of writes. Where there is one already, it is
        // used; without a log nobody has the file open, and what is in it does not change; else both are
        // copied.
        let copied = || -> std::io::Result<TempDir> {
            let folder = tempfile::tempdir()?;
            std::fs::copy(file, folder.path().join("registry.db"))?;
            std::fs::copy(&log, folder.path().join("registry.db-wal"))?;
            Ok(folder)
        };
        let (copy, immutable) = match (logged, shared.exists()) {
            (true, false) => {
                let failed = |error: std::io::Error| RegistryError::Database {
                    place: place.clone(),
                    reason: format!("its log of writes cannot be copied to be read: {error}"),
                };
                (Some(copied().map_err(failed)?), false)
            }
            (_, true) if log.exists() => (None, false),
            _ => (None, true),
        };
        let read = copy.as_ref().map(|folder| folder.path().join("registry.db"));
        let options = SqliteConnectOptions::new()
            .filename(read.as_deref().unwrap_or(file))
            .create_if_missing(false)
            .read_only(copy.is_none())
            .immutable(immutable)
            .busy_timeout(settings.timeout);
        Ok(Self { reads_only: true, ..Self::with(options, place, settings, copy) })
    }

    fn with(
        options: SqliteConnectOptions,
        place: String,
        settings: &RegistrySettings,
        copy: Option<TempDir>,
    ) -> Self {
        let pool = SqlitePoolOptions::new()
            .max_connections(settings.connections.get())
            .acquire_timeout(settings.timeout)
            .connect_lazy_with(options);
        Self { pool, place, timeout: settings.timeout, reads_only: false, _copy: copy }
    }
}

/// The file that SQLite keeps beside a database under this ending.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

queries::implement!(SqliteRegistry);
