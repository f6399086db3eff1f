//! `[registry]`: the database of what outlives a replica.
//!
//! The comments below are the reference, as everywhere in the tree.
//! This file must never hold a password: a file does.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::non_zero_u32;
use crate::registry::{DatabaseUrl, RegistrySettings};

/// The database of what all replicas must know and what outlives them: the audit record's chains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryConfig {
    /// `sqlite:FILE` for one machine, `postgres://USER@HOST/DATABASE` for several (`?sslmode=verify-full`
    /// for TLS). A file's schema is brought up to date by itself, a server's by `hilum migrate up`.
    pub url: String,
    /// A file whose first line is the password of the server's user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Connections at a time.
    pub connections: NonZeroU32,
    /// How long a call may take, the wait for a connection included.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub timeout: Duration,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            url: "sqlite:data/registry.db".to_owned(),
            password_file: None,
            connections: non_zero_u32(4),
            timeout: Duration::from_secs(10),
        }
    }
}

impl RegistryConfig {
    /// What the registry needs to know; reads the password's file.
    ///
    /// # Errors
    /// The key that is wrong, and the file that cannot be read.
    pub fn settings(&self) -> Result<RegistrySettings, String> {
        let url: DatabaseUrl =
            self.url.parse().map_err(|error| format!("registry.url: {error}"))?;
        let read = |file: &PathBuf| {
            let text = std::fs::read_to_string(file);
            let text = text
                .map_err(|error| format!("registry.password_file {}: {error}", file.display()))?;
            Ok::<_, String>(text.lines().next().unwrap_or_default().to_owned())
        };
        let password = self.password_file.as_ref().map(read).transpose()?;
        Ok(RegistrySettings { url, password, connections: self.connections, timeout: self.timeout })
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        match self.url.parse::<DatabaseUrl>() {
            Err(error) => problems.push(format!("registry.url: {error}")),
            Ok(DatabaseUrl::Sqlite(_)) if self.password_file.is_some() => {
                problems.push("registry.password_file is for postgres:// only".to_owned());
            }
            Ok(_) => {}
        }
        if self.timeout.is_zero() {
            problems.push("registry.timeout: above 0".to_owned());
        }
        problems
    }
}
