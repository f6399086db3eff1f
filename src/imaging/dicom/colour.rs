//! Colour images to RGB: palettes (PS3.3 C.7.6.3.1.5) and YBR (C.7.6.3.1.2).
//!
//! This file must never touch an RGB image.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::mem::InMemDicomObject;

use super::super::DecodeError;
use super::super::raster::{Raster, Samples};
use super::attributes::words;
use super::pixels::{Photometric, PixelDescription};
use super::{FORMAT, damaged};

pub(super) fn to_rgb(
    object: &InMemDicomObject,
    pixels: &PixelDescription,
    stored: Samples,
) -> Result<Raster, DecodeError> {
    let size = (pixels.columns, pixels.rows);
    let (samples, bits) = match pixels.photometric {
        Photometric::Palette => palette(object, pixels, &stored)?,
        Photometric::YbrFull | Photometric::YbrFull422 => match stored {
            Samples::U8(v) => (Samples::U8(from_ybr(&v)), 8),
            _ => return Err(DecodeError::unsupported(FORMAT, "YBR_FULL of more than 8 bits")),
        },
        _ => (stored, pixels.bits_stored),
    };
    let white = ((1_u32 << bits) - 1) as f32;
    Raster::new(size, 3, samples, (0.0, white)).map_err(DecodeError::raster(FORMAT))
}

/// ITU-R BT.601 at full range, rounded to nearest.
fn from_ybr(samples: &[u8]) -> Vec<u8> {
    samples
        .chunks_exact(3)
        .flat_map(|pixel| {
            let [y, b, r] = [pixel[0], pixel[1], pixel[2]].map(f32::from);
            let (b, r) = (b - 128.0, r - 128.0);
            [y + 1.402 * r, y - 0.344_136_3 * b - 0.714_136_3 * r, y + 1.772 * b]
                .map(|value| value.round().clamp(0.0, 255.0) as u8)
        })
        .collect()
}

fn palette(
    object: &InMemDicomObject,
    pixels: &PixelDescription,
    stored: &Samples,
) -> Result<(Samples, u8), DecodeError> {
    if object.get(tags::SEGMENTED_RED_PALETTE_COLOR_LOOKUP_TABLE_DATA).is_some() {
        return Err(DecodeError::unsupported(FORMAT, "a segmented palette"));
    }
    let table = |descriptor, data| Palette::of(object, pixels, descriptor, data);
    let tables = [
        table(
            tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
            tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        )?,
        table(
            tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
            tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        )?,
        table(
            tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
            tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        )?,
    ];
    let values: Vec<i32> = match stored {
        Samples::U8(v) => v.iter().map(|&s| pixels.value(s.into())).collect(),
        Samples::U16(v) => v.iter().map(|&s| pixels.value(s)).collect(),
        Samples::F32(_) => Vec::new(),
    };
    let colours = values.into_iter().flat_map(|value| tables.each_ref().map(|t| t.entry(value)));
    Ok(if tables.iter().all(|table| table.bits == 8) {
        (Samples::U8(colours.map(|entry| entry as u8).collect()), 8)
    } else {
        (Samples::U16(colours.collect()), 16)
    })
}

/// One channel's table.
struct Palette {
    first: i32,
    bits: u16,
    entries: Vec<u16>,
}

impl Palette {
    fn of(
        object: &InMemDicomObject,
        pixels: &PixelDescription,
        descriptor: Tag,
        data: Tag,
    ) -> Result<Self, DecodeError> {
        let found = words(object, descriptor).filter(|values| values.len() == 3);
        let found = found.ok_or_else(|| {
            damaged(format!("palette descriptor {descriptor} does not have three values"))
        })?;
        let count = if found[0] == 0 { 65_536 } else { usize::from(found[0]) };
        let bits = found[2];
        if bits != 8 && bits != 16 {
            return Err(damaged(format!("palette descriptor {descriptor} has {bits} bits")));
        }
        let bytes = object.get(data).and_then(|element| element.to_bytes().ok());
        let bytes = bytes.ok_or_else(|| damaged(format!("palette {data} is missing")))?;
        let entries: Vec<u16> = if bits == 8 && bytes.len() < 2 * count {
            bytes.iter().map(|&byte| byte.into()).collect()
        } else {
            words(object, data).unwrap_or_default()
        };
        if entries.len() < count {
            return Err(damaged(format!(
                "palette {data} has {} entries, its descriptor claims {count}",
                entries.len()
            )));
        }
        let first = if pixels.signed { i32::from(found[1] as i16) } else { i32::from(found[1]) };
        Ok(Self { first, bits, entries: entries[..count].to_vec() })
    }

    /// The entry of `value`; the standard gives values outside the first or last one.
    fn entry(&self, value: i32) -> u16 {
        let at = usize::try_from(i64::from(value) - i64::from(self.first)).unwrap_or(0);
        self.entries[at.min(self.entries.len() - 1)]
    }
}
