//! `hilum doctor`: what this machine offers, and what is wrong with it.
//!
//! Each line is a check with its finding; what is wrong says how to mend it.
//! This file must never change anything.

use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use super::flags::{ConfigFlags, print_json};
use super::{Output, exit};
use crate::app::Core;
use crate::bundle::Bundle;
use crate::catalog::{self, ModelControl, Scanned, VersionEntry};
use crate::config::{Config, Overrides};
use crate::domain::{Digest, ModelName, ModelVersion};
use crate::engine::library;
use crate::lifecycle::cpu::CpuQuota;

const EXAMPLES: &str = "Examples:
  hilum doctor
  hilum doctor --config hilum.toml --output json

Exit codes: 0 nothing is wrong, 3 something is.";

/// Say what this machine offers and what is wrong.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Doctor {
    #[command(flatten)]
    config: ConfigFlags,
    /// How to print the findings
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

/// One check.
#[derive(Debug, Serialize)]
struct Finding {
    check: String,
    ok: bool,
    found: String,
}

impl Doctor {
    /// Checks and prints.
    pub fn run(self) -> ExitCode {
        let config = match self.config.load(Overrides::default()) {
            Ok(config) => config,
            Err(code) => return code,
        };
        let findings = examine(&config);
        match self.output {
            Output::Text => {
                for finding in &findings {
                    let mark = if finding.ok { "ok " } else { "BAD" };
                    println!("{mark} {:<12} {}", finding.check, finding.found);
                }
            }
            Output::Json => {
                if let Err(code) = print_json(&findings) {
                    return code;
                }
            }
        }
        let healthy = findings.iter().all(|finding| finding.ok);
        ExitCode::from(if healthy { exit::DONE } else { exit::CHECK })
    }
}

fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |check: &str, ok, found: String| {
        findings.push(Finding { check: check.to_owned(), ok, found });
    };
    say("version", true, format!("hilum {}", env!("CARGO_PKG_VERSION")));
    say("cpu", true, cpu(config));
    let library = library::load(config.engine.onnxruntime.as_deref());
    match &library {
        Ok(runtime) => {
            let path = runtime.path.display();
            say("onnxruntime", true, format!("{path}: {}", runtime.build_info()));
        }
        Err(error) => say("onnxruntime", false, error.to_string()),
    }
    let models = match library {
        Ok(_) => load_models(config),
        Err(_) => read_models(config),
    };
    match models {
        Ok(models) if models.is_empty() => {
            let directory = config.models.directory.display();
            say("models", false, format!("{directory}: no <name>/<version>/ is in it"));
        }
        Ok(models) => {
            models
                .into_iter()
                .for_each(|(name, ok, found)| say(&format!("model {name}"), ok, found));
        }
        Err(error) => say("models", false, error),
    }
    findings
}

/// A model's name, whether all is well with it, and what was found.
type Examined = (ModelName, bool, String);

/// Loads every version as `serve` does, goldens and all.
fn load_models(config: &Config) -> Result<Vec<Examined>, String> {
    let mut config = config.clone();
    config.models.control = ModelControl::None;
    config.models.load = Vec::new();
    let core = Core::build(&config).map_err(|error| error.to_string())?;
    let catalog = core.pipeline.catalog();
    catalog.start(|| {}).map_err(|error| error.to_string())?;
    let models = catalog.models();
    let examined = models.iter().map(|(name, model)| {
        let version = |(version, entry): (&ModelVersion, &VersionEntry)| match entry.ready() {
            Some(loaded) => {
                let digest = shortened(&loaded.digest);
                let provider = loaded.batcher().provider();
                (true, format!("version {version} answers its goldens on {provider} ({digest})"))
            }
            None => (false, format!("version {version}: {}", entry.described().1)),
        };
        summary(name, &model.intended, model.versions.iter().map(version))
    });
    let examined = examined.collect();
    catalog.stop();
    Ok(examined)
}

/// Without a library only the files can be looked at.
fn read_models(config: &Config) -> Result<Vec<Examined>, String> {
    let directory = &config.models.directory;
    let scanned = catalog::scan(directory).map_err(|error| error.to_string())?;
    let examined = scanned.iter().map(|Scanned { name, champion, versions }| {
        let version = |version: &ModelVersion| {
            let folder = directory.join(name.as_str()).join(version.to_string());
            match Bundle::open(&folder, name, *version) {
                Ok(bundle) => {
                    let digest = shortened(&bundle.digest);
                    (true, format!("version {version} has intact files and was not run ({digest})"))
                }
                Err(error) => (false, format!("version {version}: {error}")),
            }
        };
        summary(name, champion, versions.keys().map(version))
    });
    Ok(examined.collect())
}

fn summary(
    name: &ModelName,
    champion: &Result<ModelVersion, Arc<str>>,
    versions: impl Iterator<Item = (bool, String)>,
) -> Examined {
    let champion = match champion {
        Ok(version) => (true, format!("champion {version}")),
        Err(problem) => (false, problem.to_string()),
    };
    let (well, found): (Vec<bool>, Vec<String>) = std::iter::once(champion).chain(versions).unzip();
    (name.clone(), well.into_iter().all(|ok| ok), found.join("; "))
}

fn shortened(digest: &Digest) -> String {
    digest.to_string().chars().take(12).collect()
}

fn cpu(config: &Config) -> String {
    let quota = CpuQuota::detect();
    let group = match (quota.cgroup, &quota.cgroup_file) {
        (Some(cores), Some(file)) => format!("{cores} by {}", file.display()),
        _ => "no limit by a control group".to_owned(),
    };
    let planned = quota.cores_or(config.engine.cores);
    format!("{planned} cores to plan with ({} by affinity, {group})", quota.affinity)
}
