//! Runs a recipe: a decoded file to the tensor of one row, exactly as training had it.
//!
//! First the image is shown (window, inversion, colour) and its statistics are taken; then the
//! steps follow in the recipe's order. Serving, `hilum predict` and `hilum prepare` all come by
//! here. This file must never know which model asks.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::color::{replicate, to_color};
use super::decode::Decoded;
use super::geometry::Geometry;
use super::intensity;
use super::lung_field::{LungMask, locate};
use super::raster::{Raster, RasterError};
use super::recipe::{Color, CropRegion, Recipe, Step};
use super::resize::resize;
use super::{ImageStatistics, Warning};
use crate::domain::{ErrorKind, Fault};

/// The order of a tensor's axes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum Layout {
    /// Channels, rows, columns.
    #[default]
    #[serde(rename = "NCHW")]
    Nchw,
    /// Rows, columns, channels.
    #[serde(rename = "NHWC")]
    Nhwc,
}

/// What a run is given beside the recipe and the image.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions<'a> {
    /// The order of the tensor's axes.
    pub layout: Layout,
    /// The lung-field model's answer for this image, where the recipe crops by one.
    pub lung_mask: Option<&'a LungMask>,
    /// Whether to keep the image as it is after `quantise8`.
    pub keep_quantised: bool,
    /// Keep the whole image as it is shown, in 8 bits and with square pixels, its longer side at
    /// most this many pixels: what a heat map is laid over.
    pub backdrop: Option<u32>,
}

/// One row of a model's input, and what is known of how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The samples in `layout`'s order.
    pub tensor: Vec<f32>,
    /// The row's shape without the batch axis: [c, h, w] or [h, w, c].
    pub shape: [usize; 3],
    /// Which part of the input the tensor shows.
    pub geometry: Geometry,
    /// Statistics of the image as it is shown, before any crop or resize.
    pub statistics: ImageStatistics,
    /// The decoder's warnings and those of the steps.
    pub warnings: Vec<Warning>,
    /// The image after `quantise8`, if it was asked for and the recipe has that step.
    pub quantised: Option<Raster>,
    /// The image as it is shown, if it was asked for.
    pub backdrop: Option<Raster>,
}

/// A recipe that cannot be run on this image.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PreprocessError {
    /// The recipe crops by a mask and none was handed in.
    #[error("step {} crops to the lung field; the mask of {bundle} is missing", index + 1)]
    MaskMissing {
        /// The step's place, from 0.
        index: usize,
        /// The segmentation bundle, `name/version`.
        bundle: String,
    },
    /// The mask belongs to another image.
    #[error("the lung mask is of an image of {mask:?} pixels, the image has {image:?}")]
    MaskOfAnother {
        /// Size of the mask's image.
        mask: (u32, u32),
        /// Size of this image.
        image: (u32, u32),
    },
    /// A step gave no image.
    #[error("step {}: {source}", index + 1)]
    Raster {
        /// The step's place, from 0.
        index: usize,
        /// What is wrong with its result.
        source: RasterError,
    },
}

impl Fault for PreprocessError {
    fn kind(&self) -> ErrorKind {
        // The recipe was checked when the bundle was loaded and the mask is made by the service.
        ErrorKind::Internal
    }
}

/// Runs `recipe`, which has been checked, on `decoded`.
///
/// # Errors
/// [`PreprocessError`] where a lung mask is missing or belongs to another image.
pub fn run(
    recipe: &Recipe,
    decoded: &Decoded,
    options: &RunOptions<'_>,
) -> Result<Prepared, PreprocessError> {
    let shown = show(recipe, decoded);
    let backdrop =
        options.backdrop.map(|side| fitted(&shown, decoded.pixel_aspect, side)).transpose()?;
    let mut state = State {
        geometry: Geometry::new(shown.raster.size(), decoded.pixel_aspect),
        raster: shown.raster,
        warnings: shown.warnings,
        quantised: None,
    };
    for (index, step) in recipe.steps.iter().enumerate() {
        state.apply(index, step, options)?;
    }
    let (tensor, shape) = to_tensor(&state.raster, options.layout);
    Ok(Prepared {
        tensor,
        shape,
        geometry: state.geometry,
        statistics: shown.statistics,
        warnings: state.warnings,
        quantised: state.quantised,
        backdrop,
    })
}

/// The image as it is shown, in 8 bits and with square pixels, its longer side at most `max_side`
/// pixels; a smaller image keeps its size. The rest of the recipe is left for later, the tensor is
/// empty.
///
/// # Errors
/// [`PreprocessError::Raster`] if `max_side` is 0.
pub fn fit(recipe: &Recipe, decoded: &Decoded, max_side: u32) -> Result<Prepared, PreprocessError> {
    let shown = show(recipe, decoded);
    let geometry = Geometry::new(shown.raster.size(), decoded.pixel_aspect);
    let raster = fitted(&shown, decoded.pixel_aspect, max_side)?;
    Ok(Prepared {
        tensor: Vec::new(),
        shape: [0; 3],
        geometry: geometry.resized(raster.size()),
        statistics: shown.statistics,
        warnings: shown.warnings,
        quantised: Some(raster),
        backdrop: None,
    })
}

/// `shown` in 8 bits and with square pixels, its longer side at most `max_side` pixels.
fn fitted(shown: &Shown<'_>, pixel_aspect: f64, max_side: u32) -> Result<Raster, PreprocessError> {
    let (width, height) = shown.raster.size();
    let tall = f64::from(height) * pixel_aspect;
    let shrink = (f64::from(max_side) / f64::from(width).max(tall)).min(1.0);
    let side = |length: f64| ((length * shrink).round() as u32).clamp(max_side.min(1), max_side);
    let raster = resize(&shown.raster, (side(width.into()), side(tall)))
        .map_err(|source| PreprocessError::Raster { index: 0, source })?;
    Ok(intensity::quantise8(Cow::Owned(raster)).into_owned())
}

/// The image as it is shown: windowed, inverted where MONOCHROME1 asks for it, in the recipe's
/// colour, not yet cropped or resized.
#[derive(Debug, Clone)]
pub struct Shown<'a> {
    /// The image.
    pub raster: Cow<'a, Raster>,
    /// Its statistics.
    pub statistics: ImageStatistics,
    /// The decoder's warnings and the window's.
    pub warnings: Vec<Warning>,
}

/// Shows `decoded` as the first steps of `recipe` say.
pub fn show<'a>(recipe: &Recipe, decoded: &'a Decoded) -> Shown<'a> {
    let mut warnings = decoded.warnings.clone();
    let voi = recipe.steps.iter().find(|step| matches!(step, Step::Voi { .. }));
    let (raster, excluded) = match &decoded.presentation {
        Some(presentation) => {
            let (raster, warning) = presentation.show(&decoded.raster, voi);
            warnings.extend(warning);
            (Cow::Owned(raster), presentation.padding())
        }
        None => (Cow::Borrowed(&decoded.raster), None),
    };
    let color = recipe.steps.iter().find_map(|step| match step {
        Step::Decode { color } => Some(*color),
        _ => None,
    });
    // Grey first, so that a grey recipe computes luma once for itself and the statistics.
    let raster = to_color(raster, color.unwrap_or(Color::Gray));
    let statistics = ImageStatistics::of(&raster, excluded, decoded.pixel_aspect, decoded.bits);
    Shown { raster, statistics, warnings }
}

/// One step alone, on an image that is shown already and has square pixels. What `show` does
/// (`decode`, `voi`) changes nothing here.
///
/// # Errors
/// [`PreprocessError`] for a crop by a lung mask, which is not there.
pub fn run_step(step: &Step, shown: &Raster) -> Result<Raster, PreprocessError> {
    let geometry = Geometry::new(shown.size(), 1.0);
    let raster = Cow::Borrowed(shown);
    let mut state = State { raster, geometry, warnings: Vec::new(), quantised: None };
    state.apply(0, step, &RunOptions::default())?;
    Ok(state.raster.into_owned())
}

struct State<'a> {
    raster: Cow<'a, Raster>,
    geometry: Geometry,
    warnings: Vec<Warning>,
    quantised: Option<Raster>,
}

impl State<'_> {
    fn apply(
        &mut self,
        index: usize,
        step: &Step,
        options: &RunOptions<'_>,
    ) -> Result<(), PreprocessError> {
        match step {
            // Both are done by `show`.
            Step::Decode { .. } | Step::Voi { .. } => {}
            Step::Crop { region } => self.crop(index, region, options.lung_mask)?,
            Step::Resize { width, height, .. } => {
                let size = (*width, *height);
                let raster = resize(&self.raster, size)
                    .map_err(|source| PreprocessError::Raster { index, source })?;
                self.raster = Cow::Owned(raster);
                self.geometry = self.geometry.resized(size);
            }
            Step::ClipPercentile { low, high } => {
                self.raster = Cow::Owned(intensity::clip_percentile(&self.raster, *low, *high));
            }
            Step::Quantise8 {} => {
                let raster = intensity::quantise8(Cow::Borrowed(&*self.raster));
                if let Cow::Owned(raster) = raster {
                    self.raster = Cow::Owned(raster);
                }
                if options.keep_quantised {
                    self.quantised = Some((*self.raster).clone());
                }
            }
            Step::Scale { factor } => {
                self.raster = Cow::Owned(intensity::scale(&self.raster, *factor));
            }
            Step::Normalise { mean, std } => {
                self.raster = Cow::Owned(intensity::normalise(&self.raster, mean, std));
            }
            Step::Replicate { channels } => {
                self.raster = Cow::Owned(replicate(&self.raster, usize::from(*channels)));
            }
        }
        Ok(())
    }

    fn crop(
        &mut self,
        index: usize,
        region: &CropRegion,
        mask: Option<&LungMask>,
    ) -> Result<(), PreprocessError> {
        let part = match region {
            CropRegion::CenterSquare {} => self.geometry.center_square(),
            CropRegion::LungField { bundle, fallback } => {
                let mask = mask.ok_or_else(|| PreprocessError::MaskMissing {
                    index,
                    bundle: bundle.clone(),
                })?;
                if mask.geometry.input != self.geometry.input {
                    return Err(PreprocessError::MaskOfAnother {
                        mask: mask.geometry.input,
                        image: self.geometry.input,
                    });
                }
                let (found, warning) = locate(mask, *fallback);
                self.warnings.extend(warning);
                self.geometry.part_showing(found)
            }
        };
        self.raster = Cow::Owned(self.raster.cropped(part));
        self.geometry = self.geometry.cropped(part);
        Ok(())
    }
}

fn to_tensor(raster: &Raster, layout: Layout) -> (Vec<f32>, [usize; 3]) {
    let (width, height) = (raster.width() as usize, raster.height() as usize);
    let channels = raster.channels();
    let interleaved = raster.to_f32();
    match layout {
        Layout::Nhwc => (interleaved, [height, width, channels]),
        Layout::Nchw if channels == 1 => (interleaved, [1, height, width]),
        Layout::Nchw => {
            let mut planes = Vec::with_capacity(interleaved.len());
            for channel in 0..channels {
                planes.extend(interleaved.iter().skip(channel).step_by(channels));
            }
            (planes, [channels, height, width])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::{Format, Region, WarningCode};

    fn recipe(steps: &str) -> Recipe {
        let recipe: Recipe = toml::from_str(&format!("step = [{steps}]")).unwrap();
        recipe.check().unwrap();
        recipe
    }

    fn gray(width: u32, height: u32, samples: Vec<u8>) -> Decoded {
        Decoded::plain(Format::Png, Raster::from_u8((width, height), 1, samples).unwrap(), 8)
    }

    #[test]
    fn runs_the_steps_in_order_and_keeps_the_quantised_image() {
        let recipe = recipe(
            r#"{ op = "decode", color = "gray" }, { op = "crop", region = { kind = "center_square" } },
               { op = "quantise8" }, { op = "scale", factor = 0.00392156862745098 },
               { op = "replicate", channels = 3 },
               { op = "normalise", mean = [0.0, 0.5, 1.0], std = [1.0, 0.5, 0.25] }"#,
        );
        let decoded = gray(4, 2, vec![9, 0, 255, 9, 9, 51, 102, 9]);
        let options = RunOptions { keep_quantised: true, ..RunOptions::default() };
        let row = run(&recipe, &decoded, &options).unwrap();
        assert_eq!(row.shape, [3, 2, 2]);
        assert_eq!(row.geometry.region, Region { left: 1, top: 0, width: 2, height: 2 });
        let expected = [0.0, 1.0, 0.2, 0.4, -1.0, 1.0, -0.6, -0.2, -4.0, 0.0, -3.2, -2.4_f32];
        for (a, b) in row.tensor.iter().zip(expected) {
            assert!((a - b).abs() < 1e-6, "{:?}", row.tensor);
        }
        let kept = row.quantised.unwrap();
        assert_eq!(kept, Raster::from_u8((2, 2), 1, vec![0, 255, 51, 102]).unwrap());

        let last = run(&recipe, &decoded, &RunOptions { layout: Layout::Nhwc, ..options }).unwrap();
        assert_eq!((last.shape, last.tensor[2]), ([2, 2, 3], -4.0));
    }

    #[test]
    fn a_lung_crop_needs_its_mask_and_records_its_fallback() {
        let recipe = recipe(
            r#"{ op = "decode", color = "gray" },
               { op = "crop", region = { kind = "lung_field", bundle = "lung_field/1", fallback = "mirror" } },
               { op = "resize", width = 2, height = 2, filter = "bilinear_antialias" }"#,
        );
        let decoded = gray(20, 20, (0..400).map(|i| (i % 20) as u8).collect());
        let error = run(&recipe, &decoded, &RunOptions::default()).unwrap_err();
        assert!(error.to_string().contains("lung_field/1"), "{error}");

        let geometry = Geometry::new((20, 20), 1.0);
        let mut mask = LungMask { width: 20, height: 20, values: vec![0.0; 400], geometry };
        let with = |mask: &LungMask| {
            run(&recipe, &decoded, &RunOptions { lung_mask: Some(mask), ..RunOptions::default() })
        };
        let row = with(&mask).unwrap();
        assert_eq!(row.warnings[0].code, WarningCode::LungFieldNotFound);
        assert_eq!(row.geometry.region, Region::whole((20, 20)));
        mask.geometry = Geometry::new((21, 20), 1.0);
        assert!(matches!(with(&mask), Err(PreprocessError::MaskOfAnother { .. })));
    }
}
