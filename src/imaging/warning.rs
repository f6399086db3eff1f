//! What matters about an image and does not stop it from being decoded: what its file says, and why
//! a model does not want it.
//!
//! A warning's text must never hold a value of the file that could identify a patient.

use serde::{Deserialize, Serialize};

/// A stable word for each sort of warning.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum WarningCode {
    /// The image was taken from the side.
    LateralView,
    /// The patient's age lies outside the ages that the model was trained on.
    AgeOutOfRange,
    /// The body part is not the chest.
    NotChest,
    /// The file has several frames and none was chosen.
    FirstFrame,
    /// The file says that identifying text is part of the pixels.
    BurnedInAnnotation,
    /// The file does not hold what its header says exactly, and what there is was used.
    DamagedTail,
    /// Transparency was dropped.
    AlphaDropped,
    /// A CMYK image was converted without a colour profile.
    CmykConverted,
    /// Neither the file nor the recipe has a window; percentiles were used.
    NoWindow,
    /// A window of the file makes no sense and was passed over.
    WindowIgnored,
    /// One lung was found; the crop mirrors it.
    LungFieldMirrored,
    /// No lung was found; the whole image was kept.
    LungFieldNotFound,
    /// Too dark for the model.
    TooDark,
    /// Too bright for the model.
    TooBright,
    /// Next to no contrast.
    TooFlat,
    /// Too few edges for the model.
    Blurred,
    /// Too few pixels for the model.
    TooSmall,
    /// Sides out of proportion: cut off or stretched.
    CutOff,
    /// In colour where the model knows grey images.
    Colored,
    /// Another statistic outside the bundle's bounds.
    QualityOutOfRange,
    /// Far from what the model was trained on, by the model's own measure.
    OutOfDistribution,
    /// The model gave no finite score.
    ScoreNotFinite,
}

impl WarningCode {
    /// The code as it is written in answers and records.
    pub const fn name(self) -> &'static str {
        match self {
            WarningCode::LateralView => "lateral_view",
            WarningCode::AgeOutOfRange => "age_out_of_range",
            WarningCode::NotChest => "not_chest",
            WarningCode::FirstFrame => "first_frame",
            WarningCode::BurnedInAnnotation => "burned_in_annotation",
            WarningCode::DamagedTail => "damaged_tail",
            WarningCode::AlphaDropped => "alpha_dropped",
            WarningCode::CmykConverted => "cmyk_converted",
            WarningCode::NoWindow => "no_window",
            WarningCode::WindowIgnored => "window_ignored",
            WarningCode::LungFieldMirrored => "lung_field_mirrored",
            WarningCode::LungFieldNotFound => "lung_field_not_found",
            WarningCode::TooDark => "too_dark",
            WarningCode::TooBright => "too_bright",
            WarningCode::TooFlat => "too_flat",
            WarningCode::Blurred => "blurred",
            WarningCode::TooSmall => "too_small",
            WarningCode::CutOff => "cut_off",
            WarningCode::Colored => "colored",
            WarningCode::QualityOutOfRange => "quality_out_of_range",
            WarningCode::OutOfDistribution => "out_of_distribution",
            WarningCode::ScoreNotFinite => "score_not_finite",
        }
    }
}

/// A code and a sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Warning {
    /// What sort of warning.
    pub code: WarningCode,
    /// One sentence.
    pub text: String,
}

impl Warning {
    /// A warning of `code` that says `text`.
    pub fn new(code: WarningCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}
