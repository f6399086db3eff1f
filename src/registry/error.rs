//! Why the registry did not do what it was asked for.
//!
//! A message says what to do. This file must never show a URL with its password.

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// What is noted already says otherwise.
    #[error("chain {chain}: {problem}")]
    Conflict {
        /// The chain.
        chain: String,
        /// What is noted and what was to be.
        problem: String,
    },
    /// The chain was never opened.
    #[error("chain {0} was never opened in this registry")]
    UnknownChain(String),
    /// The schema is not the one that this program knows.
    #[error("the registry's schema: {0}")]
    Schema(String),
    /// What the database holds makes no sense.
    #[error("the registry's table {table}: {problem}")]
    Damaged {
        /// The table.
        table: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The database's file is not there.
    #[error("registry.url: there is no file {0}")]
    Missing(String),
    /// The URL cannot be used.
    #[error("registry.url: {0}")]
    Url(String),
    /// The database cannot be reached, is too slow or refuses.
    #[error("the registry {place}: {reason}")]
    Database {
        /// Which database, without its password.
        place: String,
        /// What it says.
        reason: String,
    },
}

impl RegistryError {
    /// Whether the same call may succeed later without anybody's doing.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Database { .. })
    }
}
