//! `hilum predict`: images or tensors through a model, without a server.
//!
//! Flags become a question; the answers go to standard output.
//! This file must never load a model by itself.

use std::path::PathBuf;
use std::process::ExitCode;

use super::flags::{ConfigFlags, print_json};
use super::{exit, failed, named_file};
use crate::config::{Config, Overrides};
use crate::domain::{ModelName, VersionSelector};
use crate::pipeline::ClassifyOptions;
use crate::predict::{ImageQuestion, Question, answer, answer_images};

const EXAMPLES: &str = "Examples:
  hilum predict chest.dcm
  hilum predict images/ --model pneumonia --explain overlays/ --output csv > answers.csv
  hilum predict digits.npy --model mnist
  hilum predict a.npy b.npy --model mnist --version 1 --output json
  hilum predict --model mnist --input image=digits.npy

PNG, JPEG and DICOM files are told apart by their bytes; of a folder every image is taken, at any depth.
A .npy file (numpy.save) holds rows in the model's own shape and data type. Several .npy files are
several requests; --input, once for each input, makes one request of them.

Exit codes: 0 done, 1 a file, the model or its answer failed, 2 usage.";

/// Predict images, or tensors from .npy files, without a server. Nothing is recorded.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Predict {
    /// Images and folders of images, or .npy files for a model with one input
    #[arg(value_name = "IMAGE", required_unless_present = "input", conflicts_with = "input")]
    files: Vec<PathBuf>,
    /// A file for an input of the model; once for each
    #[arg(long, value_name = "NAME=FILE.npy", value_parser = named_file)]
    input: Vec<(String, PathBuf)>,
    /// The model
    #[arg(long, value_name = "NAME", default_value = "pneumonia")]
    model: ModelName,
    /// The version; without it the champion
    #[arg(long, value_name = "VERSION", default_value = "")]
    version: VersionSelector,
    /// Paint each image's heat map over it, into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "input")]
    explain: Option<PathBuf>,
    /// The class to explain; without it the positive one, or of several the best
    #[arg(long, value_name = "LABEL", requires = "explain")]
    explain_class: Option<String>,
    /// Pixels of an overlay's longer side [pipeline.overlay_max_side]
    #[arg(long, value_name = "N", requires = "explain")]
    overlay_max_side: Option<u32>,
    /// Show the scores of rejected images too
    #[arg(long, conflicts_with = "input")]
    include_rejected_scores: bool,
    #[command(flatten)]
    config: ConfigFlags,
    /// How to print the answers
    #[arg(long, value_enum, default_value = "text")]
    output: Form,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For people.
    Text,
    /// One JSON value.
    Json,
    /// Comma-separated values, for images.
    Csv,
}

impl Predict {
    /// Predicts and prints.
    pub fn run(mut self) -> ExitCode {
        let is_npy = |file: &PathBuf| file.extension().is_some_and(|end| end == "npy");
        let tensors = self.files.iter().filter(|file| is_npy(file)).count();
        let images = tensors == 0 && self.input.is_empty();
        if tensors > 0 && tensors < self.files.len() {
            return failed(exit::USAGE, &"images and .npy files do not go into one call");
        }
        let explains = self.explain.is_some() || self.include_rejected_scores;
        if !images && (explains || self.output == Form::Csv) {
            let problem = "--explain, --include-rejected-scores and --output csv are for images";
            return failed(exit::USAGE, &problem);
        }
        let flags = std::mem::take(&mut self.config);
        let config = match flags.load(Overrides::default()) {
            Ok(config) => config,
            Err(code) => return code,
        };
        let printed = if images { self.of_images(config) } else { self.of_tensors(config) };
        printed.unwrap_or_else(|code| code)
    }

    fn of_images(self, config: Config) -> Result<ExitCode, ExitCode> {
        let options = ClassifyOptions {
            class: self.explain_class,
            overlay: self.explain.is_some(),
            overlay_max_side: self.overlay_max_side,
            include_rejected_scores: self.include_rejected_scores,
            ..ClassifyOptions::default()
        };
        let question = ImageQuestion {
            model: self.model,
            version: self.version,
            paths: self.files,
            options,
            overlays: self.explain,
        };
        let answers =
            answer_images(config, &question).map_err(|error| failed(exit::FAILED, &error))?;
        match self.output {
            Form::Text => println!("{}", answers.table()),
            Form::Json => print_json(&answers)?,
            Form::Csv => {
                print!("{}", answers.csv().map_err(|error| failed(exit::FAILED, &error))?);
            }
        }
        let failures = answers.failed();
        if failures > 0 {
            let count = answers.images.len();
            return Err(failed(
                exit::FAILED,
                &format!("{failures} of {count} files have no answer"),
            ));
        }
        Ok(ExitCode::from(exit::DONE))
    }

    fn of_tensors(self, config: Config) -> Result<ExitCode, ExitCode> {
        let requests = match self.input.is_empty() {
            true => self.files.into_iter().map(|file| vec![(String::new(), file)]).collect(),
            false => vec![self.input],
        };
        let question = Question { model: self.model, version: self.version, requests };
        let answers = answer(config, &question).map_err(|error| failed(exit::FAILED, &error))?;
        match self.output {
            Form::Json => print_json(&answers)?,
            Form::Text | Form::Csv => println!("{}", answers.table()),
        }
        Ok(ExitCode::from(exit::DONE))
    }
}
