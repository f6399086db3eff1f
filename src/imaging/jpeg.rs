//! JPEG: baseline and progressive, grey, colour and CMYK, turned upright by its Exif orientation.
//!
//! Decoded by zune-jpeg directly rather than by way of `image`, so that a recipe that asks for
//! grey gets the luma plane without a detour through RGB.
//! This file must never pass a picture that breaks off in the middle as whole.

use image::DynamicImage;
use image::metadata::Orientation;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::decode::{Decoded, Header};
use super::jpeg_entropy::check_whole;
use super::raster::Raster;
use super::recipe::Color;
use super::{DecodeError, DecodeLimits, Format, Warning, WarningCode};

const FORMAT: Format = Format::Jpeg;

type Reader<'a> = JpegDecoder<ZCursor<&'a [u8]>>;

fn damaged(error: impl std::fmt::Debug) -> DecodeError {
    // The decoder's texts end with line breaks.
    let text = format!("{error:?}");
    DecodeError::damaged(FORMAT, text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn open(bytes: &[u8], options: DecoderOptions) -> Result<Reader<'_>, DecodeError> {
    let mut reader = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    reader.decode_headers().map_err(damaged)?;
    Ok(reader)
}

/// Sizes are bounded by [`DecodeLimits`], so the reader's own bound stays out of the way.
fn options() -> DecoderOptions {
    DecoderOptions::default()
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
}

pub(super) fn probe(bytes: &[u8]) -> Result<Header, DecodeError> {
    describe(&open(bytes, options())?)
}

fn describe(reader: &Reader<'_>) -> Result<Header, DecodeError> {
    let info = reader.info().ok_or_else(|| damaged("its header is missing"))?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    if width == 0 || height == 0 {
        return Err(DecodeError::damaged(FORMAT, "its header says 0 pixels"));
    }
    // A progressive file keeps 16-bit coefficients of every component until its last scan.
    let sample = if info.components > 1 { 3 } else { 1 } + 2 * u64::from(info.components);
    Ok(Header {
        format: FORMAT,
        width,
        height,
        frames: 1,
        bits: 8,
        estimated_bytes: u64::from(width) * u64::from(height) * sample,
    })
}

pub(super) fn decode(
    bytes: &[u8],
    limits: &DecodeLimits,
    color: Option<Color>,
) -> Result<Decoded, DecodeError> {
    let mut reader = open(bytes, options().set_strict_mode(true))
        .or_else(|_| open(bytes, options().set_strict_mode(false)))?;
    let header = describe(&reader)?;
    limits.check_still(&header, bytes)?;
    let input = reader.input_colorspace().unwrap_or(ColorSpace::YCbCr);
    let output = output_space(input, color);
    let orientation = reader.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let mut warnings = Vec::new();
    let ended = ends(bytes);

    reader.set_options(reader.options().jpeg_set_out_colorspace(output));
    let samples = match reader.decode() {
        Ok(samples) => samples,
        Err(error) if !ended => {
            return Err(DecodeError::damaged(FORMAT, format!("it is cut off ({error:?})")));
        }
        Err(_) => {
            let lenient = options().set_strict_mode(false).jpeg_set_out_colorspace(output);
            let samples = open(bytes, lenient)?.decode().map_err(damaged)?;
            warnings.push(Warning::new(
                WarningCode::DamagedTail,
                "the JPEG stream breaks the standard; what could be decoded was used",
            ));
            samples
        }
    };
    let channels = if output == ColorSpace::Luma { 1 } else { 3 };
    check_whole(bytes, &samples, header.width as usize, channels)
        .map_err(|problem| DecodeError::damaged(FORMAT, problem))?;
    if !ended {
        warnings.push(Warning::new(
            WarningCode::DamagedTail,
            "the end-of-image marker is missing, all pixels were there",
        ));
    }
    if matches!(input, ColorSpace::CMYK | ColorSpace::YCCK) {
        warnings.push(Warning::new(
            WarningCode::CmykConverted,
            "the CMYK image was converted without its colour profile",
        ));
    }
    let raster = Raster::from_u8((header.width, header.height), channels, samples)
        .map_err(DecodeError::raster(FORMAT))?;
    let raster = upright(raster, orientation.unwrap_or(Orientation::NoTransforms))?;
    let mut decoded = Decoded::plain(FORMAT, raster, 8);
    decoded.warnings = warnings;
    Ok(decoded)
}

/// Grey straight from the luma plane where grey is asked for or all there is.
fn output_space(input: ColorSpace, color: Option<Color>) -> ColorSpace {
    match (input, color) {
        (ColorSpace::Luma, _) | (ColorSpace::YCbCr, Some(Color::Gray)) => ColorSpace::Luma,
        _ => ColorSpace::RGB,
    }
}

/// Whether an end-of-image marker stands after the first scan's beginning. Within entropy-coded
/// data no other byte pair can be FF D9; an Exif thumbnail's lies before it.
fn ends(bytes: &[u8]) -> bool {
    let mut at = 2_usize;
    while let Some([0xff, marker, high, low]) = bytes.get(at..at + 4) {
        match marker {
            0xff => at += 1,
            0x01 | 0xd0..=0xd8 => at += 2,
            // From the end: that is where it stands in a whole file.
            0xda => return bytes[at..].windows(2).rev().any(|pair| pair == [0xff, 0xd9]),
            _ => at += 2 + usize::from(u16::from_be_bytes([*high, *low])),
        }
    }
    // Not walkable: the decoder decides, and what it decodes is believed.
    true
}

fn upright(raster: Raster, orientation: Orientation) -> Result<Raster, DecodeError> {
    if orientation == Orientation::NoTransforms {
        return Ok(raster);
    }
    let (size, channels) = (raster.size(), raster.channels());
    let super::Samples::U8(samples) = raster.into_samples() else {
        return Err(DecodeError::unsupported(FORMAT, "samples of more than 8 bits"));
    };
    let lost = || DecodeError::damaged(FORMAT, "its pixels do not fill its size");
    let mut picture = if channels == 1 {
        DynamicImage::ImageLuma8(
            image::GrayImage::from_raw(size.0, size.1, samples).ok_or_else(lost)?,
        )
    } else {
        DynamicImage::ImageRgb8(
            image::RgbImage::from_raw(size.0, size.1, samples).ok_or_else(lost)?,
        )
    };
    picture.apply_orientation(orientation);
    let size = (picture.width(), picture.height());
    Raster::from_u8(size, channels, picture.into_bytes()).map_err(DecodeError::raster(FORMAT))
}
