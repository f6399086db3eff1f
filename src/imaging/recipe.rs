//! The recipe of a bundle: the ordered steps from a file to a tensor.
//!
//! `bundle.toml` holds it as `[[preprocess.step]]`, each with `op` and that step's parameters.
//! This file must never run a step: it says what is asked for and refuses what makes no sense.

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::tagged;

/// One step of a recipe. The order of the steps is the order of the file.
// Only as a part of `Recipe` is it read and written as the table that the schema shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(tag = "op")]
pub enum Step {
    /// Decode the file to grey or RGB samples.
    Decode {
        /// The samples that the network takes.
        color: Color,
    },
    /// Map a grey DICOM image's values to what is shown (PS3.3 C.11.2); other images pass
    /// unchanged. In this order: `ct_lung` on a CT in Hounsfield units, the file's VOI LUT, the
    /// file's window, `window`, `percentiles`; with `prefer = "recipe"` `window` goes before the
    /// file's.
    Voi {
        /// Whose window goes first where both have one.
        #[serde(default, skip_serializing_if = "is_default")]
        prefer: VoiSource,
        /// The window of an image whose file has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<Window>,
        /// Show a CT in Hounsfield units by the lung window (centre −600, width 1500), whatever
        /// its file says. No other image is touched by it.
        #[serde(default, skip_serializing_if = "is_default")]
        ct_lung: bool,
        /// The percentiles to stretch where there is no window at all; 1 and 99 if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        percentiles: Option<Percentiles>,
    },
    /// Keep a part of the image.
    Crop {
        /// Which part.
        #[serde(serialize_with = "write_region", deserialize_with = "read_region")]
        region: CropRegion,
    },
    /// Resize to `width` × `height` pixels; the aspect ratio is not kept.
    Resize {
        /// Pixels across, 1 to 4096.
        width: u32,
        /// Pixels down, 1 to 4096.
        height: u32,
        /// The filter.
        filter: ResizeFilter,
    },
    /// Clip to two percentiles of the image's own samples and stretch them to the full range.
    ClipPercentile {
        /// Lower percentile, 0 to 100.
        low: f32,
        /// Upper percentile, above `low`, at most 100.
        high: f32,
    },
    /// Round to 8 bits, 0 to 255. `hilum prepare` writes the image as it is after this step.
    #[serde(rename = "quantise8")]
    Quantise8 {},
    /// Multiply by `factor` (1/255 = 0.00392156862745098).
    Scale {
        /// Finite, not 0.
        factor: f64,
    },
    /// Subtract `mean` and divide by `std`, each one value or one a channel.
    Normalise {
        /// Means, on the scale of the samples at this step.
        mean: Vec<f32>,
        /// Standard deviations, above 0.
        std: Vec<f32>,
    },
    /// Repeat a grey image over `channels` equal channels.
    Replicate {
        /// Channels, 2 to 4.
        channels: u8,
    },
}

impl Step {
    /// The step's name in a recipe.
    pub const fn op(&self) -> &'static str {
        match self {
            Step::Decode { .. } => "decode",
            Step::Voi { .. } => "voi",
            Step::Crop { .. } => "crop",
            Step::Resize { .. } => "resize",
            Step::ClipPercentile { .. } => "clip_percentile",
            Step::Quantise8 {} => "quantise8",
            Step::Scale { .. } => "scale",
            Step::Normalise { .. } => "normalise",
            Step::Replicate { .. } => "replicate",
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Whose window is taken first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VoiSource {
    /// The file's, as its makers meant it to be seen.
    #[default]
    File,
    /// The recipe's.
    Recipe,
}

/// A window of values that is stretched to the shown range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Window Center (0028,1050), in units after the Modality LUT.
    pub center: f64,
    /// Window Width (0028,1051): at least 1 for `linear`, else above 0.
    pub width: f64,
    /// VOI LUT Function (0028,1056).
    #[serde(default)]
    pub function: WindowFunction,
}

/// The function of a window (PS3.3 C.11.2.1.2 and C.11.2.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WindowFunction {
    /// The default: linear, with the half-pixel offsets of the standard.
    #[default]
    Linear,
    /// Linear between centre − width/2 and centre + width/2.
    LinearExact,
    /// A logistic curve.
    Sigmoid,
}

impl Window {
    /// Whether the standard gives this window a meaning.
    pub fn is_valid(&self) -> bool {
        let least = if self.function == WindowFunction::Linear {
            self.width >= 1.0
        } else {
            self.width > 0.0
        };
        self.center.is_finite() && self.width.is_finite() && least
    }
}

/// Two percentiles of an image's own values, pixel padding left out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Percentiles {
    /// Lower percentile, 0 to 100.
    pub low: f32,
    /// Upper percentile, above `low`, at most 100.
    pub high: f32,
}

/// The samples of a decoded image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Color {
    /// One channel.
    Gray,
    /// Three channels.
    Rgb,
}

/// The filter of a resize.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResizeFilter {
    /// Bilinear with antialiasing, as Pillow's `Image.resize(…, BILINEAR)`.
    BilinearAntialias,
}

/// The part of an image that a crop keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(tag = "kind")]
pub enum CropRegion {
    /// The largest centred square.
    CenterSquare {},
    /// The box of both lungs, found by the segmentation model of another bundle.
    LungField {
        /// `name/version` of that bundle.
        bundle: String,
        /// What to do when the lungs are not found.
        fallback: LungFallback,
    },
}

/// What a lung-field crop does when the lungs are not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LungFallback {
    /// Mirror the lung that was found; where none was, keep the whole image.
    Mirror,
    /// Keep the whole image.
    Whole,
}

/// A recipe: steps in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The steps.
    #[serde(rename = "step", serialize_with = "write_steps", deserialize_with = "read_steps")]
    pub steps: Vec<Step>,
}

fn read_steps<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Step>, D::Error> {
    let tables = Vec::<toml::Value>::deserialize(deserializer)?;
    let read = |(at, table)| {
        let toml::Value::Table(table) = table else {
            return Err(format!("step {}: a table with op = \"…\" is expected", at + 1));
        };
        let op = table.get("op").and_then(toml::Value::as_str).map_or_else(String::new, named);
        tagged::read("op", table).map_err(|problem| format!("step {}{op}: {problem}", at + 1))
    };
    tables.into_iter().enumerate().map(read).collect::<Result<_, _>>().map_err(D::Error::custom)
}

/// A step's name as it stands behind its number.
fn named(op: &str) -> String {
    if op.is_empty() { String::new() } else { format!(" (op = \"{op}\")") }
}

fn write_steps<S: Serializer>(steps: &[Step], serializer: S) -> Result<S::Ok, S::Error> {
    let tables: Result<Vec<_>, _> = steps.iter().map(|step| tagged::flat("op", step)).collect();
    tables.map_err(S::Error::custom)?.serialize(serializer)
}

fn read_region<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CropRegion, D::Error> {
    tagged::deserialize("kind", deserializer)
}

fn write_region<S: Serializer>(region: &CropRegion, serializer: S) -> Result<S::Ok, S::Error> {
    tagged::serialize("kind", region, serializer)
}

/// A recipe that makes no sense.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("step {}{}: {problem}", index + 1, named(op))]
pub struct RecipeError {
    /// The step's place, from 0; the message counts from 1.
    pub index: usize,
    /// The step's name; empty in a recipe without steps.
    pub op: &'static str,
    /// What is wrong and what is expected.
    pub problem: String,
}

impl Recipe {
    /// Checks each step's parameters and the order of the steps.
    ///
    /// # Errors
    /// The first [`RecipeError`].
    pub fn check(&self) -> Result<(), RecipeError> {
        let fail = |index: usize, problem: &str| {
            let op = self.steps.get(index).map_or("", Step::op);
            Err(RecipeError { index, op, problem: problem.to_owned() })
        };
        if !matches!(self.steps.first(), Some(Step::Decode { .. })) {
            return fail(0, "a recipe begins with op = \"decode\"");
        }
        let mut channels = 1_usize;
        for (index, step) in self.steps.iter().enumerate() {
            if let Err(problem) = check_step(step, index, &mut channels) {
                return fail(index, problem);
            }
        }
        Ok(())
    }
}

/// Checks one step on an image of `channels` channels and says how many it leaves.
fn check_step(step: &Step, index: usize, channels: &mut usize) -> Result<(), &'static str> {
    let require = |holds: bool, problem| if holds { Ok(()) } else { Err(problem) };
    match step {
        Step::Decode { color } => {
            *channels = if *color == Color::Rgb { 3 } else { 1 };
            require(index == 0, "op = \"decode\" stands only at the beginning")
        }
        Step::Voi { window, percentiles, .. } => {
            require(index == 1, "op = \"voi\" stands right after \"decode\"")?;
            require(
                window.is_none_or(|window| window.is_valid()),
                "window.center is finite and window.width at least 1 (above 0 if not linear)",
            )?;
            require(
                percentiles.is_none_or(|p| p.low >= 0.0 && p.low < p.high && p.high <= 100.0),
                "0 <= percentiles.low < percentiles.high <= 100 must hold",
            )
        }
        Step::Quantise8 {} => Ok(()),
        Step::Crop { region } => match region {
            CropRegion::CenterSquare {} => Ok(()),
            CropRegion::LungField { bundle, .. } => require(
                bundle.split_once('/').is_some_and(|(name, version)| {
                    name.parse::<crate::domain::ModelName>().is_ok()
                        && version.parse::<crate::domain::ModelVersion>().is_ok()
                }),
                "region.bundle is written as \"name/version\"",
            ),
        },
        Step::Resize { width, height, .. } => require(
            (1..=4096).contains(width) && (1..=4096).contains(height),
            "width and height lie between 1 and 4096",
        ),
        Step::ClipPercentile { low, high } => {
            require(*low >= 0.0 && low < high && *high <= 100.0, "0 <= low < high <= 100 must hold")
        }
        Step::Scale { factor } => {
            require(factor.is_finite() && *factor != 0.0, "factor is a finite number other than 0")
        }
        Step::Normalise { mean, std } => {
            let fits = |n: usize| n == 1 || n == *channels;
            require(
                fits(mean.len()) && fits(std.len()),
                "mean and std have one value, or one a channel",
            )?;
            require(
                mean.iter().all(|m| m.is_finite()) && std.iter().all(|s| s.is_finite() && *s > 0.0),
                "mean is finite, std is finite and above 0",
            )
        }
        Step::Replicate { channels: n } => {
            require(*channels == 1, "only an image of one channel can be replicated")?;
            require((2..=4).contains(n), "channels lies between 2 and 4")?;
            *channels = usize::from(*n);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
