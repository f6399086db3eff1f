//! RLE Lossless (PS3.5 Annex G): byte planes, each packed as PackBits.
//!
//! Written here because the reader of `dicom-transfer-syntax-registry` 0.10 indexes past a segment
//! that is cut short, which is a panic. This file must never write beyond one plane.

use super::super::DecodeError;
use super::super::raster::Samples;
use super::damaged;
use super::pixels::PixelDescription;

/// The 64 bytes of the header: a count and fifteen offsets.
const HEADER: usize = 64;

pub(super) fn decode(bytes: &[u8], pixels: &PixelDescription) -> Result<Samples, DecodeError> {
    let header = bytes.get(..HEADER).ok_or_else(|| damaged("its RLE header is cut off"))?;
    let words: Vec<usize> =
        header.as_chunks::<4>().0.iter().map(|w| u32::from_le_bytes(*w) as usize).collect();
    let bytes_a_sample = usize::from(pixels.bits_allocated / 8);
    let segments = pixels.samples_per_pixel * bytes_a_sample;
    if words[0] != segments {
        return Err(damaged(format!("its RLE frame has {} segments, not {segments}", words[0])));
    }
    let mut planes = Vec::with_capacity(segments);
    for segment in 0..segments {
        let start = words[1 + segment];
        let end = if segment + 1 < segments { words[2 + segment] } else { bytes.len() };
        let packed = bytes.get(start..end).filter(|_| start >= HEADER);
        let packed = packed.ok_or_else(|| damaged("its RLE segments lie outside the frame"))?;
        planes.push(unpack(packed, pixels.pixels())?);
    }
    let channels = pixels.samples_per_pixel;
    let samples = 0..pixels.pixels() * channels;
    Ok(match bytes_a_sample {
        1 => Samples::U8(samples.map(|i| planes[i % channels][i / channels]).collect()),
        // The most significant byte's plane comes first (G.2).
        _ => Samples::U16(
            samples
                .map(|i| {
                    let (channel, at) = (i % channels, i / channels);
                    u16::from_be_bytes([planes[2 * channel][at], planes[2 * channel + 1][at]])
                })
                .collect(),
        ),
    })
}

/// One PackBits segment of `length` bytes once unpacked (G.3.2).
fn unpack(packed: &[u8], length: usize) -> Result<Vec<u8>, DecodeError> {
    let mut plane = Vec::with_capacity(length);
    let mut rest = packed;
    while plane.len() < length {
        let Some((&code, after)) = rest.split_first() else { break };
        rest = after;
        match code {
            0..=127 => {
                let run = (usize::from(code) + 1).min(rest.len()).min(length - plane.len());
                plane.extend_from_slice(&rest[..run]);
                rest = &rest[run..];
            }
            129..=255 => {
                let Some((&byte, after)) = rest.split_first() else { break };
                rest = after;
                let run = (257 - usize::from(code)).min(length - plane.len());
                plane.resize(plane.len() + run, byte);
            }
            128 => {}
        }
    }
    if plane.len() < length {
        return Err(damaged(format!(
            "an RLE segment gives {} bytes, {length} are needed",
            plane.len()
        )));
    }
    Ok(plane)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacks_literals_and_runs_and_refuses_a_short_segment() {
        let packed = [2, 10, 20, 30, 254, 7, 128, 0, 9];
        assert_eq!(unpack(&packed, 7).unwrap(), [10, 20, 30, 7, 7, 7, 9]);
        assert_eq!(unpack(&packed, 4).unwrap(), [10, 20, 30, 7]);
        assert!(unpack(&packed, 8).unwrap_err().to_string().contains("7 bytes, 8"));
    }
}
