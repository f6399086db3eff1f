//! What the Image Pixel module (PS3.3 C.7.6.3) says, checked.
//!
//! This file must never accept a combination that the decoders behind it do not expect.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::super::DecodeError;
use super::attributes::{integer, text};
use super::damaged;
use super::file::File;
use super::{FORMAT, facts};

/// Photometric Interpretation (0028,0004).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Photometric {
    Monochrome1,
    Monochrome2,
    Palette,
    Rgb,
    YbrFull,
    YbrFull422,
    /// JPEG 2000's own transforms: the codec gives RGB.
    YbrJpeg2000,
}

impl Photometric {
    pub(super) fn is_monochrome(self) -> bool {
        matches!(self, Self::Monochrome1 | Self::Monochrome2)
    }
}

/// How the pixels are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PixelDescription {
    pub rows: u32,
    pub columns: u32,
    pub frames: u32,
    pub samples_per_pixel: usize,
    pub photometric: Photometric,
    /// Planar Configuration 1: all of a channel before the next one.
    pub planar: bool,
    /// 8 or 16.
    pub bits_allocated: u8,
    /// 1 to `bits_allocated`.
    pub bits_stored: u8,
    pub high_bit: u8,
    pub signed: bool,
}

impl PixelDescription {
    pub(super) fn of(file: &File<'_>) -> Result<Self, DecodeError> {
        let object = &file.object;
        if file.pixel_data.is_none() {
            return Err(no_pixels(file));
        }
        let needed = |tag: Tag, name: &str| {
            let value = integer(object, tag)
                .ok_or_else(|| damaged(format!("{name} {tag} is missing or no number")))?;
            u32::try_from(value).map_err(|_| damaged(format!("{name} {tag} is out of range")))
        };
        let rows = needed(tags::ROWS, "Rows")?;
        let columns = needed(tags::COLUMNS, "Columns")?;
        // Both are unsigned shorts in the standard, whatever a file stores them as.
        let side = 1..=u32::from(u16::MAX);
        if !side.contains(&rows) || !side.contains(&columns) {
            return Err(damaged(format!("Rows × Columns is {rows} × {columns}")));
        }
        let frames = match integer(object, tags::NUMBER_OF_FRAMES) {
            None => 1,
            Some(frames) => u32::try_from(frames)
                .ok()
                .filter(|&frames| frames > 0)
                .ok_or_else(|| damaged("Number of Frames (0028,0008) is below 1"))?,
        };
        let allocated = needed(tags::BITS_ALLOCATED, "Bits Allocated")?;
        if allocated != 8 && allocated != 16 {
            let what = format!("Bits Allocated {allocated} (8 and 16 are decoded)");
            return Err(DecodeError::unsupported(FORMAT, what));
        }
        let stored = needed(tags::BITS_STORED, "Bits Stored")?;
        let high = integer(object, tags::HIGH_BIT).unwrap_or(i64::from(stored) - 1);
        if stored == 0
            || stored > allocated
            || high + 1 < i64::from(stored)
            || high >= i64::from(allocated)
        {
            return Err(damaged(format!(
                "Bits Stored {stored} with High Bit {high} does not fit Bits Allocated {allocated}"
            )));
        }
        let (photometric, samples_per_pixel) = photometric(file)?;
        Ok(Self {
            rows,
            columns,
            frames,
            samples_per_pixel,
            photometric,
            planar: samples_per_pixel > 1
                && integer(object, tags::PLANAR_CONFIGURATION).unwrap_or(0) == 1,
            bits_allocated: allocated as u8,
            bits_stored: stored as u8,
            high_bit: high as u8,
            signed: integer(object, tags::PIXEL_REPRESENTATION).unwrap_or(0) == 1,
        })
    }

    pub(super) fn pixels(&self) -> usize {
        self.rows as usize * self.columns as usize
    }

    pub(super) fn samples(&self) -> usize {
        self.pixels() * self.samples_per_pixel
    }

    /// Bytes of one decoded frame as stored.
    pub(super) fn frame_bytes(&self) -> u64 {
        let pixels = u64::from(self.rows) * u64::from(self.columns);
        pixels * self.samples_per_pixel as u64 * u64::from(self.bits_allocated / 8)
    }

    /// Stored samples, the codec's own planes of up to 32 bits, and the values after them.
    pub(super) fn estimated_bytes(&self) -> u64 {
        let samples =
            u64::from(self.rows) * u64::from(self.columns) * self.samples_per_pixel as u64;
        samples * (u64::from(self.bits_allocated / 8) + 8) + samples * 4
    }

    /// The number that the bits of a stored sample mean.
    pub(super) fn value(&self, raw: u16) -> i32 {
        let shifted = u32::from(raw) >> (self.high_bit + 1 - self.bits_stored);
        let unused = 32 - u32::from(self.bits_stored);
        if self.signed {
            ((shifted << unused) as i32) >> unused
        } else {
            ((shifted << unused) >> unused) as i32
        }
    }

    /// The least and greatest number that a sample can hold.
    pub(super) fn value_range(&self) -> (i32, i32) {
        let bits = u32::from(self.bits_stored);
        if self.signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
    }
}

fn photometric(file: &File<'_>) -> Result<(Photometric, usize), DecodeError> {
    let object = &file.object;
    let name = text(object, tags::PHOTOMETRIC_INTERPRETATION)
        .ok_or_else(|| damaged("Photometric Interpretation (0028,0004) is missing"))?;
    let (photometric, expected) = match name.as_str() {
        "MONOCHROME1" => (Photometric::Monochrome1, 1),
        "MONOCHROME2" => (Photometric::Monochrome2, 1),
        "PALETTE COLOR" => (Photometric::Palette, 1),
        "RGB" => (Photometric::Rgb, 3),
        "YBR_FULL" => (Photometric::YbrFull, 3),
        "YBR_FULL_422" => (Photometric::YbrFull422, 3),
        "YBR_ICT" | "YBR_RCT" => (Photometric::YbrJpeg2000, 3),
        "YBR_PARTIAL_422" | "YBR_PARTIAL_420" | "HSV" | "ARGB" | "CMYK" | "XYB" => {
            return Err(DecodeError::unsupported(FORMAT, format!("the colours of {name}")));
        }
        _ => return Err(damaged("Photometric Interpretation (0028,0004) is none of PS3.3's")),
    };
    let samples = integer(object, tags::SAMPLES_PER_PIXEL).unwrap_or(expected);
    if samples != expected {
        return Err(damaged(format!("{name} has {expected} sample(s) a pixel, not {samples}")));
    }
    Ok((photometric, expected as usize))
}

fn no_pixels(file: &File<'_>) -> DecodeError {
    let float = [tags::FLOAT_PIXEL_DATA, tags::DOUBLE_FLOAT_PIXEL_DATA];
    if float.iter().any(|&tag| file.object.get(tag).is_some()) {
        return DecodeError::unsupported(FORMAT, "floating-point pixel data");
    }
    let sop_class = facts::sop_class(file);
    // Rows without pixels is an image that was cut off before them; a report may have Rows too.
    let image = sop_class.is_none_or(facts::holds_pixels);
    if image && integer(&file.object, tags::ROWS).is_some() {
        return damaged("its pixel data (7FE0,0010) is missing");
    }
    DecodeError::NoPixels { sop_class: sop_class.unwrap_or("of an unknown SOP class").to_owned() }
}
