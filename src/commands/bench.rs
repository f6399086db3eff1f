//! `hilum bench`: load on a running server.
//!
//! Flags become a plan; the report goes to standard output, progress to standard error.
//! This file must never measure by itself.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::flags::print_json;
use super::{Output, exit, failed, named_file};
use crate::bench::{InputSource, Job, Length, Live, Load, Plan, Protocol, Report};

const EXAMPLES: &str = "Examples:
  hilum bench --model mnist
  hilum bench --model mnist --callers 32 --rows 32 --duration 30
  hilum bench --model mnist --protocol rest --callers 32
  hilum bench --model mnist --rate 2000 --deadline-ms 50 --report load.html
  hilum bench --model mnist --version 1 --input digits.npy --requests 10000 --output json

Closed loop (--callers): each caller sends when its last answer has come. Open loop (--rate):
requests come by a Poisson process whatever the server does, and latency counts from the time at
which a request should have been sent.

Exit codes: 0 measured, 1 no server or no request was answered, 2 usage, 3 more failed than
--max-failed.";

/// Put load on a running server, and measure throughput and latency.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Bench {
    /// The model
    #[arg(long, value_name = "NAME")]
    model: String,
    /// The version; without it the champion
    #[arg(long, value_name = "VERSION", default_value = "")]
    version: String,
    /// The server's address; without it 127.0.0.1 and the protocol's port, 8001 or 8000
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// How requests are sent
    #[arg(long, value_enum, default_value = "grpc")]
    protocol: ProtocolName,
    /// Closed loop: so many callers that each wait for their answer
    #[arg(long, value_name = "N", default_value = "8", conflicts_with = "rate")]
    callers: NonZeroUsize,
    /// Open loop: so many requests a second on average (Poisson)
    #[arg(long, value_name = "PER_SECOND", value_parser = positive)]
    rate: Option<f64>,
    /// Open loop: requests in flight at most; a further one is counted and not sent
    #[arg(long, value_name = "N", default_value = "10000", requires = "rate")]
    max_in_flight: NonZeroUsize,
    /// Rows of each request
    #[arg(long, value_name = "N", default_value = "1")]
    rows: NonZeroUsize,
    /// Rows to send, in turn, from a .npy file; NAME= where the model has several inputs. Without
    /// it random rows of the model's shape are sent
    #[arg(long, value_name = "[NAME=]FILE.npy", value_parser = named_file)]
    input: Vec<(String, PathBuf)>,
    /// Seconds to measure
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = positive)]
    duration: f64,
    /// Requests to measure, instead of a duration
    #[arg(long, value_name = "N", conflicts_with = "duration")]
    requests: Option<NonZeroU64>,
    /// Seconds of load before anything is recorded
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = number)]
    warmup: f64,
    /// Deadline of each request in milliseconds; goodput is what was answered within it
    #[arg(long, value_name = "MS", value_parser = positive)]
    deadline_ms: Option<f64>,
    /// Bound on the wait for one answer, in milliseconds
    #[arg(long, value_name = "MS", default_value = "30000", value_parser = positive)]
    timeout_ms: f64,
    /// gRPC connections, over which the callers are spread; REST has one for each request in flight
    #[arg(long, value_name = "N", default_value = "2")]
    connections: NonZeroUsize,
    /// Seed of random rows and of the arrivals
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Failed requests, in percent, up to which the exit code is 0
    #[arg(long, value_name = "PERCENT", default_value = "100", value_parser = number)]
    max_failed: f64,
    /// Write a report with charts (HTML)
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ProtocolName {
    /// The Open Inference Protocol over gRPC
    Grpc,
    /// The same over REST, with binary tensor data
    Rest,
}

/// A year in seconds: as long as anything here may take.
const LONGEST: f64 = 366.0 * 86_400.0;

fn number(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "a number is expected".to_owned())?;
    match (0.0..=LONGEST).contains(&number) {
        true => Ok(number),
        false => Err(format!("0 to {LONGEST} is expected")),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match number(text)? {
        number if number >= 1e-6 => Ok(number),
        _ => Err("more than 0 is expected".to_owned()),
    }
}

impl Bench {
    /// Measures and prints.
    pub fn run(self) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return failed(exit::FAILED, &error),
        };
        let (output, most) = (self.output, self.max_failed / 100.0);
        let job = self.job();
        let live = Arc::new(Live::default());
        let interrupt = Arc::clone(&live);
        runtime.spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                interrupt.stop.store(true, Ordering::Relaxed);
            }
        });
        let report = match runtime.block_on(job.measure(live)) {
            Ok(report) => report,
            Err(error) => return failed(exit::FAILED, &error),
        };
        match output {
            Output::Text => println!("{}", report.table()),
            Output::Json => {
                if let Err(code) = print_json(&report) {
                    return code;
                }
            }
        }
        ExitCode::from(verdict(&report, most))
    }

    fn job(self) -> Job {
        let seconds = Duration::from_secs_f64;
        let load = match self.rate {
            Some(rate) => {
                Load::Open { rate, max_in_flight: self.max_in_flight.get(), seed: self.seed }
            }
            None => Load::Closed { callers: self.callers.get() },
        };
        let length = match self.requests {
            Some(count) => Length::Requests(count.get()),
            None => Length::Time(seconds(self.duration)),
        };
        let plan = Plan {
            load,
            rows: self.rows.get(),
            warmup: seconds(self.warmup),
            length,
            deadline: self.deadline_ms.map(|ms| seconds(ms / 1e3)),
            timeout: seconds(self.timeout_ms / 1e3),
        };
        let source = match self.input.is_empty() {
            true => InputSource::Random { seed: self.seed },
            false => InputSource::Files(self.input),
        };
        let (protocol, usual) = match self.protocol {
            ProtocolName::Grpc => (Protocol::Grpc, "127.0.0.1:8001"),
            ProtocolName::Rest => (Protocol::Rest, "127.0.0.1:8000"),
        };
        Job {
            plan,
            protocol,
            address: self.address.unwrap_or_else(|| usual.to_owned()),
            model: self.model,
            version: self.version,
            connections: self.connections.get(),
            source,
            page: self.report,
            quiet: self.quiet,
        }
    }
}

fn verdict(report: &Report, most_failed: f64) -> u8 {
    if report.ok() == 0 {
        exit::FAILED
    } else if report.failed_share() > most_failed {
        exit::CHECK
    } else {
        exit::DONE
    }
}
