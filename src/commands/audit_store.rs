//! `hilum audit ship` and `hilum audit verify`: the record on its way to the store, and whether it is whole
//! there.
//!
//! This file must never decide what is shipped or what is wrong: the room `audit` does.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::flags::print_json;
use super::{Output, exit, failed};
use crate::audit::{
    ChainId, ManifestKey, ShipParts, Shipper, ShipperSettings, Verification, Verified,
};
use crate::config::{self, Config, Overrides};
use crate::lifecycle::SystemClock;
use crate::telemetry::Metrics;
use crate::{registry, store};

/// Ship what is sealed in the spool, again and again, beside a server with audit.shipper = "sidecar"
#[derive(Debug, clap::Args)]
pub(super) struct Ship {
    /// Configuration file (TOML); docs/configuration.md lists the keys
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Go through the spool once and end; exit code 1 if something could not be shipped
    #[arg(long)]
    once: bool,
    /// How to print what was shipped (with --once)
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

/// Verify the record in the store: rows, Merkle roots, manifests, signatures, the registry's heads
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// Configuration file (TOML); docs/configuration.md lists the keys
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only this chain
    #[arg(long, value_name = "CHAIN")]
    chain: Option<ChainId>,
    /// A public key that manifests must be signed by, as 64 hexadecimal digits; may be repeated
    #[arg(long, value_name = "KEY")]
    public_key: Vec<String>,
    /// Do without the registry: a missing end or a missing chain is not seen then
    #[arg(long)]
    without_registry: bool,
    /// How to print the findings
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

fn configured(file: Option<&std::path::Path>) -> Result<Config, ExitCode> {
    config::load(file, &Overrides::default()).map_err(|error| failed(exit::USAGE, &error))
}

fn runtime() -> Result<tokio::runtime::Runtime, ExitCode> {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    built.map_err(|error| failed(exit::FAILED, &error))
}

impl Ship {
    pub(super) fn run(self) -> ExitCode {
        let work = || -> Result<ExitCode, ExitCode> {
            let config = configured(self.config.as_deref())?;
            runtime()?.block_on(self.ship(&config))
        };
        work().unwrap_or_else(|code| code)
    }

    async fn ship(&self, config: &Config) -> Result<ExitCode, ExitCode> {
        let parts = parts(config).await?;
        let metrics = Metrics::new().map_err(|error| failed(exit::FAILED, &error))?;
        let settings = ShipperSettings {
            spool: config.audit.spool_dir.clone(),
            interval: config.audit.ship_interval,
            max_backoff: config.audit.ship_max_backoff,
        };
        let shipper = Shipper::new(parts, settings, Arc::new(SystemClock), metrics);
        if !self.once {
            shipper.run(super::serve::terminated()).await;
            return Ok(ExitCode::from(exit::DONE));
        }
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

async fn parts(config: &Config) -> Result<ShipParts, ExitCode> {
    let key = config.audit.signing_key_file.as_deref().map(ManifestKey::read).transpose();
    let settings = config.registry.settings().map_err(|error| failed(exit::USAGE, &error))?;
    Ok(ShipParts {
        key: key.map_err(|error| failed(exit::USAGE, &error))?,
        store: store::open(config.store.settings())
            .await
            .map_err(|error| failed(exit::FAILED, &error))?,
        registry: registry::open_current(&settings)
            .await
            .map_err(|error| failed(exit::FAILED, &error))?,
    })
}

impl Verify {
    pub(super) fn run(self) -> ExitCode {
        let work = || -> Result<ExitCode, ExitCode> {
            let config = configured(self.config.as_deref())?;
            let verified = runtime()?.block_on(self.verify(&config))?;
            self.tell(&verified)?;
            let whole = verified.findings.is_empty();
            Ok(ExitCode::from(if whole { exit::DONE } else { exit::CHECK }))
        };
        work().unwrap_or_else(|code| code)
    }

    async fn verify(&self, config: &Config) -> Result<Verified, ExitCode> {
        let keys = self.public_key.iter().map(|text| {
            let mut key = [0; 32];
            hex::decode_to_slice(text, &mut key).map(|()| key)
        });
        let keys: Result<Vec<[u8; 32]>, _> = keys.collect();
        let keys =
            keys.map_err(|error| failed(exit::USAGE, &format!("--public-key: {error}")))?;
        let store = store::open(config.store.settings())
            .await
            .map_err(|error| failed(exit::FAILED, &error))?;
        let registry = if self.without_registry {
            None
        } else {
            let settings =
                config.registry.settings().map_err(|error| failed(exit::USAGE, &error))?;
            let opened = registry::open_current(&settings).await;
            Some(opened.map_err(|error| failed(exit::FAILED, &error))?)
        };
        let verification = Verification {
            store: store.as_ref(),
            registry: registry.as_deref(),
            keys,
            chain: self.chain,
        };
        verification.run().await.map_err(|error| failed(exit::FAILED, &error))
    }

    fn tell(&self, verified: &Verified) -> Result<(), ExitCode> {
        if self.output == Output::Json {
            return print_json(verified);
        }
        for finding in &verified.findings {
            let row = finding.seq.map_or_else(String::new, |seq| format!(", row {seq}"));
            let id = finding.audit_id.as_ref().map_or_else(String::new, |id| format!(" ({id})"));
            let object = finding.object.as_deref().unwrap_or("-");
            println!("WRONG chain {}{row}{id}: {object}: {}", finding.chain, finding.problem);
        }
        let Verified { chains, manifests, signed, files, rows, with_registry, .. } = verified;
        let against = if *with_registry { "" } else { "; without the registry: ends were not compared" };
        println!(
            "{rows} rows in {files} files, {manifests} manifests ({signed} signed), {chains} chains: {}{against}",
            if verified.findings.is_empty() { "whole" } else { "NOT whole" }
        );
        Ok(())
    }
}
