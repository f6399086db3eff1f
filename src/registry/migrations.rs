//! The schema's history: files under `migrations/`, built in, done in order and never changed.
//!
//! What was done is noted by sqlx in the database itself, with a checksum of each file.
//! This file must never hold SQL.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::SqlSafeStr as _;
use sqlx::migrate::{AppliedMigration, Migration, MigrationType, Migrator};

use super::RegistryError;

/// The table in which sqlx notes what was done.
pub(super) const TABLE: &str = "_sqlx_migrations";

/// Number, name and text of a file.
pub(super) type File = (i64, &'static str, &'static str);

/// The files for SQLite, in order.
pub(super) const SQLITE: &[File] =
    &[(1, "audit chains", include_str!("../../migrations/sqlite/0001_audit_chains.sql"))];

/// The files for PostgreSQL, in order; the same numbers and names.
pub(super) const POSTGRES: &[File] =
    &[(1, "audit chains", include_str!("../../migrations/postgres/0001_audit_chains.sql"))];

/// One step of the schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigrationState {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub name: &'static str,
    /// Whether it was done.
    pub applied: bool,
}

/// The schema of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigrationStatus {
    /// Which database, without its password.
    pub database: String,
    /// Every step that this program knows, in order.
    pub migrations: Vec<MigrationState>,
}

impl MigrationStatus {
    /// Whether every step was done.
    pub fn is_current(&self) -> bool {
        self.migrations.iter().all(|migration| migration.applied)
    }
}

/// The files as sqlx wants them.
pub(super) fn migrator(files: &[File]) -> Migrator {
    let migrations = files.iter().map(|(version, name, text)| {
        let kind = MigrationType::Simple;
        Migration::new(*version, Cow::Borrowed(*name), kind, text.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect())
}

/// The state of each file, given what was done.
pub(super) fn status(
    files: &[File],
    applied: Vec<AppliedMigration>,
    database: String,
) -> Result<MigrationStatus, RegistryError> {
    let mut done: BTreeMap<i64, AppliedMigration> =
        applied.into_iter().map(|applied| (applied.version, applied)).collect();
    let mut migrations = Vec::new();
    for (known, file) in migrator(files).migrations.iter().zip(files) {
        let applied = done.remove(&known.version);
        if applied.as_ref().is_some_and(|applied| applied.checksum != known.checksum) {
            let (version, name) = (file.0, file.1);
            return Err(RegistryError::Schema(format!(
                "migration {version} ({name}) was done with another text than this program has; use the \
                 release that made the schema, or a newer one"
            )));
        }
        migrations.push(MigrationState {
            version: file.0,
            name: file.1,
            applied: applied.is_some(),
        });
    }
    match done.keys().next() {
        None => Ok(MigrationStatus { database, migrations }),
        Some(newer) => Err(RegistryError::Schema(format!(
            "migration {newer} is newer than this program; use a newer release"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_databases_have_the_same_steps_and_the_folder_has_no_others() {
        let steps = |files: &[File]| -> Vec<_> {
            files.iter().map(|(version, name, _)| (*version, *name)).collect()
        };
        assert_eq!(steps(SQLITE), steps(POSTGRES));
        for (folder, files) in [("sqlite", SQLITE), ("postgres", POSTGRES)] {
            let path =
                std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder);
            let mut found: Vec<_> = std::fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            found.sort();
            let expected: Vec<_> = files
                .iter()
                .map(|(version, name, _)| format!("{version:04}_{}.sql", name.replace(' ', "_")))
                .collect();
            assert_eq!(found, expected, "{folder}");
        }
    }
}
