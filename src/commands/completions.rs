//! `hilum completions` and `hilum man`: made from the commands themselves.
//!
//! The command tree goes in, a shell's script or manual pages come out.
//! This file must never describe a command by hand.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory as _;

use super::{Cli, exit, failed};

/// Print a shell's completion script.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hilum completions bash > /etc/bash_completion.d/hilum")]
pub struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

impl Completions {
    /// Prints the script.
    pub fn run(self) -> ExitCode {
        clap_complete::generate(self.shell, &mut Cli::command(), "hilum", &mut io::stdout());
        ExitCode::from(exit::DONE)
    }
}

/// Write a manual page for each command into a folder.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  hilum man /usr/local/share/man/man1")]
pub struct Man {
    /// The folder; it is made if it is not there
    folder: PathBuf,
}

impl Man {
    /// Writes the pages.
    pub fn run(self) -> ExitCode {
        let written = fs::create_dir_all(&self.folder)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &self.folder));
        match written {
            Ok(()) => ExitCode::from(exit::DONE),
            Err(error) => failed(exit::FAILED, &format!("{}: {error}", self.folder.display())),
        }
    }
}
