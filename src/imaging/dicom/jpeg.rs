//! JPEG within DICOM: baseline and extended at 8 bits, lossless up to 16.
//!
//! `jpeg-decoder` is the crate that has the lossless process. Colours are left as they are coded:
//! Photometric Interpretation says what they are. This file must never convert a colour.

use jpeg_decoder::{ColorTransform, Decoder, PixelFormat};

use super::super::DecodeError;
use super::super::raster::Samples;
use super::frame::check_size;
use super::pixels::PixelDescription;
use super::{FORMAT, damaged};

pub(super) fn decode(bytes: &[u8], pixels: &PixelDescription) -> Result<Samples, DecodeError> {
    let mut decoder = Decoder::new(bytes);
    decoder.set_color_transform(ColorTransform::None);
    decoder.read_info().map_err(refusal)?;
    let info = decoder.info().ok_or_else(|| damaged("its JPEG image has no header"))?;
    let channels = match info.pixel_format {
        PixelFormat::L8 | PixelFormat::L16 => 1,
        PixelFormat::RGB24 => 3,
        PixelFormat::CMYK32 => 4,
    };
    check_size(pixels, (info.width.into(), info.height.into(), channels))?;
    let decoded = decoder.decode().map_err(refusal)?;
    let wide = info.pixel_format == PixelFormat::L16;
    Ok(match (wide, pixels.bits_allocated) {
        (false, 8) => Samples::U8(decoded),
        (false, _) => Samples::U16(decoded.into_iter().map(u16::from).collect()),
        (true, 8) => return Err(damaged("its JPEG image has more bits than Bits Allocated")),
        (true, _) => {
            let words = decoded.as_chunks::<2>().0.iter();
            Samples::U16(words.map(|word| u16::from_ne_bytes(*word)).collect())
        }
    })
}

fn refusal(error: jpeg_decoder::Error) -> DecodeError {
    match error {
        jpeg_decoder::Error::Unsupported(feature) => {
            DecodeError::unsupported(FORMAT, format!("a JPEG feature ({feature:?})"))
        }
        error => damaged(format!("its JPEG image cannot be decoded ({error})")),
    }
}
