//! Which database, and the bounds on how it is used.
//!
//! A URL as text goes in, a file or a server comes out.
//! This file must never connect to anything.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Which database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file: `sqlite:FILE`.
    Sqlite(PathBuf),
    /// A server: `postgres://USER@HOST/DATABASE`, with what else libpq's URIs know.
    Postgres(String),
}

/// A text that names no database.
#[derive(Debug, thiserror::Error)]
#[error("sqlite:FILE or postgres://USER@HOST/DATABASE is expected")]
pub struct UrlError;

impl FromStr for DatabaseUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(file) = text.strip_prefix("sqlite:") {
            let file = file.strip_prefix("//").unwrap_or(file);
            let plain = !file.is_empty() && !file.contains(['?', ':', '\0']);
            return if plain { Ok(Self::Sqlite(file.into())) } else { Err(UrlError) };
        }
        let server = ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
        if server { Ok(Self::Postgres(text.to_owned())) } else { Err(UrlError) }
    }
}

/// A database and the bounds on how it is used.
#[derive(Debug, Clone)]
pub struct RegistrySettings {
    /// Which.
    pub url: DatabaseUrl,
    /// The password of the server's user, if the URL has none.
    pub password: Option<String>,
    /// Connections at a time.
    pub connections: NonZeroU32,
    /// How long a call may take, the wait for a connection included.
    pub timeout: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_file_or_a_server() {
        for text in ["sqlite:data/registry.db", "sqlite:///var/lib/registry.db"] {
            assert!(matches!(text.parse(), Ok(DatabaseUrl::Sqlite(_))), "{text}");
        }
        assert!(matches!("postgres://hilum@db/hilum".parse(), Ok(DatabaseUrl::Postgres(_))));
        for text in
            ["", "sqlite:", "sqlite::memory:", "mysql://a/b", "registry.db", "sqlite:a?mode=ro"]
        {
            assert!(text.parse::<DatabaseUrl>().is_err(), "{text}");
        }
    }
}
