//! `hilum audit replay`: the images of a folder by the versions that answered them, against what the record says.
//!
//! This file must never write a record: nobody is served.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::audit_show::rows;
use super::audit_wanted::Wanted;
use super::flags::print_json;
use super::{Output, exit, failed};
use crate::audit::{InputKind, KeyRing, Record, Row, Status};
use crate::config::Config;
use crate::domain::{Digest, ModelName, ModelVersion, VersionSelector};
use crate::pipeline::ClassifyOptions;
use crate::predict::{ImageAnswers, ImageOutcome, ImageQuestion, answer_images};

/// Answer the images of a folder again, each by the version that the record names, and compare scores and
/// decisions. Exit code 3: something differs, or a version is not there any more.
#[derive(Debug, clap::Args)]
pub(super) struct Replay {
    /// The folder with the images; a row is found by its file's keyed hash
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// How far a score may be from the recorded one
    #[arg(long, value_name = "N", default_value_t = 1e-4, value_parser = tolerance)]
    tolerance: f64,
    /// Folder with <name>/<version>/ [models.directory]
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// ONNX Runtime's shared library [engine.onnxruntime]
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    #[command(flatten)]
    wanted: Wanted,
    /// How to print the comparison
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

fn tolerance(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "a number from 0 on is expected".to_owned())
}

/// A row whose answer is another today, or that cannot be answered.
#[derive(Debug, Serialize)]
struct Difference {
    audit_id: String,
    row: u32,
    model: String,
    version: String,
    file: PathBuf,
    problem: String,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    /// Rows about images.
    rows: usize,
    /// Rows whose file is in the folder.
    found: usize,
    /// Rows whose version is not there; they are among the differences.
    unanswered: usize,
    /// The largest distance of a score from the recorded one.
    largest: f64,
    differences: Vec<Difference>,
}

fn difference(
    model: &ModelName,
    version: ModelVersion,
    (record, file): (Record, PathBuf),
    problem: String,
) -> Difference {
    let (audit_id, row) = (record.audit_id.to_string(), record.row);
    let (model, version) = (model.to_string(), version.to_string());
    Difference { audit_id, row, model, version, file, problem }
}

impl Replay {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        let mut source = self.wanted.source()?;
        if let Some(models) = &self.models {
            source.config.models.directory.clone_from(models);
        }
        source.config.engine.onnxruntime =
            self.onnxruntime.clone().or(source.config.engine.onnxruntime);
        let ring = KeyRing::read(&source.keys).map_err(|error| failed(exit::FAILED, &error))?;
        let files = self.files(&ring)?;
        let mut report = Report::default();
        let mut asked: BTreeMap<(String, ModelVersion), Vec<(Record, PathBuf)>> = BTreeMap::new();
        let mut left = self.wanted.limit;
        let mut each = |row: Row| {
            let record = row.record;
            let is_image = !matches!(record.input_kind, None | Some(InputKind::Tensor));
            if record.status != Status::Ok || !is_image || left == 0 {
                return if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            }
            left -= 1;
            report.rows += 1;
            let file = record.input_hmac.and_then(|hash| files.get(&hash));
            if let (Some(file), Some(version)) = (file, record.version) {
                report.found += 1;
                let place = asked.entry((record.model.clone(), version)).or_default();
                place.push((record, file.clone()));
            }
            ControlFlow::Continue(())
        };
        rows(&source, self.wanted.spool_only, &mut each)?;
        for ((model, version), rows) in asked {
            self.compare(&source.config, &model, version, rows, &mut report)?;
        }
        self.tell(&report)?;
        let same = report.differences.is_empty() && report.found > 0;
        Ok(ExitCode::from(if same { exit::DONE } else { exit::CHECK }))
    }

    /// The files of the folder by each of their hashes.
    fn files(&self, ring: &KeyRing) -> Result<HashMap<Digest, PathBuf>, ExitCode> {
        let mut files = HashMap::new();
        for entry in walkdir::WalkDir::new(&self.folder).sort_by_file_name() {
            let entry = entry.map_err(|error| failed(exit::FAILED, &error))?;
            if !entry.file_type().is_file() {
                continue;
            }
            let bytes = std::fs::read(entry.path()).map_err(|error| {
                failed(exit::FAILED, &format!("{}: {error}", entry.path().display()))
            })?;
            for key in ring.all() {
                files.insert(key.file(&bytes), entry.path().to_owned());
            }
        }
        Ok(files)
    }

    fn compare(
        &self,
        config: &Config,
        model: &str,
        version: ModelVersion,
        rows: Vec<(Record, PathBuf)>,
        report: &mut Report,
    ) -> Result<(), ExitCode> {
        let model: ModelName = model.parse().map_err(|error| failed(exit::FAILED, &error))?;
        let folder = &config.models.directory;
        if !folder.join(model.as_str()).join(version.to_string()).is_dir() {
            let problem = format!("{} has no such version", folder.display());
            let lost =
                rows.into_iter().map(|row| difference(&model, version, row, problem.clone()));
            report.unanswered += lost.len();
            report.differences.extend(lost);
            return Ok(());
        }
        let mut paths: Vec<PathBuf> = rows.iter().map(|(_, path)| path.clone()).collect();
        paths.sort();
        paths.dedup();
        let question = ImageQuestion {
            model: model.clone(),
            version: VersionSelector::Exact(version),
            paths,
            options: ClassifyOptions {
                include_rejected_scores: true,
                ..ClassifyOptions::default()
            },
            overlays: None,
        };
        let answers = answer_images(config.clone(), &question)
            .map_err(|error| failed(exit::FAILED, &error))?;
        let by_file: HashMap<&PathBuf, &ImageOutcome> =
            answers.images.iter().map(|image| (&image.file, &image.outcome)).collect();
        for (record, file) in rows {
            let outcome = by_file.get(&file);
            let problem = outcome.map_or_else(
                || Some("it was not answered".to_owned()),
                |outcome| self.differs(&record, outcome, &answers, &mut report.largest),
            );
            if let Some(problem) = problem {
                report.differences.push(difference(&model, version, (record, file), problem));
            }
        }
        Ok(())
    }

    /// What of an answer is not as it was recorded.
    fn differs(
        &self,
        record: &Record,
        outcome: &ImageOutcome,
        answers: &ImageAnswers,
        largest: &mut f64,
    ) -> Option<String> {
        if record.bundle_sha256.is_some_and(|bundle| bundle != answers.bundle_sha256) {
            return Some(format!("the bundle is another: {} today", answers.bundle_sha256));
        }
        let (decision, scores) = match outcome {
            ImageOutcome::Failed { error } => return Some(error.clone()),
            ImageOutcome::Answered { decision, scores, .. } => (*decision, scores),
        };
        let recorded = record.scores.iter().zip(&record.calibrated);
        let mut distance = 0.0_f64;
        for ((raw, calibrated), score) in recorded.zip(scores) {
            let raw = (f64::from(*raw) - score.raw).abs();
            let calibrated = (f64::from(*calibrated) - score.calibrated).abs();
            // NaN is as far as can be.
            for one in [raw, calibrated] {
                distance = if one.is_nan() { f64::INFINITY } else { distance.max(one) };
            }
        }
        *largest = largest.max(distance);
        if scores.len() != record.scores.len() {
            return Some(format!("{} scores, {} were recorded", scores.len(), record.scores.len()));
        }
        if distance > self.tolerance {
            return Some(format!("a score is {distance:.2e} from the recorded one"));
        }
        let was = record.decision.map(|decision| decision.name());
        was.filter(|was| *was != decision).map(|was| format!("{decision}, it was {was}"))
    }

    fn tell(&self, report: &Report) -> Result<(), ExitCode> {
        if self.output == Output::Json {
            return print_json(report);
        }
        for it in &report.differences {
            let file = it.file.display();
            println!(
                "DIFFERS {} {}: {}/{} {file}: {}",
                it.audit_id, it.row, it.model, it.version, it.problem
            );
        }
        println!(
            "{} rows about images, {} of them in the folder; the largest distance of a score is {:.2e}; {} differ, {} \
             of them because their version is not there",
            report.rows,
            report.found,
            report.largest,
            report.differences.len(),
            report.unanswered
        );
        Ok(())
    }
}
