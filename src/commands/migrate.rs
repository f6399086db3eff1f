//! `hilum migrate`: the schema of the registry's database.
//!
//! Brings it up to date or says where it stands. This file must never take a step back: data would go
//! with it.

use std::path::PathBuf;
use std::process::ExitCode;

use super::flags::print_json;
use super::{Output, exit, failed};
use crate::config::{self, Overrides};
use crate::registry::{self, MigrationStatus, RegistryError};

const EXAMPLES: &str = "Examples:
  hilum migrate up
  hilum migrate status --config hilum.toml --output json

Exit codes: 0 done, 1 failed, 2 usage, 3 (status) steps are missing.";

/// Bring the schema of the registry's database up to date, or say where it stands
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Migrate {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Do every step that is missing
    Up(Flags),
    /// Say which steps were done
    Status(Flags),
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Configuration file (TOML); docs/configuration.md lists the keys
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

impl Migrate {
    /// Does what was asked for.
    pub fn run(self) -> ExitCode {
        let (up, flags) = match self.what {
            What::Up(flags) => (true, flags),
            What::Status(flags) => (false, flags),
        };
        let config = config::load(flags.config.as_deref(), &Overrides::default());
        let settings = match config.map(|config| config.registry.settings()) {
            Ok(Ok(settings)) => settings,
            Ok(Err(problem)) => return failed(exit::USAGE, &problem),
            Err(error) => return failed(exit::USAGE, &error),
        };
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return failed(exit::FAILED, &error),
        };
        let status: Result<MigrationStatus, RegistryError> = runtime.block_on(async {
            let registry = registry::open(&settings)?;
            let status =
                if up { registry.migrate().await } else { registry.migration_status().await };
            registry.disconnect().await;
            status
        });
        let status = match status {
            Ok(status) => status,
            Err(error) => return failed(exit::FAILED, &error),
        };
        match flags.output {
            Output::Text => {
                println!("{}", status.database);
                for step in &status.migrations {
                    let state = if step.applied { "done" } else { "missing" };
                    println!("{:>4}  {:<8} {}", step.version, state, step.name);
                }
            }
            Output::Json => {
                if let Err(code) = print_json(&status) {
                    return code;
                }
            }
        }
        ExitCode::from(if status.is_current() { exit::DONE } else { exit::CHECK })
    }
}
