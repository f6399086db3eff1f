//! A folder of images to what training reads.
//!
//! A [`layout`] names the images with their labels and patients, every image goes through the very
//! decoder and recipe that serve ([`crate::imaging`]), and what comes out is a folder of PNG files,
//! a manifest of keyed hashes and folds that no patient straddles. The work is parallel and picks
//! up where it was left. This room must never write or print a file name, an identifier or a
//! private value of the source.

mod error;
mod folds;
mod image;
mod journal;
pub mod layout;
mod manifest;
mod reads;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;

use crate::imaging::dicom::View;
use crate::imaging::lung_field::LungMask;
use crate::imaging::recipe::{Recipe, Step};
use crate::imaging::{DecodeLimits, Decoded, Expectation, PseudonymKey, probe};
use crate::lifecycle::Permits;
pub use error::PrepareError;
pub use folds::{Fold, assign, balanced};
use image::Processed;
use journal::Journal;
use layout::{Found, Item, Layout};
pub use manifest::Row;

/// Finds the lungs of a decoded image for a recipe that crops to them; the text says why not.
pub type Segment = Arc<dyn Fn(&Decoded) -> Result<LungMask, String> + Send + Sync>;

/// What is prepared and how.
#[derive(Clone)]
pub struct PrepareOptions {
    /// The folder that is read.
    pub source: PathBuf,
    /// The folder that is written.
    pub destination: PathBuf,
    /// The recipe; the image after its `quantise8` is written.
    pub recipe: Recipe,
    /// How the source is laid out.
    pub layout: Layout,
    /// The classes. In class folders these folders count and no others; layouts and reads that say 0
    /// and 1 need two: negative, positive.
    pub classes: Vec<String>,
    /// Where the patient stands in a file's name: the first group, or the whole match.
    pub patient: Option<regex::Regex>,
    /// Write the shown image with its longer side at this many pixels at most instead of the image
    /// after `quantise8`: for an archive from which a later recipe is trained.
    pub max_side: Option<u32>,
    /// Keep these views only, and of each study one image, the earliest view in this order.
    pub views: Vec<View>,
    /// Images a class in each training fold.
    pub balance: Option<NonZeroUsize>,
    /// How many folds, at least 2.
    pub folds: usize,
    /// The key of every pseudonym. The same key is needed to resume.
    pub key: PseudonymKey,
    /// Limits on every file.
    pub limits: DecodeLimits,
    /// What the model is meant for; what differs from it is warned of.
    pub expects: Expectation,
    /// Threads.
    pub workers: NonZeroUsize,
    /// The segmentation model, where the recipe crops to the lung field.
    pub segment: Option<Segment>,
}

/// How far the work has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Images that are done, failed ones included.
    pub done: usize,
    /// Images in all.
    pub total: usize,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PrepareReport {
    /// Images in the manifest.
    pub prepared: usize,
    /// Of these, images that an earlier run had made.
    pub resumed: usize,
    /// Images of earlier runs that the manifest no longer names: their files were removed.
    pub removed: usize,
    /// Patients in the manifest.
    pub patients: usize,
    /// Images by label.
    pub labels: BTreeMap<String, usize>,
    /// Images that were left out, by reason.
    pub left_out: BTreeMap<String, usize>,
    /// Files that could not be decoded: the SHA-256 of each and why.
    pub failed: BTreeMap<String, String>,
    /// Images with burned-in text by their file's word or their looks: a person had better look.
    pub review: Vec<String>,
    /// Warnings by code.
    pub warnings: BTreeMap<String, usize>,
}

/// Prepares a folder. Run again after an interruption it goes on where it stopped; run again after
/// it ended it writes the same files.
///
/// `progress` is called from several threads.
///
/// # Errors
/// [`PrepareError`] if the options make no sense together, the source's lists cannot be read, or
/// the destination cannot be written. A single broken image is no error: it is in the report.
pub fn prepare(
    options: &PrepareOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<PrepareReport, PrepareError> {
    check(options)?;
    let Found { items, mut left_out } = layout::find(options)?;
    let items = reads::consolidated(options, items, &mut left_out)?;
    let journal = Journal::open(options)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.workers.get())
        .build()
        .map_err(|error| PrepareError::Threads(error.to_string()))?;
    // Twice the largest frame: what two of the largest files take, or many small ones.
    let budget = Permits::new(mebibytes(options.limits.max_frame_bytes.saturating_mul(2)));
    let total = items.len();
    let done = std::sync::atomic::AtomicUsize::new(0);
    let outcomes: Vec<(Item, Outcome)> = pool.install(|| {
        items
            .into_par_iter()
            .map(|item| {
                let outcome = one(options, &journal, &budget, &item)?;
                let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
                progress(Progress { done, total });
                Ok((item, outcome))
            })
            .collect::<Result<_, PrepareError>>()
    })?;
    finish(options, &journal, outcomes, left_out)
}

/// Whether the folders can be what they are named as, before anything is written.
///
/// # Errors
/// [`PrepareError::Source`] or [`PrepareError::Nested`].
pub fn check_folders(source: &Path, destination: &Path) -> Result<(), PrepareError> {
    if !source.is_dir() {
        return Err(PrepareError::Source);
    }
    if is_nested(source, destination) {
        return Err(PrepareError::Nested);
    }
    Ok(())
}

fn check(options: &PrepareOptions) -> Result<(), PrepareError> {
    options.recipe.check().map_err(PrepareError::Recipe)?;
    check_folders(&options.source, &options.destination)?;
    let distinct: BTreeSet<&String> = options.classes.iter().collect();
    let named = options.classes.len();
    let lists = options.layout != Layout::Folders;
    if named < 2 || distinct.len() < named || (lists && named != 2) {
        return Err(PrepareError::Classes(named));
    }
    let has = |wanted: fn(&Step) -> bool| options.recipe.steps.iter().any(wanted);
    if options.max_side.is_none() && !has(|step| matches!(step, Step::Quantise8 {})) {
        return Err(PrepareError::NotQuantised);
    }
    if options.folds < 2 {
        return Err(PrepareError::Folds(options.folds));
    }
    let crops = has(|step| {
        matches!(step, Step::Crop { region: crate::imaging::recipe::CropRegion::LungField { .. } })
    });
    if crops && options.max_side.is_none() && options.segment.is_none() {
        return Err(PrepareError::NoSegmentation);
    }
    Ok(())
}

/// The unit in which memory for decoding is shared out.
fn mebibytes(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(1 << 20)).unwrap_or(usize::MAX)
}

/// Whether one of two folders lies in the other, links followed; the second may not be there yet.
fn is_nested(source: &Path, destination: &Path) -> bool {
    let existing = destination.ancestors().find_map(|folder| {
        // The empty path is what is left of a relative one: the working folder.
        let found = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        Some((found.canonicalize().ok()?, folder.to_owned()))
    });
    match (source.canonicalize(), existing) {
        (Ok(source), Some((real, named))) => {
            let rest = destination.strip_prefix(&named).unwrap_or(Path::new(""));
            let destination = real.join(rest);
            destination.starts_with(&source) || source.starts_with(&destination)
        }
        _ => false,
    }
}

/// What became of one item.
enum Outcome {
    Made { processed: Box<Processed>, resumed: bool },
    Failed { source: String, why: String },
    LeftOut(&'static str),
}

/// Reads, prepares and writes one image, unless the journal has it.
fn one(
    options: &PrepareOptions,
    journal: &Journal,
    budget: &Permits,
    item: &Item,
) -> Result<Outcome, PrepareError> {
    let Ok(bytes) = image::read(&item.path, &options.limits) else {
        return Ok(Outcome::LeftOut("the file cannot be read"));
    };
    let source = crate::domain::Digest::of(&bytes);
    let unwanted = |processed: &Processed| {
        let view = item.view.or(processed.view);
        !options.views.is_empty() && !view.is_some_and(|view| options.views.contains(&view))
    };
    let left_out = Ok(Outcome::LeftOut("another view, or none named"));
    if let Some(processed) = journal.done(&source) {
        if unwanted(&processed) {
            return left_out;
        }
        return Ok(Outcome::Made { processed: Box::new(processed), resumed: true });
    }
    // A header that cannot be read costs nothing: decoding says what is wrong with it.
    let cost = probe(&bytes, &options.limits).map_or(0, |header| header.estimated_bytes);
    let _share = budget.acquire(mebibytes(cost));
    let (processed, png) = match image::process(options, &bytes, source) {
        Ok(made) => made,
        Err(why) => return Ok(Outcome::Failed { source: source.to_string(), why }),
    };
    if unwanted(&processed) {
        return left_out;
    }
    journal.record(&processed, &png)?;
    Ok(Outcome::Made { processed: Box::new(processed), resumed: false })
}

/// Joins images with labels and patients, drops what may not stay, and writes the lists.
fn finish(
    options: &PrepareOptions,
    journal: &Journal,
    outcomes: Vec<(Item, Outcome)>,
    mut left_out: BTreeMap<String, usize>,
) -> Result<PrepareReport, PrepareError> {
    let mut failed = BTreeMap::new();
    let mut resumed = BTreeSet::new();
    let mut rows: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    let mut leave_out = |reason: &str| *left_out.entry(reason.to_owned()).or_insert(0) += 1;
    for (item, outcome) in outcomes {
        match outcome {
            Outcome::LeftOut(reason) => leave_out(reason),
            Outcome::Failed { source, why } => {
                failed.insert(source, why);
            }
            Outcome::Made { processed, resumed: again } => {
                let patient = item
                    .patient
                    .map(|patient| options.key.text("patient", patient.as_bytes()))
                    .or_else(|| processed.patient.clone());
                let Some(patient) = patient else {
                    leave_out("no patient known: give --patient");
                    continue;
                };
                if again {
                    resumed.insert(processed.image.clone());
                }
                let view = item.view.or(processed.view);
                let mut row = Row::new(*processed, item.label, patient, view);
                if let Some(study) = item.study {
                    row.study = Some(options.key.text("study", study.as_bytes()));
                }
                rows.entry(row.image.clone()).or_default().push(row);
            }
        }
    }
    let mut kept = Vec::new();
    for same in rows.into_values() {
        let first = &same[0];
        if same.iter().any(|row| row.label != first.label || row.patient != first.patient) {
            same.iter().for_each(|_| leave_out("the same image under two labels or patients"));
            continue;
        }
        same.iter().skip(1).for_each(|_| leave_out("the same image again"));
        kept.extend(same.into_iter().take(1));
    }
    let kept = one_a_study(options, kept, &mut leave_out);
    let rows = manifest::with_folds(kept, options.folds);
    if rows.is_empty() {
        let reasons: Vec<String> = left_out
            .iter()
            .map(|(reason, count)| format!("{reason}: {count}"))
            .chain(
                failed.iter().take(1).map(|(_, why)| format!("failed: {}, as {why}", failed.len())),
            )
            .collect();
        return Err(PrepareError::NothingPrepared(reasons.join("; ")));
    }
    let stale = journal.stale(&rows)?;
    let report = PrepareReport {
        prepared: rows.len(),
        resumed: rows.iter().filter(|row| resumed.contains(&row.image)).count(),
        removed: stale.len(),
        patients: rows.iter().map(|row| &row.patient).collect::<BTreeSet<_>>().len(),
        labels: counted(rows.iter().map(|row| row.label.clone())),
        left_out,
        failed,
        review: rows.iter().filter(|row| row.review).map(|row| row.image.clone()).collect(),
        warnings: counted(
            rows.iter().flat_map(|row| row.warnings.iter().map(|code| code.name().to_owned())),
        ),
    };
    manifest::write(options, &rows, &report)?;
    journal.remove(&stale)?;
    journal.close()?;
    Ok(report)
}

fn counted(words: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    words.for_each(|word| *counts.entry(word).or_insert(0) += 1);
    counts
}

/// Where views were asked for, the image of each study whose view was named first.
fn one_a_study(
    options: &PrepareOptions,
    rows: Vec<Row>,
    leave_out: &mut impl FnMut(&str),
) -> Vec<Row> {
    if options.views.is_empty() {
        return rows;
    }
    let rank = |row: &Row| {
        let place = row.view.and_then(|view| options.views.iter().position(|v| *v == view));
        (place.unwrap_or(usize::MAX), row.image.clone())
    };
    let mut best: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for row in &rows {
        if let Some(study) = &row.study {
            let rank = rank(row);
            let entry = best.entry(study.clone()).or_insert_with(|| rank.clone());
            *entry = rank.min(entry.clone());
        }
    }
    rows.into_iter()
        .filter(|row| {
            let wins = row.study.as_ref().is_none_or(|study| best[study].1 == row.image);
            if !wins {
                leave_out("another frontal view of the study");
            }
            wins
        })
        .collect()
}
