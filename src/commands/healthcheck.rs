//! `hilum healthcheck`: one gRPC health probe, for containers that have no shell.
//!
//! Asks `grpc.health.v1.Health/Check` and turns the answer into an exit code.
//! This file must never take longer than its timeout.

use std::process::ExitCode;
use std::time::Duration;

use super::{Output, exit, failed};
use crate::client::{Client, ClientError};

const EXAMPLES: &str = "Examples:
  hilum healthcheck
  hilum healthcheck --service mnist --address 127.0.0.1:8001

Exit codes: 0 serving, 3 not serving, 1 no answer.";

/// Ask a running server whether it, or one of its models, is serving.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Healthcheck {
    /// The gRPC address
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8001")]
    address: String,
    /// A model's name; nothing means the whole server
    #[arg(long, value_name = "NAME", default_value = "")]
    service: String,
    /// Bound on the whole probe, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// How to print the result
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

impl Healthcheck {
    /// Probes once.
    pub fn run(self) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let result = match runtime {
            Ok(runtime) => runtime.block_on(self.probe()),
            Err(error) => return failed(exit::FAILED, &error),
        };
        match result {
            Ok(serving) => {
                let word = if serving { "SERVING" } else { "NOT_SERVING" };
                match self.output {
                    Output::Text => println!("{word}"),
                    Output::Json => {
                        println!(
                            "{}",
                            serde_json::json!({"service": self.service, "status": word})
                        );
                    }
                }
                ExitCode::from(if serving { exit::DONE } else { exit::CHECK })
            }
            Err(error) => failed(exit::FAILED, &error),
        }
    }

    async fn probe(&self) -> Result<bool, ClientError> {
        let bound = Duration::from_millis(self.timeout);
        Client::connect(&self.address, bound).await?.is_serving(&self.service).await
    }
}
