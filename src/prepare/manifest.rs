//! The lists that training reads: `manifest.jsonl`, `folds.json`, `report.json`.
//!
//! One JSON object a line and image, sorted by image. This file must never write what is not a
//! keyed hash, a digest, a label or a number.

use serde::{Deserialize, Serialize};

use super::image::Processed;
use super::journal::replace;
use super::{PrepareError, PrepareOptions, PrepareReport, folds};
use crate::domain::Digest;
use crate::imaging::dicom::View;
use crate::imaging::{Format, Geometry, ImageStatistics, WarningCode};

pub(super) const MANIFEST: &str = "manifest.jsonl";

/// A prepared image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The file, relative to the manifest.
    pub image: String,
    /// The SHA-256 of that file.
    pub sha256: Digest,
    /// The class.
    pub label: String,
    /// Keyed hash of the patient.
    pub patient: String,
    /// The fold in which the image is for validation, from 0.
    pub fold: usize,
    /// SHA-256 of the source file.
    pub source: Digest,
    /// The source's format.
    pub format: Format,
    /// Keyed hash of the study, where the source named one.
    pub study: Option<String>,
    /// The view, where the source named one.
    pub view: Option<View>,
    /// Statistics of the source as it is shown, for the baseline of drift.
    pub statistics: ImageStatistics,
    /// Which part of the source the image shows.
    pub geometry: Geometry,
    /// What was warned of.
    pub warnings: Vec<WarningCode>,
    /// Share of the source that looks like text, 0 to 1.
    pub text_likeness: f64,
    /// Whether a person had better look for burned-in text.
    pub review: bool,
    /// The patient by the DICOM file's own word, hashed; it stands in where no list has one.
    pub(super) own_patient: Option<String>,
}

impl Row {
    pub(super) fn new(
        processed: Processed,
        label: String,
        patient: String,
        view: Option<View>,
    ) -> Self {
        Self {
            image: processed.image,
            label,
            patient,
            fold: 0,
            sha256: processed.sha256,
            source: processed.source,
            format: processed.format,
            study: processed.study,
            view,
            statistics: processed.statistics,
            geometry: processed.geometry,
            warnings: processed.warnings,
            text_likeness: processed.text_likeness,
            review: processed.review,
            own_patient: processed.patient,
        }
    }

    pub(super) fn into_processed(self) -> Processed {
        Processed {
            image: self.image,
            sha256: self.sha256,
            source: self.source,
            format: self.format,
            geometry: self.geometry,
            statistics: self.statistics,
            warnings: self.warnings,
            text_likeness: self.text_likeness,
            review: self.review,
            patient: self.own_patient,
            study: self.study,
            view: self.view,
        }
    }
}

/// The rows with their folds, sorted by image.
pub(super) fn with_folds(mut rows: Vec<Row>, folds: usize) -> Vec<Row> {
    rows.sort_by(|a, b| a.image.cmp(&b.image));
    let pairs: Vec<(&str, &str)> =
        rows.iter().map(|row| (row.patient.as_str(), row.label.as_str())).collect();
    let assigned = folds::assign(&pairs, folds);
    for (row, fold) in rows.iter_mut().zip(assigned) {
        row.fold = fold;
    }
    rows
}

/// Writes the lists; each appears whole or not at all, the manifest last.
pub(super) fn write(
    options: &PrepareOptions,
    rows: &[Row],
    report: &PrepareReport,
) -> Result<(), PrepareError> {
    let json = |what, value: Result<Vec<u8>, serde_json::Error>| {
        value.map_err(|error| PrepareError::destination(what)(error.into()))
    };
    let place =
        |name: &'static str, bytes: &[u8]| replace(&options.destination.join(name), bytes, name);
    let folds = folds::lists(rows, options.folds, options.balance);
    place("folds.json", &json("folds.json", serde_json::to_vec_pretty(&folds))?)?;
    place("report.json", &json("report.json", serde_json::to_vec_pretty(report))?)?;
    let mut lines = Vec::new();
    for row in rows {
        lines.extend(json(MANIFEST, serde_json::to_vec(row))?);
        lines.push(b'\n');
    }
    place(MANIFEST, &lines)
}
