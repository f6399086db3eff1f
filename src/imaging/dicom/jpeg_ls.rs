//! JPEG-LS within DICOM: lossless and near-lossless, one component, up to 16 bits.
//!
//! `pure_jpegls` needs no C++ toolchain and no `unsafe`, and decodes one component: a radiograph
//! has no more. The header is checked here first, because the crate trusts parts of it.
//! This file must never hand on a header whose size is not the file's.

use super::super::DecodeError;
use super::super::raster::Samples;
use super::frame::{as_allocated, check_size};
use super::pixels::PixelDescription;
use super::{FORMAT, damaged};

pub(super) fn decode(bytes: &[u8], pixels: &PixelDescription) -> Result<Samples, DecodeError> {
    let header = Header::read(bytes).ok_or_else(|| damaged("its JPEG-LS header is broken"))?;
    if header.components != 1 {
        let what = format!("JPEG-LS with {} components", header.components);
        return Err(DecodeError::unsupported(FORMAT, what));
    }
    check_size(pixels, (header.columns.into(), header.rows.into(), 1))?;
    if !(2..=pixels.bits_allocated).contains(&header.precision) {
        return Err(damaged(format!("its JPEG-LS precision is {} bits", header.precision)));
    }
    let (values, columns, rows) = jpegls::decode(bytes, pixels.columns, pixels.rows)
        .map_err(|error| damaged(format!("its JPEG-LS image cannot be decoded ({error})")))?;
    check_size(pixels, (columns as usize, rows as usize, 1))?;
    Ok(as_allocated(values.into_iter(), pixels))
}

/// The frame header, SOF55 (ISO/IEC 14495-1 C.2.2).
struct Header {
    precision: u8,
    rows: u16,
    columns: u16,
    components: u8,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let be = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let mut at = 2;
        loop {
            let (mark, length) = (be(at)?, be(at + 2)?);
            match mark {
                0xfff7 => {
                    return Some(Self {
                        precision: *bytes.get(at + 4)?,
                        rows: be(at + 5)?,
                        columns: be(at + 7)?,
                        components: *bytes.get(at + 9)?,
                    });
                }
                // A scan before the frame, or no marker at all.
                0xffda | 0..=0xfeff => return None,
                _ => at += 2 + usize::from(length.max(2)),
            }
        }
    }
}
