//! What must be known to all replicas and outlive them, in a database: SQLite in a file by default, or
//! PostgreSQL. Today: the audit record's chains.
//!
//! A caller speaks to [`Registry`]; which database is behind it shows nowhere. One conformance suite holds
//! both to the same answers.
//! This room must never let SQL or a driver's type out.

mod chains;
mod database;
mod error;
mod migrations;
mod postgres;
mod queries;
mod sqlite;

use std::fmt::Debug;
use std::sync::Arc;

use futures::future::BoxFuture;

pub use chains::{Chain, ChainClosing, ChainHead, ChainOpening, ClosedBy};
pub use database::{DatabaseUrl, RegistrySettings, UrlError};
pub use error::RegistryError;
pub use migrations::{MigrationState, MigrationStatus};

/// Chains of one page of [`Registry::chains`] at most.
pub const PAGE: u32 = 1000;

/// The database, whichever it is.
///
/// Every call ends within the configured time. Each is idempotent: a call that was cut may be made again.
pub trait Registry: Debug + Send + Sync + 'static {
    /// Brings the schema up to date; one process at a time does it, others wait.
    ///
    /// # Errors
    /// A schema that is newer than this program, or what the database says.
    fn migrate(&self) -> BoxFuture<'_, Result<MigrationStatus, RegistryError>>;

    /// Which migrations there are and which were done.
    ///
    /// # Errors
    /// What the database says.
    fn migration_status(&self) -> BoxFuture<'_, Result<MigrationStatus, RegistryError>>;

    /// Notes that a chain begins. The first opening stays; a key is added to one without, as long as the chain
    /// has neither a head nor an end.
    ///
    /// # Errors
    /// [`RegistryError::Conflict`] if it began at another time, or what the database says.
    fn open_chain<'a>(
        &'a self,
        opening: &'a ChainOpening,
    ) -> BoxFuture<'a, Result<(), RegistryError>>;

    /// Moves a chain's head on. A head that is behind the one that is noted changes nothing: it was
    /// overtaken by another shipper's.
    ///
    /// # Errors
    /// [`RegistryError::Conflict`] if the same manifest was noted with other content, if a head further on
    /// covers fewer rows, or if the chain is closed and this is not its last head;
    /// [`RegistryError::UnknownChain`]; or what the database says.
    fn advance_chain<'a>(
        &'a self,
        chain: &'a str,
        head: &'a ChainHead,
    ) -> BoxFuture<'a, Result<(), RegistryError>>;

    /// Notes that a chain has ended with the head that is noted. The first closing stays.
    ///
    /// # Errors
    /// [`RegistryError::UnknownChain`], or what the database says.
    fn close_chain<'a>(
        &'a self,
        chain: &'a str,
        closing: ChainClosing,
    ) -> BoxFuture<'a, Result<(), RegistryError>>;

    /// What is known of a chain.
    ///
    /// # Errors
    /// What the database says.
    fn chain<'a>(&'a self, chain: &'a str) -> BoxFuture<'a, Result<Option<Chain>, RegistryError>>;

    /// Chains after `after` in the order of their names' bytes: [`PAGE`] of them, or fewer if there are no
    /// more.
    ///
    /// # Errors
    /// What the database says.
    fn chains<'a>(
        &'a self,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Chain>, RegistryError>>;

    /// Closes the connections.
    fn disconnect(&self) -> BoxFuture<'_, ()>;
}

/// A registry for the settings. No connection is made yet: the first call does that.
///
/// # Errors
/// A URL that the driver cannot use, a folder of a file that cannot be made.
pub fn open(settings: &RegistrySettings) -> Result<Arc<dyn Registry>, RegistryError> {
    Ok(match &settings.url {
        DatabaseUrl::Sqlite(file) => Arc::new(sqlite::SqliteRegistry::new(file, settings)?),
        DatabaseUrl::Postgres(url) => Arc::new(postgres::PostgresRegistry::new(url, settings)?),
    })
}

/// A registry to read: nothing is written to it, no file, folder or table is made, and it may lie where
/// nothing can be written. A file must be there, and the schema must be the one of this program.
///
/// # Errors
/// As [`open`], [`RegistryError::Missing`], and [`RegistryError::Schema`] where steps are missing.
pub async fn open_to_read(settings: &RegistrySettings) -> Result<Arc<dyn Registry>, RegistryError> {
    let registry: Arc<dyn Registry> = match &settings.url {
        DatabaseUrl::Sqlite(file) => Arc::new(sqlite::SqliteRegistry::to_read(file, settings)?),
        DatabaseUrl::Postgres(url) => Arc::new(postgres::PostgresRegistry::to_read(url, settings)?),
    };
    current(registry.migration_status().await?)?;
    Ok(registry)
}

/// A registry whose schema is the one of this program: a file's is brought up to date, a server's must be.
///
/// # Errors
/// As [`open`], and [`RegistryError::Schema`] where steps are missing.
pub async fn open_current(settings: &RegistrySettings) -> Result<Arc<dyn Registry>, RegistryError> {
    let registry = open(settings)?;
    match settings.url {
        DatabaseUrl::Sqlite(_) => drop(registry.migrate().await?),
        DatabaseUrl::Postgres(_) => {
            current(registry.migration_status().await?)?;
        }
    }
    Ok(registry)
}

fn current(status: MigrationStatus) -> Result<(), RegistryError> {
    if status.is_current() {
        return Ok(());
    }
    let said = format!("{} is not up to date; run `hilum migrate up`", status.database);
    Err(RegistryError::Schema(said))
}
