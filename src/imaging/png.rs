//! PNG in and out.
//!
//! The header is read by itself first, so that a file that claims too much is refused before a
//! byte is allocated for it; the pixels are decoded by the `image` crate.
//! This file must never give transparency a colour: it is dropped, and said so.

use std::io::Cursor;

use image::codecs::png::{PngDecoder, PngEncoder};
use image::{ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder};

use super::decode::{Decoded, Header};
use super::raster::{Raster, Samples};
use super::{DecodeError, DecodeLimits, Format, Warning, WarningCode};

const FORMAT: Format = Format::Png;

/// Reads the header (ISO/IEC 15948, 11.2.2) and looks for an animation before the first `IDAT`.
pub(super) fn probe(bytes: &[u8]) -> Result<Header, DecodeError> {
    let cut = || DecodeError::damaged(FORMAT, "it is cut off within its header");
    let be = |at: usize| -> Result<u32, DecodeError> {
        let word = bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).ok_or_else(cut)?;
        Ok(u32::from_be_bytes(word))
    };
    if bytes.get(12..16).ok_or_else(cut)? != b"IHDR" {
        return Err(DecodeError::damaged(FORMAT, "its first chunk is not IHDR"));
    }
    let (width, height) = (be(16)?, be(20)?);
    let (depth, color) = (*bytes.get(24).ok_or_else(cut)?, *bytes.get(25).ok_or_else(cut)?);
    // The standard's own bound (7.1); the products below stay within 64 bits.
    let side = 1..=0x7fff_ffff;
    if !side.contains(&width) || !side.contains(&height) {
        return Err(DecodeError::damaged(FORMAT, "its header claims an impossible size"));
    }
    if !matches!(depth, 1 | 2 | 4 | 8 | 16) {
        return Err(DecodeError::damaged(FORMAT, "its bit depth is none of PNG's"));
    }
    // Palettes are expanded to 8-bit RGB, transparency is decoded before it is dropped.
    let channels: u64 = match color {
        0 => 2,
        2 | 3 | 6 => 4,
        4 => 2,
        _ => return Err(DecodeError::damaged(FORMAT, "its colour type is none of PNG's")),
    };
    Ok(Header {
        format: FORMAT,
        width,
        height,
        frames: animation_frames(bytes).unwrap_or(1),
        bits: if color == 3 { 8 } else { depth },
        estimated_bytes: u64::from(width)
            * u64::from(height)
            * channels
            * u64::from(depth.div_ceil(8)),
    })
}

/// The frame count of `acTL`, if one stands before the first `IDAT`.
fn animation_frames(bytes: &[u8]) -> Option<u32> {
    let mut at = 8_usize;
    loop {
        let length = u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize;
        match bytes.get(at + 4..at + 8)? {
            b"IDAT" => return None,
            b"acTL" => {
                return Some(u32::from_be_bytes(bytes.get(at + 8..at + 12)?.try_into().ok()?));
            }
            _ => at = at.checked_add(length)?.checked_add(12)?,
        }
    }
}

pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Decoded, DecodeError> {
    let header = probe(bytes)?;
    limits.check_still(&header, bytes)?;
    let damaged = |error: image::ImageError| DecodeError::damaged(FORMAT, unquoted(&error));
    let mut allowed = image::Limits::no_limits();
    // Rows in flight and ancillary chunks come on top of the pixels.
    allowed.max_alloc = Some(header.estimated_bytes.saturating_mul(2).saturating_add(32 << 20));
    let mut decoder = PngDecoder::with_limits(Cursor::new(bytes), allowed).map_err(damaged)?;
    if decoder.is_apng().map_err(damaged)? {
        return Err(DecodeError::Animated { frames: header.frames });
    }
    if is_indexed(bytes) {
        check_indices(bytes, header.estimated_bytes)?;
    }
    let orientation = decoder.orientation().map_err(damaged)?;
    let transparent = decoder.color_type().has_alpha();
    let mut picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    picture.apply_orientation(orientation);
    let raster = to_raster(picture)?;
    let mut decoded = Decoded::plain(FORMAT, raster, header.bits);
    if transparent {
        decoded.warnings.push(Warning::new(
            WarningCode::AlphaDropped,
            "the image has transparency, which was dropped",
        ));
    }
    Ok(decoded)
}

/// A decoder's words without the chunk names that it quotes: bytes of the file.
fn unquoted(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let parts = text.split("ChunkType {").enumerate();
    let kept = parts.map(|(at, part)| match part.split_once('}') {
        Some((_, rest)) if at > 0 => rest,
        _ => part,
    });
    kept.collect::<Vec<_>>().join("of its type")
}

/// Whether the colour type is 3, samples that point into a palette.
fn is_indexed(bytes: &[u8]) -> bool {
    bytes.get(25) == Some(&3)
}

/// Refuses samples beyond the palette, which decoders show as black without a word. Indexed images
/// are rare here, so that the price is a second decoding of them.
fn check_indices(bytes: &[u8], frame_bytes: u64) -> Result<(), DecodeError> {
    let damaged = |error: ::png::DecodingError| DecodeError::damaged(FORMAT, unquoted(&error));
    let allowed = usize::try_from(frame_bytes).unwrap_or(usize::MAX).saturating_add(32 << 20);
    let limits = ::png::Limits { bytes: allowed };
    let mut decoder = ::png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(::png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(damaged)?;
    let entries = reader.info().palette.as_ref().map_or(0, |palette| palette.len() / 3);
    let (width, depth) = (reader.info().width as usize, reader.info().bit_depth as usize);
    let size = reader.output_buffer_size().unwrap_or(0);
    let mut packed = vec![0; size];
    let frame = reader.next_frame(&mut packed).map_err(damaged)?;
    let mask = u8::MAX >> (8 - depth);
    let index = |row: &[u8], x: usize| {
        let shift = 8 - depth - (x * depth) % 8;
        usize::from(row[x * depth / 8] >> shift & mask)
    };
    let rows = packed.chunks_exact(frame.line_size.max(1));
    let greatest = rows.flat_map(|row| (0..width).map(move |x| index(row, x))).max();
    match greatest {
        Some(greatest) if greatest >= entries => Err(DecodeError::damaged(
            FORMAT,
            format!("a sample is {greatest} and its palette has {entries} entries"),
        )),
        _ => Ok(()),
    }
}

fn to_raster(picture: DynamicImage) -> Result<Raster, DecodeError> {
    let size = (picture.width(), picture.height());
    let (channels, samples) = match picture.color() {
        ColorType::L8 => (1, Samples::U8(picture.into_luma8().into_raw())),
        ColorType::La8 => {
            (1, Samples::U8(picture.into_luma_alpha8().pixels().map(|p| p.0[0]).collect()))
        }
        ColorType::L16 => (1, Samples::U16(picture.into_luma16().into_raw())),
        ColorType::La16 => {
            (1, Samples::U16(picture.into_luma_alpha16().pixels().map(|p| p.0[0]).collect()))
        }
        ColorType::Rgb16 | ColorType::Rgba16 => (3, Samples::U16(picture.into_rgb16().into_raw())),
        _ => (3, Samples::U8(picture.into_rgb8().into_raw())),
    };
    let white = if matches!(samples, Samples::U16(_)) { 65_535.0 } else { 255.0 };
    Raster::new(size, channels, samples, (0.0, white)).map_err(DecodeError::raster(FORMAT))
}

/// An 8-bit grey or RGB raster as a PNG file, without any metadata.
///
/// # Errors
/// [`DecodeError::Unsupported`] if the raster is not 8-bit grey or RGB.
pub fn encode_png(raster: &Raster) -> Result<Vec<u8>, DecodeError> {
    let refuse = || DecodeError::unsupported(FORMAT, "samples other than 8-bit grey or RGB");
    let color = match raster.channels() {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        _ => return Err(refuse()),
    };
    let Samples::U8(samples) = raster.samples() else { return Err(refuse()) };
    let mut file = Vec::new();
    PngEncoder::new(&mut file)
        .write_image(samples, raster.width(), raster.height(), color)
        .map_err(|error| DecodeError::damaged(FORMAT, error.to_string()))?;
    Ok(file)
}
