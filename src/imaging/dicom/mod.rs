//! DICOM: from the bytes of a Part 10 file to a raster, and to a file without a patient in it.
//!
//! The data elements are walked once without allocating (`file`), the header is read by
//! DICOM-rs, one frame is decompressed (`frame`), mapped by the Modality LUT (`modality`) and
//! kept with what its window needs (`presentation`). The `dicom*` crates end at this folder.
//! This room must never know of a path, a socket or an association: bytes come in.

mod attributes;
mod codes;
mod colour;
mod deidentify;
mod facts;
mod file;
mod frame;
mod jpeg;
mod jpeg2000;
mod jpeg_ls;
mod modality;
mod pixels;
mod presentation;
mod rle;
mod syntax;
mod unknown;

pub use deidentify::{DeidentificationReport, Deidentified, deidentify};
pub use facts::{Facts, View, facts};
pub use presentation::Presentation;

use super::decode::{DecodeOptions, Decoded, Header};
use super::limits::Claim;
use super::{DecodeError, DecodeLimits, Format, Warning, WarningCode};
use file::File;
use pixels::PixelDescription;

pub(super) const FORMAT: Format = Format::Dicom;

pub(super) fn damaged(problem: impl Into<String>) -> DecodeError {
    DecodeError::damaged(FORMAT, problem)
}

pub(super) fn probe(bytes: &[u8], limits: &DecodeLimits) -> Result<Header, DecodeError> {
    let file = File::read(bytes, limits)?;
    let pixels = PixelDescription::of(&file)?;
    Ok(Header {
        format: FORMAT,
        width: pixels.columns,
        height: pixels.rows,
        frames: pixels.frames,
        bits: pixels.bits_stored,
        estimated_bytes: pixels.estimated_bytes(),
    })
}

pub(super) fn decode(
    bytes: &[u8],
    limits: &DecodeLimits,
    options: &DecodeOptions,
) -> Result<Decoded, DecodeError> {
    let file = File::read(bytes, limits)?;
    let pixels = PixelDescription::of(&file)?;
    limits.check_claim(Claim {
        width: pixels.columns,
        height: pixels.rows,
        frames: pixels.frames,
        frame_bytes: pixels.frame_bytes(),
        file_bytes: bytes.len() as u64,
    })?;
    let mut warnings = Vec::new();
    let chosen = chosen_frame(&pixels, options, &mut warnings)?;
    let stored = frame::decode(&file, &pixels, chosen, &mut warnings)?;
    let (raster, presentation) = if pixels.photometric.is_monochrome() {
        let (raster, presentation) = modality::apply(&file.object, &pixels, stored, &mut warnings)?;
        (raster, Some(presentation))
    } else {
        (colour::to_rgb(&file.object, &pixels, stored)?, None)
    };
    let facts = Facts::of(&file);
    warnings.extend(facts.warnings(&options.expects));
    Ok(Decoded {
        format: FORMAT,
        raster,
        bits: pixels.bits_stored,
        pixel_aspect: attributes::pixel_aspect(&file.object),
        warnings,
        presentation,
        color: None,
    })
}

/// The frame to decode, from 0.
fn chosen_frame(
    pixels: &PixelDescription,
    options: &DecodeOptions,
    warnings: &mut Vec<Warning>,
) -> Result<u32, DecodeError> {
    match options.frame {
        Some(asked) if (1..=pixels.frames).contains(&asked) => Ok(asked - 1),
        Some(asked) => Err(DecodeError::Frame { asked, frames: pixels.frames }),
        None => {
            if pixels.frames > 1 {
                warnings.push(Warning::new(
                    WarningCode::FirstFrame,
                    format!("the file has {} frames; the first was used", pixels.frames),
                ));
            }
            Ok(0)
        }
    }
}
