//! Stored samples to modality values: sign, Modality LUT or rescale (PS3.3 C.11.1), padding.
//!
//! This file must never window: values leave it in the units of the modality.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::mem::InMemDicomObject;

use super::super::raster::{Raster, Samples};
use super::super::{DecodeError, Warning};
use super::attributes::{first_item, integer, number, words};
use super::damaged;
use super::pixels::PixelDescription;
use super::presentation::Presentation;

/// A look-up table of PS3.3 C.11.1.1 or C.11.2.1.1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lut {
    first: i32,
    bits: u32,
    entries: Vec<u16>,
}

impl Lut {
    /// The table in a sequence item, its first value signed if the pixels are.
    pub(super) fn of(item: &InMemDicomObject, signed: bool) -> Result<Self, DecodeError> {
        let descriptor = words(item, tags::LUT_DESCRIPTOR)
            .filter(|d| d.len() == 3)
            .ok_or_else(|| damaged("a LUT Descriptor (0028,3002) does not have three values"))?;
        let count = if descriptor[0] == 0 { 65_536 } else { usize::from(descriptor[0]) };
        let bits = u32::from(descriptor[2]);
        let mut entries = words(item, tags::LUT_DATA)
            .ok_or_else(|| damaged("LUT Data (0028,3006) is missing"))?;
        // Entries of 8 bits may be packed two a word (PS3.3 C.11.1.1.1).
        if entries.len() == count.div_ceil(2) && count > 1 && bits <= 8 {
            entries = entries.iter().flat_map(|word| word.to_le_bytes().map(u16::from)).collect();
        }
        if !(1..=16).contains(&bits) || entries.len() < count {
            return Err(damaged(format!(
                "a LUT Descriptor claims {count} entries of {bits} bits, LUT Data has {}",
                entries.len()
            )));
        }
        entries.truncate(count);
        let first = if signed { i32::from(descriptor[1] as i16) } else { i32::from(descriptor[1]) };
        Ok(Self { first, bits, entries })
    }

    /// The entry of `value`; values outside take the first or last one.
    pub(super) fn entry(&self, value: i32) -> u16 {
        let last = self.entries.len() - 1;
        let at = i64::from(value) - i64::from(self.first);
        self.entries[usize::try_from(at).unwrap_or(0).min(last)]
    }

    /// What an entry can be.
    pub(super) fn range(&self) -> (f32, f32) {
        (0.0, ((1_u32 << self.bits) - 1) as f32)
    }
}

/// The modality values of a grey frame, and how they are to be shown.
pub(super) fn apply(
    object: &InMemDicomObject,
    pixels: &PixelDescription,
    stored: Samples,
    warnings: &mut Vec<Warning>,
) -> Result<(Raster, Presentation), DecodeError> {
    let padding = padding(object, pixels, &stored);
    let (samples, range) = mapped(object, pixels, stored)?;
    let raster = Raster::new((pixels.columns, pixels.rows), 1, samples, range)
        .map_err(DecodeError::raster(super::FORMAT))?;
    let presentation = Presentation::of(object, pixels, range.0 < 0.0, padding, warnings)?;
    Ok((raster, presentation))
}

fn mapped(
    object: &InMemDicomObject,
    pixels: &PixelDescription,
    stored: Samples,
) -> Result<(Samples, (f32, f32)), DecodeError> {
    let (least, greatest) = pixels.value_range();
    let values = |stored: &Samples| -> Vec<i32> {
        match stored {
            Samples::U8(v) => v.iter().map(|&s| pixels.value(s.into())).collect(),
            Samples::U16(v) => v.iter().map(|&s| pixels.value(s)).collect(),
            Samples::F32(_) => Vec::new(),
        }
    };
    if let Some(item) = first_item(object, tags::MODALITY_LUT_SEQUENCE) {
        let lut = Lut::of(item, pixels.signed)?;
        let samples = values(&stored).into_iter().map(|value| lut.entry(value)).collect();
        return Ok((Samples::U16(samples), lut.range()));
    }
    let slope = number(object, tags::RESCALE_SLOPE).unwrap_or(1.0);
    let intercept = number(object, tags::RESCALE_INTERCEPT).unwrap_or(0.0);
    if slope == 0.0 {
        return Err(damaged("Rescale Slope (0028,1053) is 0"));
    }
    let plain = slope == 1.0 && intercept == 0.0 && !pixels.signed;
    if plain {
        let range = (least as f32, greatest as f32);
        let exact = pixels.bits_stored == pixels.bits_allocated;
        let samples = match stored {
            stored if exact => stored,
            Samples::U8(v) => {
                Samples::U8(v.into_iter().map(|s| pixels.value(s.into()) as u8).collect())
            }
            stored => Samples::U16(values(&stored).into_iter().map(|value| value as u16).collect()),
        };
        return Ok((samples, range));
    }
    let rescale = |value: i32| (f64::from(value) * slope + intercept) as f32;
    let ends = (rescale(least), rescale(greatest));
    let samples = values(&stored).into_iter().map(rescale).collect();
    Ok((Samples::F32(samples), (ends.0.min(ends.1), ends.0.max(ends.1))))
}

/// Which pixels are padding (PS3.3 C.7.5.1.1.2); `None` if none is.
fn padding(
    object: &InMemDicomObject,
    pixels: &PixelDescription,
    stored: &Samples,
) -> Option<Vec<bool>> {
    let signed = |tag: Tag| {
        let bits = integer(object, tag)? as u16;
        Some(if pixels.signed { i32::from(bits as i16) } else { i32::from(bits) })
    };
    let value = signed(tags::PIXEL_PADDING_VALUE)?;
    let limit = signed(tags::PIXEL_PADDING_RANGE_LIMIT).unwrap_or(value);
    let padded = value.min(limit)..=value.max(limit);
    let mask: Vec<bool> = match stored {
        Samples::U8(v) => v.iter().map(|&s| padded.contains(&pixels.value(s.into()))).collect(),
        Samples::U16(v) => v.iter().map(|&s| padded.contains(&pixels.value(s))).collect(),
        Samples::F32(_) => return None,
    };
    mask.contains(&true).then_some(mask)
}
