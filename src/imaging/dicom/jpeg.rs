//! JPEG within DICOM: baseline and extended at 8 and 12 bits, lossless up to 16.
//!
//! Colours are left as they are coded: Photometric Interpretation says what they are.
//! This file must never convert a colour.

use libjpeg_turbo_rs::precision::{decompress_12bit_with_limits, decompress_lossless_arbitrary};
use libjpeg_turbo_rs::{ColorSpace, DecodeLimits, JpegError, PixelFormat};

use super::super::DecodeError;
use super::super::jpeg::{MAX_SCANS, open, problem};
use super::super::jpeg_scans::check_scans;
use super::super::raster::Samples;
use super::frame::{as_allocated, check_size};
use super::pixels::PixelDescription;
use super::{FORMAT, damaged};

pub(super) fn decode(bytes: &[u8], pixels: &PixelDescription) -> Result<Samples, DecodeError> {
    let frame =
        start_of_frame(bytes).ok_or_else(|| damaged("its JPEG image has no frame header"))?;
    let Frame { process, precision, size } = frame;
    // Before a decoder allocates by what the stream claims.
    check_size(pixels, size)?;
    if usize::from(precision) > usize::from(pixels.bits_allocated) {
        return Err(damaged("its JPEG image has more bits than Bits Allocated"));
    }
    match (process, precision) {
        // SOF3: lossless, sequential, Huffman.
        (0xc3, _) => lossless(bytes, pixels),
        (0xc0..=0xc2, 8) => cosine(bytes, pixels),
        (0xc1 | 0xc2, 12) => cosine_12(bytes, pixels),
        (0xc0..=0xc2, _) => {
            Err(DecodeError::unsupported(FORMAT, format!("JPEG extended of {precision} bits")))
        }
        (other, _) => {
            Err(DecodeError::unsupported(FORMAT, format!("JPEG process SOF{}", other & 0xf)))
        }
    }
}

/// What the frame header says (ISO/IEC 10918-1 B.2.2).
struct Frame {
    /// The marker's second byte.
    process: u8,
    /// Bits a sample.
    precision: u8,
    /// Columns, rows, components.
    size: (usize, usize, usize),
}

fn start_of_frame(bytes: &[u8]) -> Option<Frame> {
    let mut at = 2_usize;
    loop {
        let [mark, kind, high, low] = *bytes.get(at..at + 4)?.first_chunk::<4>()?;
        match kind {
            _ if mark != 0xff => return None,
            0xff => at += 1,
            // DHT, JPG and DAC share the row of the frame headers.
            0xc0..=0xcf if !matches!(kind, 0xc4 | 0xc8 | 0xcc) => {
                let [precision, r1, r2, c1, c2, components] =
                    *bytes.get(at + 4..at + 10)?.first_chunk::<6>()?;
                let side = |high, low| usize::from(u16::from_be_bytes([high, low]));
                let size = (side(c1, c2), side(r1, r2), components.into());
                return Some(Frame { process: kind, precision, size });
            }
            0xda => return None,
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])),
        }
    }
}

fn failed(error: JpegError) -> DecodeError {
    match error {
        JpegError::Unsupported(feature) => {
            DecodeError::unsupported(FORMAT, format!("a JPEG feature ({feature})"))
        }
        error => damaged(format!("its JPEG image cannot be decoded ({})", problem(&error))),
    }
}

fn cosine(bytes: &[u8], pixels: &PixelDescription) -> Result<Samples, DecodeError> {
    let mut reader = open(bytes).map_err(failed)?;
    // The coded components, whatever markers of JFIF or Adobe make of them.
    match reader.jpeg_color_space() {
        ColorSpace::Grayscale => {}
        ColorSpace::Rgb => reader.set_output_format(PixelFormat::Rgb),
        coded => reader.set_output_colorspace(coded),
    }
    let picture = reader.decode_image().map_err(failed)?;
    check_scans(bytes).map_err(damaged)?;
    Ok(as_allocated(picture.into_vec().into_iter().map(u16::from), pixels))
}

fn cosine_12(bytes: &[u8], pixels: &PixelDescription) -> Result<Samples, DecodeError> {
    let limits = DecodeLimits { max_scans: MAX_SCANS, ..DecodeLimits::default() };
    let picture = decompress_12bit_with_limits(bytes, &limits).map_err(failed)?;
    check_scans(bytes).map_err(damaged)?;
    Ok(as_allocated(picture.data.into_iter().map(i16::cast_unsigned), pixels))
}

fn lossless(bytes: &[u8], pixels: &PixelDescription) -> Result<Samples, DecodeError> {
    let picture = decompress_lossless_arbitrary(bytes).map_err(failed)?;
    Ok(as_allocated(picture.data.into_iter(), pixels))
}
