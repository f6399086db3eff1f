//! The flags that say which rows of the record are wanted, for every command that reads it.
//!
//! This file must never read a row.

use std::path::PathBuf;
use std::process::ExitCode;

use super::audit::configured;
use super::{exit, failed};
use crate::audit::{AuditId, Filter, KeyRing, Micros, hashes_of};
use crate::config::Config;
use crate::domain::ModelVersion;
use crate::npy;

/// Which rows; all that is named must hold.
#[derive(Debug, clap::Args)]
pub(super) struct Wanted {
    /// Configuration file (TOML); docs/configuration.md lists the keys
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The spool [audit.spool_dir]
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// Only what is still in the spool: the store is not read
    #[arg(long)]
    pub spool_only: bool,
    /// The keys' file, for --find [audit.keys_file]
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Rows of this model; _none for refusals
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Rows of this version
    #[arg(long, value_name = "N")]
    version: Option<ModelVersion>,
    /// Rows of this request
    #[arg(long, value_name = "ID")]
    audit_id: Option<AuditId>,
    /// Rows from this moment on, RFC 3339 or a day (UTC)
    #[arg(long, value_name = "TIME")]
    since: Option<Micros>,
    /// Rows before this moment
    #[arg(long, value_name = "TIME")]
    until: Option<Micros>,
    /// Rows about this image file, or about the rows of this .npy file
    #[arg(long, value_name = "FILE")]
    find: Option<PathBuf>,
    /// Rows at most
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    pub limit: usize,
}

/// Where the rows are, and which.
pub(super) struct Source {
    pub config: Config,
    pub spool: PathBuf,
    /// Whether the spool was named on the command line.
    pub names_spool: bool,
    /// The keys' file, which may not be there.
    pub keys: PathBuf,
    pub filter: Filter,
}

impl Wanted {
    /// Whether finding nothing is worth an exit code.
    pub fn must_find(&self) -> bool {
        self.find.is_some() || self.audit_id.is_some()
    }

    /// The configuration with these flags over it, and the filter; else the exit code, told.
    pub fn source(&self) -> Result<Source, ExitCode> {
        let config = configured(self.config.as_deref())?;
        let spool = self.spool.clone().unwrap_or_else(|| config.audit.spool_dir.clone());
        let keys = self.keys.clone().or_else(|| config.audit.keys_file.clone());
        let keys = keys.unwrap_or_else(|| spool.join("keys.toml"));
        let inputs = match &self.find {
            None => None,
            Some(path) => {
                let ring = KeyRing::read(&keys).map_err(|error| failed(exit::FAILED, &error))?;
                let file = std::fs::read(path).map_err(|error| {
                    failed(exit::FAILED, &format!("--find {}: {error}", path.display()))
                })?;
                let most = config.limits.max_message_bytes.get();
                let tensor = match path.extension().is_some_and(|ending| ending == "npy") {
                    true => Some(npy::read(path, most).map_err(|e| failed(exit::FAILED, &e))?),
                    false => None,
                };
                Some(hashes_of(&ring, &file, tensor.as_ref()))
            }
        };
        let filter = Filter {
            model: self.model.clone(),
            version: self.version,
            audit_id: self.audit_id,
            since: self.since,
            until: self.until,
            inputs,
        };
        let names_spool = self.spool.is_some();
        Ok(Source { config, spool, names_spool, keys, filter })
    }
}
