//! The `hilum` binary: parse, run, exit code. Everything else is the library's.
//!
//! This file must never hold logic.

use std::process::ExitCode;

use clap::Parser as _;

/// The runtime's sessions are allocated by the C library; with an allocator of our own beside it,
/// models that come and go do not spread over the memory of requests.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hilum::commands::Cli::parse().run()
}
