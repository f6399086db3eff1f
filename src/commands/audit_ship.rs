//! `hilum audit ship`: the record on its way to the store, beside a service or by hand.
//!
//! This file must never decide what is shipped: the room `audit` does.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::audit::{configured, missing, runtime};
use super::flags::print_json;
use super::{Output, exit, failed};
use crate::app;
use crate::audit::{ChainId, Shipper};
use crate::config::Config;
use crate::lifecycle::SystemClock;
use crate::telemetry::{Metrics, logs};

/// Ship what is sealed in the spool, again and again, beside a service with audit.shipper = "sidecar".
/// After SIGTERM it goes on until the spool is empty, within server.shutdown_timeout.
#[derive(Debug, clap::Args)]
pub(super) struct Ship {
    /// Configuration file (TOML); docs/configuration.md lists the keys
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Go through the spool once and end; exit code 1 if something could not be shipped
    #[arg(long)]
    once: bool,
    /// The chain of a process whose disk is lost: what the store has as commits (audit.durability = "store") is
    /// put back into the spool and shipped. Only when that process runs no more; may be repeated, implies --once
    #[arg(long, value_name = "CHAIN")]
    recover: Vec<ChainId>,
    /// How to print what was shipped (with --once)
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

impl Ship {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        let config = configured(self.config.as_deref())?;
        let telemetry = &config.telemetry;
        if !self.is_once() {
            logs::install(telemetry.log_format, &telemetry.log_filter)
                .map_err(|error| failed(exit::USAGE, &error))?;
        }
        runtime()?.block_on(self.ship(&config))
    }

    const fn is_once(&self) -> bool {
        self.once || !self.recover.is_empty()
    }

    async fn ship(&self, config: &Config) -> Result<ExitCode, ExitCode> {
        let spool = &config.audit.spool_dir;
        if let Some(said) = missing("audit.spool_dir", spool).filter(|_| self.recover.is_empty()) {
            if self.is_once() {
                return Err(failed(exit::FAILED, &said));
            }
            // The service beside it makes it, perhaps later.
            tracing::warn!("{said}; waiting for it");
        }
        let settings = app::shipper_settings(config).map_err(|e| failed(exit::USAGE, &e))?;
        // Nobody scrapes a sidecar; its log lines say what the service's metrics would.
        let metrics = Metrics::new().map_err(|error| failed(exit::FAILED, &error))?;
        let mut shipper = Shipper::new(settings, Arc::new(SystemClock), metrics.audit());
        for chain in &self.recover {
            let recovered = shipper.recover(*chain).await;
            recovered.map_err(|error| failed(exit::FAILED, &error))?;
        }
        if self.is_once() {
            return self.once(&mut shipper).await;
        }
        let on = |kind| signal(kind).map_err(|error| failed(exit::FAILED, &error));
        let (mut terminate, mut interrupt) =
            (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
        tracing::info!(spool = %spool.display(), "shipping audit records");
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        shipper.run(stop).await;
        // The service that writes ends at the same time: its last segment is sealed within its bound.
        let bound = config.server.shutdown_timeout;
        tokio::select! {
            () = shipper.drain() => tracing::info!("the spool is empty"),
            () = tokio::time::sleep(bound) => tracing::warn!("what is left is for the next shipper"),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(ExitCode::from(exit::DONE))
    }

    async fn once(&self, shipper: &mut Shipper) -> Result<ExitCode, ExitCode> {
        let round = shipper.round().await.map_err(|error| failed(exit::FAILED, &error))?;
        for (chain, error) in &round.failures {
            eprintln!("hilum: chain {chain}: {error}");
        }
        match self.output {
            Output::Json => print_json(&round.shipped)?,
            Output::Text => {
                let s = &round.shipped;
                println!(
                    "{} segments, {} rows, {} files, {} bytes shipped; {} chains closed",
                    s.segments, s.rows, s.files, s.bytes, s.closed
                );
            }
        }
        Ok(ExitCode::from(if round.failures.is_empty() { exit::DONE } else { exit::FAILED }))
    }
}
