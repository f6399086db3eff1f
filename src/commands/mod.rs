//! The command line: one thin file for each subcommand.
//!
//! A command parses its flags, calls the room that does the work and prints the result.
//! This room must never hold logic that a library user would miss.

mod audit;
mod audit_replay;
mod audit_ship;
mod audit_show;
mod audit_verify;
mod audit_wanted;
mod bench;
mod bundle;
mod completions;
mod doctor;
mod flags;
mod healthcheck;
mod migrate;
mod predict;
mod prepare;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The exit codes of every command.
pub mod exit {
    /// Done.
    pub const DONE: u8 = 0;
    /// Failed.
    pub const FAILED: u8 = 1;
    /// Usage; also an unusable configuration.
    pub const USAGE: u8 = 2;
    /// A check did not hold.
    pub const CHECK: u8 = 3;
}

/// A gRPC model server for image-classifying CNNs: fast, explainable and accounted for.
#[derive(Debug, Parser)]
#[command(name = "hilum", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Predict(predict::Predict),
    Bench(bench::Bench),
    Healthcheck(healthcheck::Healthcheck),
    Doctor(doctor::Doctor),
    Prepare(prepare::Prepare),
    Bundle(bundle::BundleCommand),
    Audit(audit::AuditCommand),
    Migrate(migrate::Migrate),
    Completions(completions::Completions),
    Man(completions::Man),
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON value.
    Json,
}

impl Cli {
    /// Runs the command that was asked for.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Predict(predict) => predict.run(),
            Command::Bench(bench) => bench.run(),
            Command::Healthcheck(healthcheck) => healthcheck.run(),
            Command::Doctor(doctor) => doctor.run(),
            Command::Prepare(prepare) => prepare.run(),
            Command::Bundle(bundle) => bundle.run(),
            Command::Audit(audit) => audit.run(),
            Command::Migrate(migrate) => migrate.run(),
            Command::Completions(completions) => completions.run(),
            Command::Man(man) => man.run(),
        }
    }
}

/// A file, with the name of the input that it is for: `NAME=FILE`, or `FILE` for the only input.
fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').unwrap_or(("", text));
    match file {
        "" => Err("a file is expected: [NAME=]FILE.npy".to_owned()),
        file => Ok((name.to_owned(), PathBuf::from(file))),
    }
}

/// Prints an error the same way everywhere.
fn failed(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("hilum: {error}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// The commands that a help text shows, as the shell would hand them over.
    fn examples(help: &str) -> Vec<Vec<String>> {
        let commands = help.lines().filter_map(|line| {
            let command = line.strip_prefix("  ")?;
            let command = command.split_once(" > ").map_or(command, |(command, _)| command);
            Some(&command[command.find("hilum ")?..])
        });
        commands.map(|command| words(command).collect()).collect()
    }

    /// Words, quoted ones whole.
    fn words(command: &str) -> impl Iterator<Item = String> {
        let parts = command.split('\'').enumerate();
        parts.flat_map(|(at, part)| match at % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
            _ => vec![part.to_owned()],
        })
    }

    #[test]
    fn every_example_of_a_help_text_is_understood() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = examples(&help);
            assert!(!examples.is_empty(), "{} has no example", command.get_name());
            for example in examples {
                let parsed = Cli::try_parse_from(&example);
                assert!(parsed.is_ok(), "{example:?}: {}", parsed.unwrap_err());
            }
        }
    }
}
