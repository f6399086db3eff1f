//! `hilum audit`: what the record says.
//!
//! This file must never write into a spool.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::flags::ConfigFlags;
use super::{Output, exit, failed};
use crate::audit::{
    AuditId, Filter, KeyRing, Micros, SpoolError, TABLE_HEAD, hashes_of, line, rows_of, to_json,
};
use crate::config::{Config, Overrides};
use crate::domain::ModelVersion;
use crate::npy;

const EXAMPLES: &str = "Examples:
  hilum audit show --model mnist --since 2026-11-28
  hilum audit show --audit-id 0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --output json
  hilum audit show --find xray.png

Exit codes: 0 done, 3 with --find or --audit-id nothing was found.";

/// Read the record.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct AuditCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(Box<Show>),
}

/// Show rows of the record that are still in the spool, the oldest first.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct Show {
    #[command(flatten)]
    config: ConfigFlags,
    /// The spool [audit.spool_dir]
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
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
    limit: usize,
    /// How to print the rows; JSON is one object a line
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

impl AuditCommand {
    /// Does it.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Show(show) => show.run().unwrap_or_else(|code| code),
        }
    }
}

impl Show {
    fn run(self) -> Result<ExitCode, ExitCode> {
        let Self { config, spool, keys, find, limit, output, .. } = self;
        let Config { audit, limits, .. } = config.load(Overrides::default())?;
        let spool = spool.unwrap_or(audit.spool_dir);
        let inputs = match find {
            None => None,
            Some(path) => {
                let keys = keys.or(audit.keys_file).unwrap_or_else(|| spool.join("keys.toml"));
                let ring = KeyRing::read(&keys).map_err(|error| failed(exit::FAILED, &error))?;
                let file = std::fs::read(&path).map_err(|error| {
                    failed(exit::FAILED, &format!("--find {}: {error}", path.display()))
                })?;
                let most = limits.max_message_bytes.get();
                let tensor = match path.extension().is_some_and(|ending| ending == "npy") {
                    true => Some(npy::read(&path, most).map_err(|e| failed(exit::FAILED, &e))?),
                    false => None,
                };
                Some(hashes_of(&ring, &file, tensor.as_ref()))
            }
        };
        let must_find = inputs.is_some() || self.audit_id.is_some();
        let filter = Filter {
            model: self.model,
            version: self.version,
            audit_id: self.audit_id,
            since: self.since,
            until: self.until,
            inputs,
        };
        let rows = rows_of(&spool).map_err(|error| failed(exit::FAILED, &error))?;
        let mut found = 0_usize;
        for row in filter.of(rows).take(limit) {
            let row = row.map_err(|error: SpoolError| failed(exit::FAILED, &error))?;
            if found == 0 && output == Output::Text {
                println!("{TABLE_HEAD}");
            }
            match output {
                Output::Text => println!("{}", line(&row)),
                Output::Json => println!("{}", to_json(&row)),
            }
            found += 1;
        }
        if found == 0 && output == Output::Text {
            eprintln!("hilum: no row of {} is so", spool.display());
        }
        Ok(ExitCode::from(if found == 0 && must_find { exit::CHECK } else { exit::DONE }))
    }
}
