//! JPEG streams of which coded data are missing are told from whole ones, whatever their end looks like.

use hilum::imaging::{DecodeError, DecodeLimits, DecodeOptions, Decoded, decode};
use image::{ExtendedColorType, ImageEncoder};
use proptest::prelude::*;

fn opened(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    decode(bytes, &DecodeLimits::default(), &DecodeOptions::default())
}

/// A picture of noise above `plain` rows of one value.
fn jpeg(width: u32, height: u32, plain: u32, color: ExtendedColorType) -> Vec<u8> {
    let channels = if color == ExtendedColorType::L8 { 1 } else { 3 };
    let noisy = width * (height - plain) * channels;
    let mut state = 1_u32;
    let mut samples: Vec<u8> = (0..noisy)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    samples.resize((width * height * channels) as usize, 9);
    let mut bytes = Vec::new();
    image::codecs::jpeg::JpegEncoder::new(&mut bytes)
        .write_image(&samples, width, height, color)
        .unwrap();
    bytes
}

/// Where the coded data begin.
fn data(bytes: &[u8]) -> usize {
    let mut at = 2;
    loop {
        let length = 2 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
        if bytes[at + 1] == 0xda {
            return at + length;
        }
        at += length;
    }
}

const COLOURS: [ExtendedColorType; 2] = [ExtendedColorType::L8, ExtendedColorType::Rgb8];

proptest! {
    #[test]
    fn whole_pictures_are_taken_however_plain_they_end(
        width in 1u32..70, height in 1u32..70, plain in 0u32..70, color in 0usize..2,
    ) {
        let bytes = jpeg(width, height, plain.min(height), COLOURS[color]);
        prop_assert!(opened(&bytes).is_ok());
    }

    #[test]
    fn a_picture_that_lacks_its_later_part_is_refused_though_it_has_its_end_marker(
        width in 40u32..90, height in 40u32..90, color in 0usize..2, kept in 1usize..90,
    ) {
        let whole = jpeg(width, height, 0, COLOURS[color]);
        let begun = data(&whole);
        let mut cut = begun + (whole.len() - begun) * kept / 100;
        // Not between the two bytes of a stuffed FF.
        while whole[cut - 1] == 0xff {
            cut -= 1;
        }
        let bytes = [&whole[..cut], &[0xff, 0xd9]].concat();
        prop_assert!(opened(&bytes).is_err());
    }

    #[test]
    fn a_picture_whose_middle_is_lost_is_refused(
        width in 60u32..120, height in 60u32..120, color in 0usize..2,
    ) {
        let whole = jpeg(width, height, 0, COLOURS[color]);
        let begun = data(&whole);
        let third = (whole.len() - begun) / 3;
        let bytes = [&whole[..begun + third], &whole[begun + 2 * third..]].concat();
        prop_assert!(opened(&bytes).is_err());
    }
}

/// Where each scan header of a stream begins, and its end marker.
fn scans(bytes: &[u8]) -> Vec<usize> {
    let marked = bytes.windows(2).enumerate();
    marked.filter(|(_, two)| matches!(two, [0xff, 0xda | 0xd9])).map(|(at, _)| at).collect()
}

#[test]
fn a_progressive_picture_that_lacks_a_scan_or_a_part_of_one_is_refused() {
    let whole = std::fs::read("fuzz/corpus/jpeg/progressive").unwrap();
    assert!(opened(&whole).is_ok());
    let scans = scans(&whole);
    assert!(scans.len() > 5, "{scans:?}");
    for pair in scans.windows(2) {
        // Huffman tables stand between two scans: what is taken out is the scan and its tables' successor.
        let without = [&whole[..pair[0]], &whole[pair[1]..]].concat();
        assert!(opened(&without).is_err(), "without the scan at {}", pair[0]);
        let length = usize::from(u16::from_be_bytes([whole[pair[0] + 2], whole[pair[0] + 3]]));
        let half = pair[0] + 2 + length + (pair[1] - pair[0] - 2 - length) / 2;
        let cut = [&whole[..half], &[0xff, 0xd9]].concat();
        assert!(opened(&cut).is_err(), "cut within the scan at {}", pair[0]);
    }
    let last = scans[scans.len() - 2];
    let soft = [&whole[..last], &[0xff, 0xd9]].concat();
    let error = opened(&soft).unwrap_err().to_string();
    assert!(error.contains("a scan of its coded data is missing"), "{error}");
}

#[test]
fn arithmetic_coding_is_refused_by_name() {
    let mut bytes = jpeg(40, 40, 0, ExtendedColorType::L8);
    let frame = bytes.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
    bytes[frame + 1] = 0xc9;
    let error = opened(&bytes).unwrap_err().to_string();
    assert!(error.contains("arithmetic coding"), "{error}");
}
