//! `hilum doctor`: what this machine offers, and what is wrong with it.
//!
//! Each line is a check with its finding; what is wrong says how to mend it.
//! This file must never change anything.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::{Output, exit, failed};
use crate::bundle::Bundle;
use crate::catalog::{self, Scanned};
use crate::config::{self, Config, Overrides};
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
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder with <name>/<version>/ [models.directory]
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// ONNX Runtime's shared library [engine.onnxruntime]
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
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
        let overrides = Overrides {
            models: self.models,
            onnxruntime: self.onnxruntime,
            ..Overrides::default()
        };
        let config = match config::load(self.config.as_deref(), &overrides) {
            Ok(config) => config,
            Err(error) => return failed(exit::USAGE, &error),
        };
        let findings = examine(&config);
        match self.output {
            Output::Text => {
                for finding in &findings {
                    let mark = if finding.ok { "ok " } else { "BAD" };
                    println!("{mark} {:<12} {}", finding.check, finding.found);
                }
            }
            Output::Json => match serde_json::to_string_pretty(&findings) {
                Ok(text) => println!("{text}"),
                Err(error) => return failed(exit::FAILED, &error),
            },
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
    match library::load(config.engine.onnxruntime.as_deref()) {
        Ok(runtime) => {
            let path = runtime.path.display();
            say("onnxruntime", true, format!("{path}: {}", runtime.build_info()));
        }
        Err(error) => say("onnxruntime", false, error.to_string()),
    }
    match catalog::scan(&config.models.directory) {
        Ok(scanned) if scanned.is_empty() => {
            let directory = config.models.directory.display();
            say("models", false, format!("{directory}: no <name>/<version>/ is in it"));
        }
        Ok(scanned) => {
            for model in scanned {
                let (ok, found) = examine_model(config, &model);
                say(&format!("model {}", model.name), ok, found);
            }
        }
        Err(error) => say("models", false, error.to_string()),
    }
    findings
}

fn cpu(config: &Config) -> String {
    let quota = CpuQuota::detect();
    let group = match (quota.cgroup, &quota.cgroup_file) {
        (Some(cores), Some(file)) => format!("{cores} by {}", file.display()),
        _ => "no limit by a control group".to_owned(),
    };
    let planned = if config.engine.cores > 0 { config.engine.cores } else { quota.cores() };
    format!("{planned} cores to plan with ({} by affinity, {group})", quota.affinity)
}

fn examine_model(config: &Config, model: &Scanned) -> (bool, String) {
    let mut ok = true;
    let mut parts = Vec::new();
    match &model.champion {
        Ok(version) => parts.push(format!("champion {version}")),
        Err(problem) => {
            ok = false;
            parts.push(problem.to_string());
        }
    }
    for version in model.versions.keys() {
        let folder = config.models.directory.join(model.name.as_str()).join(version.to_string());
        match Bundle::open(&folder, &model.name, *version) {
            Ok(bundle) => {
                let short: String = bundle.digest.to_string().chars().take(12).collect();
                parts.push(format!("version {version} intact ({short})"));
            }
            Err(error) => {
                ok = false;
                parts.push(format!("version {version}: {error}"));
            }
        }
    }
    (ok, parts.join("; "))
}
