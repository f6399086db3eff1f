//! The `hilum` binary: parse, run, exit code. Everything else is the library's.
//!
//! This file must never hold logic.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    hilum::commands::Cli::parse().run()
}
