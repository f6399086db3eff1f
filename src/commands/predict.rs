//! `hilum predict`: tensors through a model, without a server.
//!
//! Flags become a question; the answers go to standard output.
//! This file must never load a model by itself.

use std::path::PathBuf;
use std::process::ExitCode;

use super::flags::{ConfigFlags, print_json};
use super::{Output, exit, failed, named_file};
use crate::config::Overrides;
use crate::domain::{ModelName, VersionSelector};
use crate::predict::{Question, answer};

const EXAMPLES: &str = "Examples:
  hilum predict digits.npy --model mnist
  hilum predict a.npy b.npy --model mnist --version 1 --output json
  hilum predict --model mnist --input image=digits.npy

A .npy file (numpy.save) holds rows in the model's own shape and data type. Several files are
several requests; --input, once for each input, makes one request of them.

Exit codes: 0 done, 1 a file, the model or its answer failed, 2 usage.";

/// Predict tensors from .npy files without a server. Nothing is recorded.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Predict {
    /// Files for a model with one input
    #[arg(value_name = "FILE.npy", required_unless_present = "input", conflicts_with = "input")]
    files: Vec<PathBuf>,
    /// A file for an input of the model; once for each
    #[arg(long, value_name = "NAME=FILE.npy", value_parser = named_file)]
    input: Vec<(String, PathBuf)>,
    /// The model
    #[arg(long, value_name = "NAME")]
    model: ModelName,
    /// The version; without it the champion
    #[arg(long, value_name = "VERSION", default_value = "")]
    version: VersionSelector,
    #[command(flatten)]
    config: ConfigFlags,
    /// How to print the answers
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

impl Predict {
    /// Predicts and prints.
    pub fn run(self) -> ExitCode {
        let config = match self.config.load(Overrides::default()) {
            Ok(config) => config,
            Err(code) => return code,
        };
        let requests = match self.input.is_empty() {
            true => self.files.into_iter().map(|file| vec![(String::new(), file)]).collect(),
            false => vec![self.input],
        };
        let question = Question { model: self.model, version: self.version, requests };
        let answers = match answer(config, &question) {
            Ok(answers) => answers,
            Err(error) => return failed(exit::FAILED, &error),
        };
        match self.output {
            Output::Text => println!("{}", answers.table()),
            Output::Json => {
                if let Err(code) = print_json(&answers) {
                    return code;
                }
            }
        }
        ExitCode::from(exit::DONE)
    }
}
