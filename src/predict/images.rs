//! Answers about image files without a server.
//!
//! Files and folders become a list of files; each is answered by itself, several at a time, and one
//! that cannot be answered leaves the others alone.
//! This file must never write beside the images: overlays go into the folder that is named.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use serde::Serialize;

use super::{Loaded, QuestionError, load};
use crate::app::AppError;
use crate::batcher::Priority;
use crate::config::Config;
use crate::domain::{Digest, ModelName, ModelVersion, VersionSelector};
use crate::imaging::{Format, Warning};
use crate::pipeline::{
    Caller, Classifications, ClassifyOptions, ClassifyRequest, Pipeline, PredictError,
};
use crate::telemetry::{Edge, TraceContext};

/// Bytes of a file in a folder by which it is known as an image.
const SNIFFED: u64 = 512;
/// Ends of names that claim an image, whatever the bytes are.
const CLAIMS: [&str; 5] = ["png", "jpg", "jpeg", "dcm", "dicom"];

/// What to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageQuestion {
    /// The model.
    pub model: ModelName,
    /// Which version of it.
    pub version: VersionSelector,
    /// Files, and folders of which every image is taken.
    pub paths: Vec<PathBuf>,
    /// What is wanted of each.
    pub options: ClassifyOptions,
    /// The folder for overlays, made if it is absent; with it overlays are made.
    pub overlays: Option<PathBuf>,
}

/// All answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImageAnswers {
    /// The model.
    pub model: ModelName,
    /// The version that answered.
    pub version: ModelVersion,
    /// Its bundle's digest.
    pub bundle_sha256: Digest,
    /// The names of its classes.
    pub labels: Vec<String>,
    /// The bundle's notice; empty where it has none.
    pub notice: String,
    /// The threshold of the decisions.
    pub threshold: f64,
    /// Files in folders that are no images.
    pub passed_over: usize,
    /// One for each file, in order.
    pub images: Vec<ImageAnswer>,
}

/// One file and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImageAnswer {
    /// The file.
    pub file: PathBuf,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: ImageOutcome,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ImageOutcome {
    /// An answer.
    Answered {
        /// `positive`, `negative`, `abstain` or `rejected`.
        decision: &'static str,
        /// The label; none where it was rejected.
        label: Option<String>,
        /// Scores in the order of the labels; none where it was rejected.
        scores: Vec<ImageScore>,
        /// What matters about the image.
        warnings: Vec<Warning>,
        /// The overlay's file.
        #[serde(skip_serializing_if = "Option::is_none")]
        overlay: Option<PathBuf>,
    },
    /// None.
    Failed {
        /// Why not.
        error: String,
    },
}

/// The scores of one class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImageScore {
    /// The class.
    pub label: String,
    /// The model's own score.
    pub raw: f64,
    /// The calibrated one.
    pub calibrated: f64,
}

impl ImageAnswers {
    /// Files that have no answer.
    pub fn failed(&self) -> usize {
        let failed = |image: &&ImageAnswer| matches!(image.outcome, ImageOutcome::Failed { .. });
        self.images.iter().filter(failed).count()
    }
}

/// Answers `question` with the models that `config` names. Blocks until the engines are gone again.
///
/// # Errors
/// [`QuestionError`] where no file can be answered: the model, an option, a folder.
pub fn answer_images(
    config: Config,
    question: &ImageQuestion,
) -> Result<ImageAnswers, QuestionError> {
    let limit = config.limits.image.max_bytes;
    let (files, passed_over) = files(&question.paths)?;
    if let Some(folder) = &question.overlays {
        std::fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
    }
    let Loaded { pipeline, version } = load(config, &question.model, question.version)?;
    let mut options = question.options.clone();
    options.overlay |= question.overlays.is_some();
    let manifest = version.manifest.as_ref();
    let mut answers = ImageAnswers {
        model: version.name.clone(),
        version: version.version,
        bundle_sha256: version.digest,
        labels: version.labels.to_vec(),
        notice: manifest.map(|m| m.intended_use.notice.clone()).unwrap_or_default(),
        threshold: manifest.map_or(0.5, |m| m.postprocess.threshold),
        passed_over,
        images: Vec::with_capacity(files.len()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let at_once = 2 * std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut names = BTreeSet::new();
    runtime.map_err(AppError::Runtime)?.block_on(async {
        let mut answered = stream::iter(files)
            .map(|(file, shown)| {
                let (pipeline, options) = (&pipeline, options.clone());
                async move {
                    let answer = one(pipeline, question, options, &file, limit).await;
                    (file, shown, answer)
                }
            })
            .buffered(at_once);
        while let Some((file, shown, answer)) = answered.next().await {
            let outcome = match answer {
                Err(error) if error.is_of_all() => return Err(QuestionError::Images(error)),
                Err(error) => ImageOutcome::Failed { error: error.to_string() },
                Ok(answer) => outcome(answer, question.overlays.as_deref(), &shown, &mut names)?,
            };
            answers.images.push(ImageAnswer { file, outcome });
        }
        Ok(())
    })?;
    pipeline.catalog().stop();
    Ok(answers)
}

async fn one(
    pipeline: &Pipeline,
    question: &ImageQuestion,
    options: ClassifyOptions,
    file: &Path,
    limit: u64,
) -> Result<Classifications, PredictError> {
    // One byte more than is allowed, so that the limit is seen to be passed.
    let image = head(file, limit.saturating_add(1)).map_err(|error| PredictError::Input {
        field: "image".to_owned(),
        problem: format!("the file cannot be read: {error}"),
    })?;
    let request = ClassifyRequest {
        model: question.model.clone(),
        version: question.version,
        images: vec![Bytes::from(image)],
        batch: false,
        options,
        deadline: None,
        timeout: None,
        priority: Priority::default(),
        // Nobody reads the metrics of this process.
        edge: Edge::Grpc,
        trace: TraceContext::default(),
        caller: Caller::default(),
    };
    pipeline.classify(request).await
}

fn outcome(
    answers: Classifications,
    overlays: Option<&Path>,
    shown: &Path,
    names: &mut BTreeSet<String>,
) -> Result<ImageOutcome, QuestionError> {
    let Some(row) = answers.rows.into_iter().next() else {
        return Ok(ImageOutcome::Failed { error: "there is no answer".to_owned() });
    };
    let picture = row.explanation.and_then(|why| why.overlay_png);
    let overlay = match (overlays, picture) {
        (Some(folder), Some(picture)) => {
            let path = folder.join(overlay_name(shown, names));
            std::fs::write(&path, picture).map_err(|error| unwritable(&path, &error))?;
            Some(path)
        }
        _ => None,
    };
    let scores = row.scores.into_iter().map(|score| ImageScore {
        label: score.label,
        raw: score.raw,
        calibrated: score.calibrated,
    });
    Ok(ImageOutcome::Answered {
        decision: row.decision.name(),
        label: row.label,
        scores: scores.collect(),
        warnings: row.warnings,
        overlay,
    })
}

fn unwritable(path: &Path, error: &std::io::Error) -> QuestionError {
    QuestionError::Overlay { path: path.to_owned(), error: error.to_string() }
}

/// A name that no other overlay of this run has: the image's path with its folders joined.
fn overlay_name(shown: &Path, names: &mut BTreeSet<String>) -> String {
    let parts: Vec<String> = shown.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let stem = parts.join("_");
    let mut name = format!("{stem}.png");
    let mut again = 2;
    while !names.insert(name.clone()) {
        name = format!("{stem}-{again}.png");
        again += 1;
    }
    name
}

/// The first `length` bytes of a file.
fn head(file: &Path, length: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file, and its path below the folder that was named.
type Listed = (PathBuf, PathBuf);

/// Whether a file of a folder is to be answered: an image by its bytes, or one that claims to be by its name,
/// so that a copy that broke off is told of and not passed over.
fn is_image(file: &Path) -> bool {
    let end = file.extension().map(|end| end.to_string_lossy().to_ascii_lowercase());
    end.is_some_and(|end| CLAIMS.contains(&end.as_str()))
        || head(file, SNIFFED).is_ok_and(|head| Format::sniff(&head).is_ok())
}

/// The files that `paths` name, those of folders in the order of their names, and how many of these
/// were passed over because they are no images.
fn files(paths: &[PathBuf]) -> Result<(Vec<Listed>, usize), QuestionError> {
    let (mut files, mut passed_over) = (Vec::new(), 0);
    for path in paths {
        if !path.is_dir() {
            let shown = path.file_name().map_or_else(|| path.clone(), PathBuf::from);
            files.push((path.clone(), shown));
            continue;
        }
        let before = files.len();
        for entry in walkdir::WalkDir::new(path).follow_links(true).sort_by_file_name() {
            let entry = match entry {
                Ok(entry) => entry,
                // A dead link, a loop, a folder that may not be read: told in its own row.
                Err(error) if error.path().is_some_and(|at| at != path) => {
                    let at = error.path().unwrap_or(path);
                    files.push((at.to_owned(), at.strip_prefix(path).unwrap_or(at).to_owned()));
                    continue;
                }
                Err(error) => {
                    let error = error.to_string();
                    return Err(QuestionError::Folder { path: path.clone(), error });
                }
            };
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if !entry.file_type().is_file() || hidden {
                continue;
            }
            match is_image(entry.path()) {
                true => {
                    let below = entry.path().strip_prefix(path).unwrap_or(entry.path());
                    files.push((entry.path().to_owned(), below.to_owned()));
                }
                false => passed_over += 1,
            }
        }
        if files.len() == before {
            let error = "there is no image in this folder".to_owned();
            return Err(QuestionError::Folder { path: path.clone(), error });
        }
    }
    Ok((files, passed_over))
}
