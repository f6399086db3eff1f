//! JPEG 2000 within DICOM, lossless and lossy, up to 16 bits, signed or not.
//!
//! `hayro-jpeg2000` is written in safe Rust and gives every component as f32, which holds 24 bits
//! exactly. This file must never start it before the code stream's own size (SIZ) is known to be
//! the file's.

use hayro_jpeg2000::{DecodeSettings, DecoderContext, Image};

use super::super::DecodeError;
use super::super::raster::Samples;
use super::frame::{as_allocated, check_size};
use super::pixels::PixelDescription;
use super::{FORMAT, damaged};

/// More tiles than a code stream may number (ISO/IEC 15444-1 A.4.2: Isot has 16 bits).
const MAX_TILES: u64 = 65_535;

pub(super) fn decode(bytes: &[u8], pixels: &PixelDescription) -> Result<Samples, DecodeError> {
    let size = Siz::read(bytes).ok_or_else(|| damaged("its JPEG 2000 header is broken"))?;
    check_size(pixels, (size.columns as usize, size.rows as usize, size.components.into()))?;
    if size.tiles > MAX_TILES {
        return Err(damaged(format!("its JPEG 2000 image claims {} tiles", size.tiles)));
    }
    if size.precision > pixels.bits_allocated {
        let what = format!("JPEG 2000 of {} bits in {}", size.precision, pixels.bits_allocated);
        return Err(DecodeError::unsupported(FORMAT, what));
    }
    let failed = |error: hayro_jpeg2000::error::DecodeError| {
        damaged(format!("its JPEG 2000 image cannot be decoded ({error})"))
    };
    let settings =
        DecodeSettings { resolve_palette_indices: false, strict: true, target_resolution: None };
    let image = Image::new(bytes, &settings).map_err(failed)?;
    let mut context = DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(failed)?;
    let components = decoded.components();
    let whole = components.iter().all(|component| component.samples().len() == pixels.pixels());
    if components.len() != pixels.samples_per_pixel || !whole {
        return Err(damaged("its JPEG 2000 components do not fill its rows and columns"));
    }
    let stored = |value: f32| size.stored(value, pixels.bits_stored);
    let channels = components.len();
    let values =
        (0..pixels.samples()).map(|i| stored(components[i % channels].samples()[i / channels]));
    Ok(as_allocated(values, pixels))
}

/// Image and tile size (ISO/IEC 15444-1 A.5.1).
struct Siz {
    columns: u32,
    rows: u32,
    tiles: u64,
    components: u16,
    precision: u8,
    signed: bool,
}

impl Siz {
    fn read(bytes: &[u8]) -> Option<Self> {
        // Right at the beginning of a raw code stream; after a few boxes in a JP2 file.
        let start = bytes.windows(4).take(4_096).position(|w| w == b"\xff\x4f\xff\x51")?;
        let siz = &bytes[start..];
        let be32 = |at: usize| Some(u32::from_be_bytes(siz.get(at..at + 4)?.try_into().ok()?));
        let (right, bottom, left, top) = (be32(8)?, be32(12)?, be32(16)?, be32(20)?);
        let (tile_width, tile_height) = (be32(24)?, be32(28)?);
        let (tile_left, tile_top) = (be32(32)?, be32(36)?);
        let across = u64::from(right.checked_sub(tile_left)?).div_ceil(tile_width.max(1).into());
        let down = u64::from(bottom.checked_sub(tile_top)?).div_ceil(tile_height.max(1).into());
        let depth = *siz.get(42)?;
        Some(Self {
            columns: right.checked_sub(left)?,
            rows: bottom.checked_sub(top)?,
            tiles: across * down,
            components: u16::from_be_bytes(siz.get(40..42)?.try_into().ok()?),
            precision: (depth & 0x7f) + 1,
            signed: depth & 0x80 != 0,
        })
    }

    /// The sample as stored: clipped to its precision, signed ones to `bits` too and as two's complement.
    /// The codec adds half the range to signed components too, which is taken off again.
    fn stored(&self, value: f32, bits: u8) -> u16 {
        let half = 1_i32 << (self.precision - 1);
        let unsigned = (value.round_ties_even() as i32).clamp(0, 2 * half - 1);
        let held = 1_i32 << (bits.min(self.precision) - 1);
        if self.signed { (unsigned - half).clamp(-held, held - 1) as u16 } else { unsigned as u16 }
    }
}
