//! How a grey image is shown: VOI LUT or window, then inversion (PS3.3 C.11.2 and C.7.6.3.1.2).
//!
//! What the file says is read once; a recipe decides when the image is shown. The shown range is
//! the nominal range of the values, or of the VOI LUT's entries.
//! This file must never let a padding pixel take part in a percentile, or show it as anything but
//! black.

use dicom_dictionary_std::tags;
use dicom_object::mem::InMemDicomObject;

use super::super::intensity::percentiles;
use super::super::raster::{Raster, Samples};
use super::super::recipe::{Percentiles, Step, VoiSource, Window, WindowFunction};
use super::super::{DecodeError, Warning, WarningCode};
use super::attributes::{first_item, numbers, text};
use super::modality::Lut;
use super::pixels::{Photometric, PixelDescription};

/// The window for lungs in a CT, in Hounsfield units.
const CT_LUNG: Window = Window { center: -600.0, width: 1500.0, function: WindowFunction::Linear };
/// The percentiles that stand in for a window.
const PERCENTILES: Percentiles = Percentiles { low: 1.0, high: 99.0 };

/// What a file says about showing its grey values.
#[derive(Debug, Clone, PartialEq)]
pub struct Presentation {
    lut: Option<Lut>,
    window: Option<Window>,
    inverted: bool,
    hounsfield: bool,
    padding: Option<Vec<bool>>,
}

impl Presentation {
    pub(super) fn of(
        object: &InMemDicomObject,
        pixels: &PixelDescription,
        // Whether values after the Modality LUT can be negative.
        negative: bool,
        padding: Option<Vec<bool>>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, DecodeError> {
        let lut = match first_item(object, tags::VOILUT_SEQUENCE) {
            // Its first value is signed if the values that it takes are (PS3.3 C.11.2.1.1).
            Some(item) => Some(Lut::of(item, negative)?),
            None => None,
        };
        let window = window(object);
        if window.is_some_and(|window| !window.is_valid()) {
            warnings.push(Warning::new(
                WarningCode::WindowIgnored,
                "the file's window has no meaning in the standard and was passed over",
            ));
        }
        let modality = text(object, tags::MODALITY);
        // A CT without Rescale Type is in Hounsfield units, by the CT Image module itself.
        let units = text(object, tags::RESCALE_TYPE).unwrap_or_else(|| "HU".to_owned());
        Ok(Self {
            lut,
            window: window.filter(Window::is_valid),
            inverted: pixels.photometric == Photometric::Monochrome1,
            hounsfield: modality.as_deref() == Some("CT") && units == "HU",
            padding,
        })
    }

    /// Which pixels are padding, row by row; `None` if none is.
    pub fn padding(&self) -> Option<&[bool]> {
        self.padding.as_deref()
    }

    /// Whether the smallest value is meant to be white.
    pub fn is_inverted(&self) -> bool {
        self.inverted
    }

    /// The image as it would be shown without a recipe.
    pub(super) fn show_plainly(&self, values: &Raster) -> Raster {
        let voi =
            Step::Voi { prefer: VoiSource::File, window: None, ct_lung: false, percentiles: None };
        self.show(values, Some(&voi)).0
    }

    /// The image as `voi` (a recipe's `voi` step, if it has one) shows it, and the warning of a
    /// window that had to be guessed.
    pub(in super::super) fn show(
        &self,
        values: &Raster,
        voi: Option<&Step>,
    ) -> (Raster, Option<Warning>) {
        let mut warning = None;
        let shown = match voi {
            Some(Step::Voi { prefer, window, ct_lung, percentiles }) => {
                let own = window.filter(|_| *prefer == VoiSource::Recipe);
                if *ct_lung && self.hounsfield {
                    windowed(values, &CT_LUNG)
                } else if let Some(window) = own {
                    windowed(values, &window)
                } else if let Some(lut) = &self.lut {
                    looked_up(values, lut)
                } else if let Some(window) = self.window.or(*window) {
                    windowed(values, &window)
                } else {
                    warning = Some(Warning::new(
                        WarningCode::NoWindow,
                        "neither the file nor the recipe has a window; percentiles were used",
                    ));
                    self.stretched(values, percentiles.unwrap_or(PERCENTILES))
                }
            }
            _ => values.clone(),
        };
        (self.finished(shown), warning)
    }

    fn stretched(&self, values: &Raster, wanted: Percentiles) -> Raster {
        let found = percentiles(values, self.padding(), wanted.low.into(), wanted.high.into());
        match found {
            Some((low, high)) if high > low => windowed(
                values,
                &Window {
                    center: (low + high) / 2.0,
                    width: high - low,
                    function: WindowFunction::LinearExact,
                },
            ),
            // A flat image has nothing to stretch.
            _ => values.clone(),
        }
    }

    /// Inverts where the file asks for it and blackens padding.
    fn finished(&self, shown: Raster) -> Raster {
        if !self.inverted && self.padding.is_none() {
            return shown;
        }
        let (low, high) = shown.range();
        let is_padding = |i: usize| self.padding.as_ref().is_some_and(|mask| mask[i]);
        let inverted = self.inverted;
        let map = |i: usize, value: f32| {
            if is_padding(i) {
                low
            } else if inverted {
                low + high - value
            } else {
                value
            }
        };
        let samples = match shown.samples() {
            Samples::U8(v) => Samples::U8(
                v.iter().enumerate().map(|(i, &s)| map(i, f32::from(s)) as u8).collect(),
            ),
            Samples::U16(v) => Samples::U16(
                v.iter().enumerate().map(|(i, &s)| map(i, f32::from(s)) as u16).collect(),
            ),
            Samples::F32(v) => {
                Samples::F32(v.iter().enumerate().map(|(i, &s)| map(i, s)).collect())
            }
        };
        shown.with_samples(1, samples, (low, high))
    }
}

/// The file's first window.
fn window(object: &InMemDicomObject) -> Option<Window> {
    let center = *numbers(object, tags::WINDOW_CENTER).first()?;
    let width = *numbers(object, tags::WINDOW_WIDTH).first()?;
    let function = match text(object, tags::VOILUT_FUNCTION).as_deref() {
        Some("LINEAR_EXACT") => WindowFunction::LinearExact,
        Some("SIGMOID") => WindowFunction::Sigmoid,
        _ => WindowFunction::Linear,
    };
    Some(Window { center, width, function })
}

/// PS3.3 C.11.2.1.2.1 (linear), C.11.2.1.3.2 (linear exact) and C.11.2.1.3.1 (sigmoid).
fn windowed(values: &Raster, window: &Window) -> Raster {
    let (black, white) = values.range();
    let span = f64::from(white) - f64::from(black);
    let (center, width) = (window.center, window.width);
    let share = |x: f64| match window.function {
        WindowFunction::Linear => {
            let (center, width) = (center - 0.5, width - 1.0);
            if x <= center - width / 2.0 {
                0.0
            } else if x > center + width / 2.0 {
                1.0
            } else {
                (x - center) / width + 0.5
            }
        }
        WindowFunction::LinearExact => ((x - center) / width + 0.5).clamp(0.0, 1.0),
        WindowFunction::Sigmoid => 1.0 / (1.0 + (-4.0 * (x - center) / width).exp()),
    };
    let shown = |value: f32| (f64::from(black) + share(f64::from(value)) * span) as f32;
    mapped(values, shown, values.range())
}

fn looked_up(values: &Raster, lut: &Lut) -> Raster {
    let entry = |value: f32| f32::from(lut.entry(value.round_ties_even() as i32));
    mapped(values, entry, lut.range())
}

fn mapped(values: &Raster, map: impl Fn(f32) -> f32, range: (f32, f32)) -> Raster {
    let table = |size: usize| (0..size).map(|value| map(value as f32)).collect::<Vec<f32>>();
    let samples = match values.samples() {
        Samples::U8(v) => {
            let table = table(1 << 8);
            v.iter().map(|&s| table[usize::from(s)]).collect()
        }
        Samples::U16(v) => {
            let table = table(1 << 16);
            v.iter().map(|&s| table[usize::from(s)]).collect()
        }
        Samples::F32(v) => v.iter().map(|&s| map(s)).collect(),
    };
    values.with_samples(1, Samples::F32(samples), range)
}
