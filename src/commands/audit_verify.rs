//! `hilum audit verify`: whether the record in the store is whole.
//!
//! This file must never decide what is wrong: the room `audit` does.

use std::path::PathBuf;
use std::process::ExitCode;

use super::audit::{configured, open_registry, open_to_read, runtime};
use super::flags::print_json;
use super::{Output, exit, failed};
use crate::audit::{ChainId, OpenChain, Verification, Verified};
use crate::config::Config;

/// Verify the record in the store: rows, Merkle roots, manifests, signatures, files, and against the
/// registry's heads that no end and no whole chain is missing. Exit code 3: something is wrong, and named.
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// Configuration file (TOML); docs/configuration.md lists the keys
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only this chain
    #[arg(long, value_name = "CHAIN")]
    chain: Option<ChainId>,
    /// A public key that manifests must be signed by, as 64 hexadecimal digits; may be repeated. Without it
    /// those that the registry noted
    #[arg(long, value_name = "KEY", value_parser = public_key)]
    public_key: Vec<[u8; 32]>,
    /// Do without the registry: a missing end or a missing chain is not seen then
    #[arg(long)]
    without_registry: bool,
    /// How to print the findings
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

fn public_key(text: &str) -> Result<[u8; 32], String> {
    let mut key = [0; 32];
    let read = hex::decode_to_slice(text, &mut key).map(|()| key);
    read.map_err(|_| "64 hexadecimal digits are expected".to_owned())
}

impl Verify {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        let config = configured(self.config.as_deref())?;
        let verified = runtime()?.block_on(self.verify(&config))?;
        match self.output {
            Output::Json => print_json(&verified)?,
            Output::Text => tell(&verified),
        }
        let whole = verified.findings.is_empty();
        Ok(ExitCode::from(if whole { exit::DONE } else { exit::CHECK }))
    }

    async fn verify(&self, config: &Config) -> Result<Verified, ExitCode> {
        let store = open_to_read(config).await?;
        let registry = match self.without_registry {
            true => None,
            false => Some(open_registry(config).await?),
        };
        let verification = Verification {
            store: store.as_ref(),
            registry: registry.as_deref(),
            keys: self.public_key.clone(),
            chain: self.chain,
        };
        verification.run().await.map_err(|error| failed(exit::FAILED, &error))
    }
}

fn tell(verified: &Verified) {
    for finding in &verified.findings {
        let row = finding.seq.map_or_else(String::new, |seq| format!(" row {seq}"));
        let id = finding.audit_id.as_ref().map_or_else(String::new, |id| format!(" ({id})"));
        let object = finding.object.as_ref().map_or_else(String::new, |it| format!(" {it}:"));
        let chain = match finding.chain.as_str() {
            "" => String::new(),
            chain => format!(" chain {chain}"),
        };
        println!("WRONG{chain}{row}{id}:{object} {}", finding.problem);
    }
    let Verified { chains, manifests, signed, files, rows, .. } = verified;
    let Verified { pending_files, pending_commits, open_chains, .. } = verified;
    println!(
        "{rows} rows in {files} files, {manifests} manifests ({signed} signed), {chains} chains"
    );
    for key in &verified.signing_keys {
        println!("signed by {key}");
    }
    if *pending_files > 0 && verified.with_registry {
        println!("{pending_files} files are being shipped: their manifest is about to come");
    } else if *pending_files > 0 {
        println!(
            "{pending_files} files behind a last manifest: they are being shipped, or a manifest is missing"
        );
    }
    if *pending_commits > 0 {
        println!("{pending_commits} commits are not shipped yet");
    }
    for OpenChain { chain, opened_at, manifest, seq, watermark } in open_chains {
        let known = match (manifest, seq, watermark) {
            (Some(manifest), Some(seq), Some(watermark)) => {
                format!("in the store to manifest {manifest}, row {seq} of {watermark}")
            }
            _ => "nothing of it is in the store".to_owned(),
        };
        println!("open chain {chain} since {opened_at}: {known}");
    }
    if !verified.with_registry {
        println!("without the registry: a missing end, a missing chain or an open one is not seen");
    }
    match (verified.findings.is_empty(), open_chains.len()) {
        (false, _) => println!("NOT whole"),
        (true, 0) => println!("whole"),
        (true, open) => println!(
            "whole as far as it is in the store; {open} chains have no end, and rows that a process has not \
             shipped are not in it: if none writes them any more, ship their spool or take them for lost"
        ),
    }
}
