//! JPEG within DICOM: baseline and extended at 8 bits, lossless up to 16.
//!
//! The discrete-cosine processes are decoded by zune-jpeg, as JPEG files are; `jpeg-decoder` is the
//! crate that has the lossless process. Colours are left as they are coded: Photometric
//! Interpretation says what they are. This file must never convert a colour.

use jpeg_decoder::{Decoder, PixelFormat};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::super::DecodeError;
use super::super::jpeg_entropy::check_whole;
use super::super::raster::Samples;
use super::frame::{as_allocated, check_size};
use super::pixels::PixelDescription;
use super::{FORMAT, damaged};

pub(super) fn decode(bytes: &[u8], pixels: &PixelDescription) -> Result<Samples, DecodeError> {
    let (frame, precision) =
        start_of_frame(bytes).ok_or_else(|| damaged("its JPEG image has no frame header"))?;
    match frame {
        // SOF3: lossless, sequential, Huffman.
        0xc3 => lossless(bytes, pixels),
        0xc0..=0xc2 if precision == 8 => cosine(bytes, pixels),
        0xc0..=0xc2 => {
            Err(DecodeError::unsupported(FORMAT, format!("JPEG extended of {precision} bits")))
        }
        other => Err(DecodeError::unsupported(FORMAT, format!("JPEG process SOF{}", other & 0xf))),
    }
}

/// The marker's second byte and the precision of the frame header (ISO/IEC 10918-1 B.2.2).
fn start_of_frame(bytes: &[u8]) -> Option<(u8, u8)> {
    let mut at = 2_usize;
    loop {
        let [mark, kind, high, low] = *bytes.get(at..at + 4)?.first_chunk::<4>()?;
        match kind {
            _ if mark != 0xff => return None,
            0xff => at += 1,
            // DHT, JPG and DAC share the row of the frame headers.
            0xc0..=0xcf if !matches!(kind, 0xc4 | 0xc8 | 0xcc) => {
                return Some((kind, *bytes.get(at + 4)?));
            }
            0xda => return None,
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])),
        }
    }
}

fn cosine(bytes: &[u8], pixels: &PixelDescription) -> Result<Samples, DecodeError> {
    let failed = |error| damaged(format!("its JPEG image cannot be decoded ({error:?})"));
    let side = usize::from(u16::MAX);
    let options =
        DecoderOptions::default().set_strict_mode(true).set_max_width(side).set_max_height(side);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(failed)?;
    let info = decoder.info().ok_or_else(|| damaged("its JPEG image has no header"))?;
    check_size(pixels, (info.width.into(), info.height.into(), info.components.into()))?;
    // The coded components, whatever markers of JFIF or Adobe make of them.
    let coded = decoder.input_colorspace().unwrap_or(ColorSpace::YCbCr);
    decoder.set_options(decoder.options().jpeg_set_out_colorspace(coded));
    let decoded = decoder.decode().map_err(failed)?;
    let pixel = usize::from(info.components);
    check_whole(bytes, &decoded, info.width.into(), pixel).map_err(damaged)?;
    Ok(as_allocated(decoded.into_iter().map(u16::from), pixels))
}

fn lossless(bytes: &[u8], pixels: &PixelDescription) -> Result<Samples, DecodeError> {
    let failed = |error: jpeg_decoder::Error| match error {
        jpeg_decoder::Error::Unsupported(feature) => {
            DecodeError::unsupported(FORMAT, format!("a JPEG feature ({feature:?})"))
        }
        error => damaged(format!("its JPEG image cannot be decoded ({error})")),
    };
    let mut decoder = Decoder::new(bytes);
    decoder.read_info().map_err(failed)?;
    let info = decoder.info().ok_or_else(|| damaged("its JPEG image has no header"))?;
    let channels = match info.pixel_format {
        PixelFormat::L8 | PixelFormat::L16 => 1,
        PixelFormat::RGB24 => 3,
        PixelFormat::CMYK32 => 4,
    };
    check_size(pixels, (info.width.into(), info.height.into(), channels))?;
    let decoded = decoder.decode().map_err(failed)?;
    let pixel = info.pixel_format.pixel_bytes();
    check_whole(bytes, &decoded, info.width.into(), pixel).map_err(damaged)?;
    match (decoded.len() / pixels.samples(), pixels.bits_allocated) {
        (1, _) => Ok(as_allocated(decoded.into_iter().map(u16::from), pixels)),
        (2, 16) => {
            let words = decoded.as_chunks::<2>().0.iter();
            Ok(Samples::U16(words.map(|word| u16::from_ne_bytes(*word)).collect()))
        }
        _ => Err(damaged("its JPEG image has more bits than Bits Allocated")),
    }
}
