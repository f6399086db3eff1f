//! One frame's stored samples, interleaved by pixel, whatever they were compressed with.
//!
//! This file must never decode more than the one frame that was asked for.

use std::io::Read;

use dicom_core::VR;
use flate2::read::DeflateDecoder;

use super::super::raster::Samples;
use super::super::{DecodeError, Warning, WarningCode};
use super::file::File;
use super::pixels::{Photometric, PixelDescription};
use super::syntax::Encoding;
use super::{FORMAT, damaged, jpeg, jpeg_ls, jpeg2000, rle};

/// The stored samples of frame `frame` (from 0): 8 or 16 bits as allocated.
pub(super) fn decode(
    file: &File<'_>,
    pixels: &PixelDescription,
    frame: u32,
    warnings: &mut Vec<Warning>,
) -> Result<Samples, DecodeError> {
    let stored = match file.encapsulated() {
        Some((offsets, fragments)) => {
            let bytes = frame_bytes(file.syntax.encoding, &offsets, &fragments, pixels, frame)?;
            match file.syntax.encoding {
                Encoding::Native => native(&bytes, pixels, 0, file, warnings)?,
                Encoding::DeflatedFrame => {
                    native(&inflate(&bytes, pixels)?, pixels, 0, file, warnings)?
                }
                Encoding::Rle => rle::decode(&bytes, pixels)?,
                Encoding::Jpeg => jpeg::decode(&bytes, pixels)?,
                Encoding::JpegLs => jpeg_ls::decode(&bytes, pixels)?,
                Encoding::Jpeg2000 => jpeg2000::decode(&bytes, pixels)?,
            }
        }
        None if file.syntax.encoding == Encoding::Native => {
            let bytes = file.native().unwrap_or_default();
            native(bytes, pixels, frame, file, warnings)?
        }
        None => return Err(damaged("its compressed pixel data is not in fragments")),
    };
    if stored.len() != pixels.samples() {
        return Err(damaged(format!(
            "its pixel data holds {} samples, Rows × Columns × Samples per Pixel is {}",
            stored.len(),
            pixels.samples()
        )));
    }
    Ok(stored)
}

/// The fragments of one frame, joined.
fn frame_bytes(
    encoding: Encoding,
    offsets: &[u32],
    fragments: &[&[u8]],
    pixels: &PixelDescription,
    frame: u32,
) -> Result<Vec<u8>, DecodeError> {
    let (frame, frames) = (frame as usize, pixels.frames as usize);
    if fragments.is_empty() {
        return Err(damaged("its pixel data has no fragment"));
    }
    if frames == 1 {
        return Ok(fragments.concat());
    }
    if fragments.len() == frames {
        return Ok(fragments[frame].to_vec());
    }
    let missing = || {
        damaged(format!(
            "it claims {frames} frames and has {} fragments; where frame {} begins is not known",
            fragments.len(),
            frame + 1
        ))
    };
    let joined = if offsets.len() == frames {
        // An offset counts from the first fragment's item header (PS3.5 A.4).
        let start = offsets[frame] as usize;
        let end = offsets.get(frame + 1).map_or(usize::MAX, |&end| end as usize);
        let mut at = 0;
        let mut joined = Vec::new();
        for fragment in fragments {
            if (start..end).contains(&at) {
                joined.extend_from_slice(fragment);
            }
            at += fragment.len() + 8;
        }
        joined
    } else {
        let begins: Vec<usize> = (0..fragments.len())
            .filter(|&i| fragments[i].starts_with(signature(encoding)))
            .collect();
        if signature(encoding).is_empty() || begins.len() != frames {
            return Err(missing());
        }
        let end = begins.get(frame + 1).copied().unwrap_or(fragments.len());
        fragments[begins[frame]..end].concat()
    };
    if joined.is_empty() { Err(missing()) } else { Ok(joined) }
}

/// What the first fragment of a frame begins with.
fn signature(encoding: Encoding) -> &'static [u8] {
    match encoding {
        Encoding::Jpeg | Encoding::JpegLs => b"\xff\xd8\xff",
        Encoding::Jpeg2000 => b"\xff\x4f\xff\x51",
        Encoding::Native | Encoding::Rle | Encoding::DeflatedFrame => b"",
    }
}

fn native(
    bytes: &[u8],
    pixels: &PixelDescription,
    frame: u32,
    file: &File<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Samples, DecodeError> {
    if pixels.photometric == Photometric::YbrFull422 {
        return Err(DecodeError::unsupported(FORMAT, "YBR_FULL_422 without compression"));
    }
    let frame_bytes = pixels.frame_bytes() as usize;
    let needed = frame_bytes.checked_mul(pixels.frames as usize);
    let needed = needed.ok_or_else(|| damaged("its frames are too large to address"))?;
    if file.encapsulated().is_none() && bytes.len() < needed {
        return Err(damaged(format!(
            "Rows × Columns × Number of Frames need {needed} bytes of pixel data, it has {}",
            bytes.len()
        )));
    }
    if file.encapsulated().is_none() && bytes.len() > needed + 1 {
        warnings.push(Warning::new(
            WarningCode::DamagedTail,
            "the file holds more pixel data than its rows and columns need",
        ));
    }
    let start = frame_bytes * frame as usize;
    let bytes = bytes
        .get(start..start + frame_bytes)
        .ok_or_else(|| damaged("its pixel data is shorter than one frame"))?;
    let swapped = file.syntax.big_endian;
    let words = bytes.as_chunks::<2>().0;
    let samples = match pixels.bits_allocated {
        // Bytes in 16-bit words swap places in a big-endian file (PS3.5 8.1.1 and Annex A.3).
        8 if swapped && file.pixel_data.as_ref().is_some_and(|data| data.vr == VR::OW) => {
            let mut swapped: Vec<u8> = words.iter().flat_map(|w| [w[1], w[0]]).collect();
            if bytes.len() % 2 == 1 {
                swapped.extend(file.native().and_then(|all| all.get(start + frame_bytes)));
            }
            Samples::U8(swapped)
        }
        8 => Samples::U8(bytes.to_vec()),
        _ if swapped => Samples::U16(words.iter().map(|w| u16::from_be_bytes(*w)).collect()),
        _ => Samples::U16(words.iter().map(|w| u16::from_le_bytes(*w)).collect()),
    };
    Ok(if pixels.planar { interleaved(samples, pixels) } else { samples })
}

/// One deflated frame, never longer than the frame ought to be.
fn inflate(bytes: &[u8], pixels: &PixelDescription) -> Result<Vec<u8>, DecodeError> {
    let mut frame = Vec::new();
    DeflateDecoder::new(bytes)
        .take(pixels.frame_bytes())
        .read_to_end(&mut frame)
        .map_err(|_| damaged("its deflated frame is broken or cut off"))?;
    Ok(frame)
}

/// Planes of channels to pixels of channels.
pub(super) fn interleaved(samples: Samples, pixels: &PixelDescription) -> Samples {
    fn weave<T: Copy>(v: &[T], plane: usize, planes: usize) -> Vec<T> {
        (0..plane).flat_map(|i| (0..planes).map(move |p| v[p * plane + i])).collect()
    }
    let (plane, planes) = (pixels.pixels(), pixels.samples_per_pixel);
    match samples {
        Samples::U8(v) if v.len() == plane * planes => Samples::U8(weave(&v, plane, planes)),
        Samples::U16(v) if v.len() == plane * planes => Samples::U16(weave(&v, plane, planes)),
        other => other,
    }
}

/// Values of a codec as stored samples of the width that the file allocates. A lossy codec may leave what
/// Bits Stored can hold: it is clipped there, since cutting its upper bits off would turn white to black.
pub(super) fn as_allocated(
    values: impl Iterator<Item = u16>,
    pixels: &PixelDescription,
) -> Samples {
    let clipped = !pixels.signed && pixels.high_bit + 1 == pixels.bits_stored;
    let most = if clipped { u16::MAX >> (16 - pixels.bits_stored) } else { u16::MAX };
    let values = values.map(|value| value.min(most));
    if pixels.bits_allocated == 8 {
        Samples::U8(values.map(|value| value as u8).collect())
    } else {
        Samples::U16(values.collect())
    }
}

/// Refuses a codec's frame whose size is not the file's.
pub(super) fn check_size(
    pixels: &PixelDescription,
    (columns, rows, channels): (usize, usize, usize),
) -> Result<(), DecodeError> {
    let expected = (pixels.columns as usize, pixels.rows as usize, pixels.samples_per_pixel);
    if (columns, rows, channels) == expected {
        return Ok(());
    }
    Err(damaged(format!(
        "Rows × Columns × Samples per Pixel is {} × {} × {}, its compressed image {rows} × \
         {columns} × {channels}",
        expected.1, expected.0, expected.2
    )))
}
