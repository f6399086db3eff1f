//! One image: read, decoded, taken through the recipe, encoded.
//!
//! What is known of it afterwards is statistics, geometry, warnings and keyed hashes.
//! This file must never pass an identifier on that is not hashed.

use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::PrepareOptions;
use crate::domain::Digest;
use crate::imaging::dicom::{self, View};
use crate::imaging::preprocess::{self, RunOptions};
use crate::imaging::{
    DecodeLimits, DecodeOptions, Format, Geometry, ImageStatistics, TEXT_LIKENESS_FLAG,
    WarningCode, decode, encode_png, text_likeness,
};

/// What is known of a prepared image, and all that the journal keeps of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Processed {
    /// The prepared file, relative to the destination.
    pub image: String,
    /// The SHA-256 of that file.
    pub sha256: Digest,
    pub source: Digest,
    pub format: Format,
    pub geometry: Geometry,
    pub statistics: ImageStatistics,
    pub warnings: Vec<WarningCode>,
    pub text_likeness: f64,
    pub review: bool,
    /// DICOM only: keyed hashes of patient and study, and the view.
    pub patient: Option<String>,
    pub study: Option<String>,
    pub view: Option<View>,
}

/// The file's bytes, never more than the limit allows and one.
pub(super) fn read(path: &Path, limits: &DecodeLimits) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limits.max_bytes + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The prepared image as a PNG file, and what is known of it.
pub(super) fn process(
    options: &PrepareOptions,
    bytes: &[u8],
    source: Digest,
) -> Result<(Processed, Vec<u8>), String> {
    let expects = options.expects.clone();
    let wanted = DecodeOptions { expects, ..DecodeOptions::default() };
    let decoded = decode(bytes, &options.limits, &wanted).map_err(|error| error.to_string())?;
    let facts = match decoded.format {
        Format::Dicom => Some(dicom::facts(bytes, &options.limits).map_err(|e| e.to_string())?),
        _ => None,
    };
    let prepared = match options.max_side {
        Some(max_side) => preprocess::fit(&options.recipe, &decoded, max_side),
        None => {
            let mask = match &options.segment {
                Some(segment) => Some(segment(&decoded)?),
                None => None,
            };
            let run = RunOptions {
                lung_mask: mask.as_ref(),
                keep_quantised: true,
                ..RunOptions::default()
            };
            preprocess::run(&options.recipe, &decoded, &run)
        }
    };
    let prepared = prepared.map_err(|error| error.to_string())?;
    let raster = prepared.quantised.ok_or("the recipe has no quantise8 step")?;
    let png = encode_png(&raster).map_err(|error| error.to_string())?;
    let text_likeness = match decoded.presentation {
        // Before its window an image may be too flat for any stroke to stand out.
        Some(_) => text_likeness(&preprocess::show(&options.recipe, &decoded).raster),
        None => text_likeness(&decoded.raster),
    };
    let burned_in = facts.as_ref().is_some_and(|facts| facts.burned_in);
    let hashed = |domain: &str, value: &Option<String>| {
        value.as_ref().map(|value| options.key.text(domain, value.as_bytes()))
    };
    let processed = Processed {
        image: format!("images/{}.png", options.key.text("image", source.as_bytes())),
        sha256: Digest::of(&png),
        source,
        format: decoded.format,
        geometry: prepared.geometry,
        statistics: prepared.statistics,
        warnings: prepared.warnings.iter().map(|warning| warning.code).collect(),
        text_likeness,
        review: burned_in || text_likeness >= TEXT_LIKENESS_FLAG,
        patient: facts.as_ref().and_then(|facts| hashed("patient", &facts.patient_id)),
        study: facts.as_ref().and_then(|facts| hashed("study", &facts.study_uid)),
        view: facts.and_then(|facts| facts.view),
    };
    Ok((processed, png))
}
