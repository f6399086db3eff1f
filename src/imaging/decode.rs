//! The one way in: bytes to a raster and what the file says about it.
//!
//! [`probe`] reads the header alone and says what decoding would cost; [`decode`] checks the
//! limits with it and then decodes. Both take bytes, never a name: a wrong extension is no matter.
//! This file must never allocate for pixels before the limits have been checked.

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::dicom::Presentation;
use super::raster::Raster;
use super::{DecodeError, DecodeLimits, Format, Warning, dicom, jpeg, png, quality};

/// What a file's header says, read without decoding a pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The format.
    pub format: Format,
    /// Pixels across, as stored (before Exif orientation).
    pub width: u32,
    /// Pixels down, as stored.
    pub height: u32,
    /// Frames; 1 for a still image.
    pub frames: u32,
    /// Bits stored a sample.
    pub bits: u8,
    /// Bytes that decoding takes at its peak, the file itself not counted.
    pub estimated_bytes: u64,
}

/// What the caller wants decoded, and what the model expects to see.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DecodeOptions {
    /// The frame of a multi-frame DICOM object, from 1; without one the first is taken with a
    /// warning.
    pub frame: Option<u32>,
    /// What the model was trained on; what differs from it is warned of.
    pub expects: Expectation,
    /// Whether to measure how coloured the image is.
    pub measure_color: bool,
}

/// What a model was trained on, as its bundle's intended use says it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Expectation {
    /// Ages in years.
    pub age_years: Option<RangeInclusive<f32>>,
    /// Whether only frontal images of the chest make sense.
    pub frontal_chest: bool,
}

/// A decoded file.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The format that it had.
    pub format: Format,
    /// The pixels. For grey DICOM: the values after the Modality LUT, before any window.
    pub raster: Raster,
    /// Bits stored a sample in the file.
    pub bits: u8,
    /// Height of a pixel over its width; 1 where the file does not say otherwise.
    pub pixel_aspect: f64,
    /// What matters and did not stop the decoding.
    pub warnings: Vec<Warning>,
    /// How a grey DICOM image is to be shown.
    pub presentation: Option<Presentation>,
    /// How coloured the image is, as [`super::ImageQuality::color`] says it, if that was asked for.
    pub color: Option<f64>,
}

impl Decoded {
    /// An image that is shown as it is stored.
    pub(super) fn plain(format: Format, raster: Raster, bits: u8) -> Self {
        Self {
            format,
            raster,
            bits,
            pixel_aspect: 1.0,
            warnings: Vec::new(),
            presentation: None,
            color: None,
        }
    }
}

/// Reads the header of `bytes`, allocating nothing for pixels.
///
/// # Errors
/// [`DecodeError`]: empty, of unknown format, or broken within the header. The cost of a deflated
/// DICOM file is bounded by `limits` while it is inflated.
pub fn probe(bytes: &[u8], limits: &DecodeLimits) -> Result<Header, DecodeError> {
    limits.check_length(bytes)?;
    let format = Format::sniff(bytes)?;
    contained(format, || match format {
        Format::Png => png::probe(bytes),
        Format::Jpeg => jpeg::probe(bytes),
        Format::Dicom => dicom::probe(bytes, limits),
    })
}

/// Decodes `bytes` within `limits`.
///
/// # Errors
/// [`DecodeError`] says what is wrong with the file, or which limit it is beyond.
pub fn decode(
    bytes: &[u8],
    limits: &DecodeLimits,
    options: &DecodeOptions,
) -> Result<Decoded, DecodeError> {
    limits.check_length(bytes)?;
    let format = Format::sniff(bytes)?;
    contained(format, || {
        let mut decoded = match format {
            Format::Png => png::decode(bytes, limits),
            Format::Jpeg => jpeg::decode(bytes, limits),
            Format::Dicom => dicom::decode(bytes, limits, options),
        }?;
        if options.measure_color {
            decoded.color = Some(quality::color(&decoded.raster));
        }
        Ok(decoded)
    })
}

/// A codec's panic on a malformed file becomes an error of that file. Codecs keep no state between
/// files, so that nothing half-done is seen afterwards.
fn contained<T>(
    format: Format,
    work: impl FnOnce() -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(DecodeError::damaged(
            format,
            "its content broke the decoder (a defect worth reporting)",
        ))
    })
}
