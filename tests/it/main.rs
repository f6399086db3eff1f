//! Integration tests: the real service on port 0, spoken to over gRPC and HTTP.

mod bad_input;
mod batcher;
mod bundles;
mod commands;
mod control;
mod documents;
mod harness;
mod process;
mod protocol;
mod rows;
mod shutdown;
