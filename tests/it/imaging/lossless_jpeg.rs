//! JPEG's lossless process within DICOM: every sample comes back, and a stream that lacks a part is refused.

use hilum::imaging::{DecodeError, DecodeLimits, DecodeOptions, Decoded, Samples, decode};
use proptest::prelude::*;

use super::dicom_file::{file, fragments, gray8};

/// JPEG Lossless, first-order prediction (process 14, selection value 1).
const SYNTAX: &str = "1.2.840.10008.1.2.4.70";

/// A segment: its marker, and its length before its content.
fn segment(marker: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff, marker];
    bytes.extend((content.len() as u16 + 2).to_be_bytes());
    bytes.extend(content);
    bytes
}

/// Grey 8-bit samples by ISO/IEC 10918-1 Annex H: headers, and the entropy-coded data behind them.
/// The categories 0 to 8 have codes of four bits each, which are their own numbers.
fn encode(width: usize, samples: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let sides = [(samples.len() / width) as u16, width as u16].map(u16::to_be_bytes);
    let mut header = vec![0xff, 0xd8];
    // A comment, so that the header has an even length.
    header.extend(segment(0xfe, &[0]));
    header.extend(segment(0xc3, &[&[8], sides.as_flattened(), &[1, 1, 0x11, 0]].concat()));
    let lengths = [0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header.extend(segment(0xc4, &[&[0], &lengths[..], &[0, 1, 2, 3, 4, 5, 6, 7, 8]].concat()));
    header.extend(segment(0xda, &[1, 1, 0, 1, 0, 0]));
    let mut bits = Vec::new();
    let mut put = |value: u32, length: u32| {
        bits.extend((0..length).rev().map(|bit| value >> bit & 1 == 1));
    };
    for (i, &sample) in samples.iter().enumerate() {
        let predicted = match i {
            0 => 128,
            _ if i % width == 0 => samples[i - width],
            _ => samples[i - 1],
        };
        let difference = i32::from(sample) - i32::from(predicted);
        let category = 32 - difference.unsigned_abs().leading_zeros();
        put(category, 4);
        let negative = i32::from(difference < 0);
        put((difference - negative) as u32 & ((1 << category) - 1), category);
    }
    bits.resize(bits.len().next_multiple_of(8), true);
    let mut data = Vec::new();
    for byte in bits.as_chunks::<8>().0 {
        let byte = byte.iter().fold(0, |byte, &bit| byte << 1 | u8::from(bit));
        data.push(byte);
        if byte == 0xff {
            data.push(0);
        }
    }
    (header, data)
}

fn opened((width, height): (usize, usize), parts: &[&[u8]]) -> Result<Decoded, DecodeError> {
    let mut elements = gray8(height as u16, width as u16);
    let parts: Vec<Vec<u8>> = parts
        .iter()
        .map(|part| {
            let mut part = part.to_vec();
            part.resize(part.len().next_multiple_of(2), 0);
            part
        })
        .collect();
    elements.push(fragments(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    decode(&file(SYNTAX, &elements), &DecodeLimits::default(), &DecodeOptions::default())
}

/// The whole stream in one fragment, but for the bytes of the data that `lost` says, in hundredths.
fn without(
    size: (usize, usize),
    samples: &[u8],
    lost: std::ops::Range<usize>,
) -> Result<Decoded, DecodeError> {
    let (header, data) = encode(size.0, samples);
    let place = |percent: usize| {
        let mut at = data.len() * percent / 100;
        // Not between the two bytes of a stuffed FF.
        while at > 0 && at < data.len() && data[at - 1] == 0xff {
            at -= 1;
        }
        at
    };
    let stream =
        [&header, &data[..place(lost.start)], &data[place(lost.end)..], &[0xff, 0xd9][..]].concat();
    opened(size, &[&stream])
}

fn picture() -> impl Strategy<Value = ((usize, usize), Vec<u8>)> {
    (16usize..60, 16usize..60).prop_flat_map(|(width, height)| {
        (Just((width, height)), prop::collection::vec(any::<u8>(), width * height))
    })
}

proptest! {
    #[test]
    fn every_sample_comes_back((size, samples) in picture()) {
        let whole = without(size, &samples, 0..0).unwrap();
        prop_assert_eq!(whole.raster.samples(), &Samples::U8(samples));
    }

    #[test]
    fn a_stream_whose_middle_is_lost_is_refused((size, samples) in picture()) {
        let error = without(size, &samples, 33..66).unwrap_err().to_string();
        prop_assert!(error.contains("the DICOM file is damaged"), "{error}");
    }

    #[test]
    fn a_stream_that_lacks_its_end_is_refused_though_it_has_its_marker(
        (size, samples) in picture(), kept in 1usize..95,
    ) {
        let error = without(size, &samples, kept..100).unwrap_err().to_string();
        prop_assert!(error.contains("the DICOM file is damaged"), "{error}");
    }

    #[test]
    fn a_frame_whose_middle_fragment_is_missing_is_refused((size, samples) in picture()) {
        let (header, data) = encode(size.0, &samples);
        let third = data.len() / 6 * 2;
        let end = [&data[2 * third..], &[0xff, 0xd9]].concat();
        let parts = [&[&header, &data[..third]].concat()[..], &data[third..2 * third], &end];
        // Fragments have even lengths, and padding within the stream would be data.
        assert_eq!(parts[0].len() % 2, 0);
        prop_assert!(opened(size, &parts).is_ok());
        prop_assert!(opened(size, &[parts[0], parts[2]]).is_err());
    }
}
