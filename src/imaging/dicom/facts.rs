//! What a DICOM file says about itself that decides whether an image is fit for a model.
//!
//! Identifiers are read for one purpose, to be hashed by the caller, and stay out of `Debug`.
//! This file must never put a value of the file into a warning's text.

use std::fmt;

use dicom_core::Tag;
use dicom_core::dictionary::UidDictionary;
use dicom_dictionary_std::StandardSopClassDictionary;
use dicom_dictionary_std::tags;
use dicom_object::mem::InMemDicomObject;
use serde::{Deserialize, Serialize};

use super::super::decode::Expectation;
use super::super::{DecodeError, DecodeLimits, Warning, WarningCode};
use super::attributes::text;
use super::codes;
use super::file::File;

/// View Position (0018,5101), as far as it decides whether a chest image is frontal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum View {
    /// Posterior to anterior.
    Pa,
    /// Anterior to posterior.
    Ap,
    /// From a side.
    Lateral,
    /// Anything else that the file names.
    Other,
}

impl View {
    /// The view that a term of a file or a list means.
    pub fn of(term: &str) -> Self {
        match term.trim().to_ascii_uppercase().as_str() {
            "PA" => View::Pa,
            "AP" | "AP SUPINE" | "AP ERECT" | "ANTERO-POSTERIOR" => View::Ap,
            "LL" | "RL" | "LAT" | "LATERAL" | "RLAT" | "LLAT" | "LEFT LATERAL"
            | "RIGHT LATERAL" => View::Lateral,
            "POSTERO-ANTERIOR" => View::Pa,
            _ => View::Other,
        }
    }
}

/// What a file says about its image.
#[derive(Clone, PartialEq)]
pub struct Facts {
    /// The view, if the file names one.
    pub view: Option<View>,
    /// Modality (0008,0060), such as `DX`.
    pub modality: Option<String>,
    /// Whether the body part that the file names, if any, is the chest.
    pub chest: Option<bool>,
    /// The patient's age in years.
    pub age_years: Option<f32>,
    /// Whether Burned In Annotation (0028,0301) says that text is part of the pixels.
    pub burned_in: bool,
    /// Patient ID (0010,0020): to be hashed by a key and forgotten.
    pub patient_id: Option<String>,
    /// Study Instance UID (0020,000D): to be hashed by a key and forgotten.
    pub study_uid: Option<String>,
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts")
            .field("view", &self.view)
            .field("modality", &self.modality)
            .field("chest", &self.chest)
            .field("burned_in", &self.burned_in)
            .finish_non_exhaustive()
    }
}

/// Reads the facts of a DICOM file, decoding no pixel.
///
/// # Errors
/// [`DecodeError`] if the file's data elements cannot be read.
pub fn facts(bytes: &[u8], limits: &DecodeLimits) -> Result<Facts, DecodeError> {
    Ok(Facts::of(&File::read(bytes, limits)?))
}

impl Facts {
    pub(super) fn of(file: &File<'_>) -> Self {
        let object = &file.object;
        let text = |tag: Tag| text(object, tag);
        Self {
            view: view(object),
            modality: text(tags::MODALITY),
            chest: chest(object),
            age_years: text(tags::PATIENT_AGE)
                .and_then(|age| years(&age))
                .or_else(|| years_between(object, tags::PATIENT_BIRTH_DATE, tags::STUDY_DATE)),
            burned_in: text(tags::BURNED_IN_ANNOTATION).as_deref() == Some("YES"),
            patient_id: text(tags::PATIENT_ID),
            study_uid: text(tags::STUDY_INSTANCE_UID),
        }
    }

    pub(super) fn warnings(&self, expects: &Expectation) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |holds: bool, code, text: &str| {
            if holds {
                warnings.push(Warning::new(code, text));
            }
        };
        warn(
            expects.frontal_chest && self.view == Some(View::Lateral),
            WarningCode::LateralView,
            "the file says that the image is a lateral view; the model expects a frontal one",
        );
        let other_modality = self.modality.as_deref().is_some_and(|m| !RADIOGRAPHY.contains(&m));
        warn(
            expects.frontal_chest && (self.chest == Some(false) || other_modality),
            WarningCode::NotChest,
            "the file says that the image is no chest radiograph",
        );
        let outside = |years: f32| {
            expects.age_years.as_ref().is_some_and(|expected| !expected.contains(&years))
        };
        warn(
            self.age_years.is_some_and(outside),
            WarningCode::AgeOutOfRange,
            "the patient's age lies outside the ages that the model was trained on",
        );
        warn(
            self.burned_in,
            WarningCode::BurnedInAnnotation,
            "the file says that identifying text is part of the image",
        );
        warnings
    }
}

/// Modalities of projection radiography (PS3.3 C.7.3.1.1.1), scanned film and captures included.
const RADIOGRAPHY: [&str; 6] = ["CR", "DX", "RG", "RF", "SC", "OT"];

fn view(object: &InMemDicomObject) -> Option<View> {
    let position = text(object, tags::VIEW_POSITION).map(|position| View::of(&position));
    // A position that means nothing here may stand beside a code that does.
    match (position, codes::view(object)) {
        (None | Some(View::Other), Some(coded)) => return Some(coded),
        (Some(position), _) => return Some(position),
        (None, None) => {}
    }
    // Rows that run from front to back show the body from the side.
    let orientation = text(object, tags::PATIENT_ORIENTATION)?;
    matches!(orientation.chars().next()?, 'A' | 'P').then_some(View::Lateral)
}

/// By Body Part Examined (0018,0015) and Anatomic Region Sequence (0008,2218): not the chest if
/// either of them says so.
fn chest(object: &InMemDicomObject) -> Option<bool> {
    let part = text(object, tags::BODY_PART_EXAMINED).map(|part| is_chest(&part));
    match (part, codes::is_chest(object, is_chest)) {
        (Some(part), Some(region)) => Some(part && region),
        (part, region) => part.or(region),
    }
}

fn is_chest(part: &str) -> bool {
    let part = part.to_ascii_uppercase();
    ["CHEST", "THORAX", "LUNG", "RIB"].iter().any(|name| part.contains(name))
}

/// Age String (PS3.5 6.2): three digits and D, W, M or Y.
fn years(age: &str) -> Option<f32> {
    let (digits, unit) = age.split_at_checked(age.len().checked_sub(1)?)?;
    let count: f32 = digits.trim().parse::<u16>().ok()?.into();
    match unit {
        "D" => Some(count / 365.25),
        "W" => Some(count * 7.0 / 365.25),
        "M" => Some(count / 12.0),
        "Y" => Some(count),
        _ => None,
    }
}

/// Whole months between two dates, in years; `None` where one is not a date or they are reversed.
fn years_between(object: &InMemDicomObject, from: Tag, to: Tag) -> Option<f32> {
    let date = |tag: Tag| {
        let date = object.get(tag)?.to_date().ok()?;
        let (month, day) = (i32::from(*date.month()?), i32::from(*date.day()?));
        Some((i32::from(*date.year()) * 12 + month, day))
    };
    let ((from, first), (to, last)) = (date(from)?, date(to)?);
    let months = to - from - i32::from(last < first);
    (months >= 0).then(|| months as f32 / 12.0)
}

/// The SOP class's name in PS3.6, if the file names one that is there.
pub(super) fn sop_class(file: &File<'_>) -> Option<&'static str> {
    // A DICOMDIR names its class in the file meta information alone (PS3.10, 8.6).
    let uid = text(&file.object, tags::SOP_CLASS_UID).or_else(|| file.media_sop_class.clone())?;
    StandardSopClassDictionary.by_uid(&uid).map(|entry| entry.name)
}

/// Whether objects of a SOP class hold pixels, by the names that PS3.6 gives to such classes.
pub(super) fn holds_pixels(sop_class: &str) -> bool {
    ["Image Storage", "Segmentation Storage", "Dose Storage", "Map Storage", "Volume Storage"]
        .iter()
        .any(|kind| sop_class.contains(kind))
        && !sop_class.starts_with("Surface")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ages_and_views() {
        assert_eq!(years("003Y"), Some(3.0));
        assert_eq!(years("018M"), Some(1.5));
        assert_eq!(years("14W").map(|y| (y * 100.0).round()), Some(27.0));
        for broken in ["", "Y", "abcY", "12", "é"] {
            assert_eq!(years(broken), None, "{broken}");
        }
        assert_eq!(View::of(" pa "), View::Pa);
        assert_eq!(View::of("LL"), View::Lateral);
        assert_eq!(View::of("OBLIQUE"), View::Other);
        assert!(is_chest("CHEST PORT") && !is_chest("SKULL"));
    }
}
