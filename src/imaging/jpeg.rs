//! JPEG: baseline and progressive, grey, colour and CMYK, turned upright by its Exif orientation.
//!
//! Decoded by libjpeg-turbo-rs rather than by way of `image`: its samples are those of libjpeg-turbo, with
//! which networks are trained.
//! This file must never pass a picture that breaks off in the middle as whole.

use image::DynamicImage;
use image::metadata::Orientation;
use libjpeg_turbo_rs::{ColorSpace, DecodeLimits as ReaderLimits, Decoder, JpegError, PixelFormat};

use super::decode::{Decoded, Header};
use super::jpeg_scans::check_scans;
use super::raster::Raster;
use super::{DecodeError, DecodeLimits, Format, Warning, WarningCode};

const FORMAT: Format = Format::Jpeg;

/// Scans of one picture; the densest script of a progressive encoder has some dozen, each costs a pass.
pub(super) const MAX_SCANS: usize = 64;

/// What a decoder's refusal means.
pub(super) fn problem(error: &JpegError) -> String {
    match error {
        JpegError::UnexpectedEof => {
            "its coded data end before its last block; a part is missing".to_owned()
        }
        other => other.to_string(),
    }
}

fn damaged(error: &JpegError) -> DecodeError {
    DecodeError::damaged(FORMAT, problem(error))
}

/// Sizes are bounded by [`DecodeLimits`], so the reader's own bound stays out of the way.
pub(super) fn open(bytes: &[u8]) -> Result<Decoder<'_>, JpegError> {
    let side = usize::from(u16::MAX);
    let limits = ReaderLimits {
        max_width: side,
        max_height: side,
        max_pixels: u64::MAX,
        max_scans: MAX_SCANS,
        max_memory: None,
    };
    Decoder::new_with_limits(bytes, limits)
}

pub(super) fn probe(bytes: &[u8]) -> Result<Header, DecodeError> {
    describe(&open(bytes).map_err(|error| damaged(&error))?)
}

fn describe(reader: &Decoder<'_>) -> Result<Header, DecodeError> {
    let frame = reader.header();
    let (width, height) = (u32::from(frame.width), u32::from(frame.height));
    if width == 0 || height == 0 {
        return Err(DecodeError::damaged(FORMAT, "its header says 0 pixels"));
    }
    if frame.precision != 8 || frame.is_lossless {
        let what = if frame.is_lossless { "the lossless process" } else { "samples of 12 bits" };
        return Err(DecodeError::unsupported(FORMAT, what));
    }
    // What is missing of it cannot be told: every sequence of bits is some picture.
    if reader.is_arithmetic() {
        return Err(DecodeError::unsupported(FORMAT, "arithmetic coding"));
    }
    // Planes of the components as coded and as spread out, the picture; of several scans the
    // 16-bit coefficients of every component are kept until the last one.
    let components = frame.components.len() as u64;
    let kept = if reader.has_multiple_scans() { 2 * components + 1 } else { 0 };
    let sample = 2 * components + if components > 1 { 3 } else { 1 } + kept;
    Ok(Header {
        format: FORMAT,
        width,
        height,
        frames: 1,
        bits: 8,
        estimated_bytes: u64::from(width) * u64::from(height) * sample,
    })
}

pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Decoded, DecodeError> {
    let mut reader = open(bytes).map_err(|error| damaged(&error))?;
    let header = describe(&reader)?;
    limits.check_still(&header, bytes)?;
    let coded = reader.jpeg_color_space();
    let (format, channels) = match coded {
        ColorSpace::Grayscale => (PixelFormat::Grayscale, 1),
        _ => (PixelFormat::Rgb, 3),
    };
    reader.set_output_format(format);
    let picture = reader.decode_image().map_err(|error| damaged(&error))?;
    let ended = check_scans(bytes).map_err(|problem| DecodeError::damaged(FORMAT, problem))?;
    let mut warnings = Vec::new();
    if !picture.warnings.is_empty() {
        warnings.push(Warning::new(
            WarningCode::DamagedTail,
            "the JPEG stream holds bytes that belong to no segment; they were passed over",
        ));
    }
    if !ended {
        warnings.push(Warning::new(
            WarningCode::DamagedTail,
            "the end-of-image marker is missing, all pixels were there",
        ));
    }
    if matches!(coded, ColorSpace::Cmyk | ColorSpace::Ycck) {
        warnings.push(Warning::new(
            WarningCode::CmykConverted,
            "the CMYK image was converted without its colour profile",
        ));
    }
    let orientation = picture.exif_orientation().and_then(Orientation::from_exif);
    let raster = Raster::from_u8((header.width, header.height), channels, picture.into_vec())
        .map_err(DecodeError::raster(FORMAT))?;
    let raster = upright(raster, orientation.unwrap_or(Orientation::NoTransforms))?;
    let mut decoded = Decoded::plain(FORMAT, raster, 8);
    decoded.warnings = warnings;
    Ok(decoded)
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
