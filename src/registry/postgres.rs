//! The registry in PostgreSQL: for replicas on several machines.
//!
//! A connection is made when it is needed, by the URL, `PG…` variables for what it leaves out, and a
//! password from a file.
//! This file must never show the URL, which may hold a password.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use sqlx::migrate::Migrate as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use super::migrations::{self, File, MigrationStatus};
use super::{
    Chain, ChainClosing, ChainHead, ChainOpening, PAGE, Registry, RegistryError, RegistrySettings,
    queries,
};

/// The registry in a server.
#[derive(Debug)]
pub(super) struct PostgresRegistry {
    pool: PgPool,
    place: String,
    timeout: Duration,
    reads_only: bool,
}

impl PostgresRegistry {
    const FILES: &'static [File] = migrations::POSTGRES;

    /// The registry at `url`.
    pub(super) fn new(url: &str, settings: &RegistrySettings) -> Result<Self, RegistryError> {
        Self::with(url, settings, false)
    }

    /// The registry at `url`, whose role need not be allowed to write.
    pub(super) fn to_read(url: &str, settings: &RegistrySettings) -> Result<Self, RegistryError> {
        Self::with(url, settings, true)
    }

    fn with(
        url: &str,
        settings: &RegistrySettings,
        reads_only: bool,
    ) -> Result<Self, RegistryError> {
        let mut options: PgConnectOptions =
            url.parse().map_err(|error: sqlx::Error| RegistryError::Url(error.to_string()))?;
        if let Some(password) = &settings.password {
            options = options.password(password);
        }
        // A statement that outlives our patience ends in the server too.
        let patience = settings.timeout.as_millis().to_string();
        options =
            options.application_name("hilum").options([("statement_timeout", patience.as_str())]);
        if reads_only {
            options = options.options([("default_transaction_read_only", "on")]);
        }
        let database = options.get_database().unwrap_or_default();
        let place = format!("postgres://{}:{}/{database}", options.get_host(), options.get_port());
        let pool = PgPoolOptions::new()
            .max_connections(settings.connections.get())
            .acquire_timeout(settings.timeout)
            .connect_lazy_with(options);
        Ok(Self { pool, place, timeout: settings.timeout, reads_only })
    }
}

queries::implement!(PostgresRegistry);
