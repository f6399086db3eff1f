//! Files that no one should send and someone will: each is refused by what is wrong with it.

use hilum::domain::{ErrorKind, Fault};
use hilum::imaging::{DecodeError, DecodeLimits, DecodeOptions, WarningCode, decode, probe};
use image::{ExtendedColorType, ImageEncoder};
use proptest::prelude::*;

use super::dicom_file::{EXPLICIT, element, file, fragments, gray8, image, text, us};

fn refused(bytes: &[u8]) -> DecodeError {
    decode(bytes, &DecodeLimits::default(), &DecodeOptions::default()).unwrap_err()
}

fn says(bytes: &[u8], words: &str) {
    let error = refused(bytes).to_string();
    assert!(error.contains(words), "expected '{words}' in '{error}'");
}

fn sample_png(width: u32, height: u32) -> Vec<u8> {
    let samples: Vec<u8> = (0..width * height).map(|i| (i * 7 % 251) as u8).collect();
    let mut bytes = Vec::new();
    image::codecs::png::PngEncoder::new(&mut bytes)
        .write_image(&samples, width, height, ExtendedColorType::L8)
        .unwrap();
    bytes
}

fn sample_jpeg(width: u32, height: u32) -> Vec<u8> {
    let samples: Vec<u8> = (0..width * height).map(|i| (i * 7 % 251) as u8).collect();
    let mut bytes = Vec::new();
    image::codecs::jpeg::JpegEncoder::new(&mut bytes)
        .write_image(&samples, width, height, ExtendedColorType::L8)
        .unwrap();
    bytes
}

fn sample_dicom() -> Vec<u8> {
    let pixels: Vec<u8> = (0..64 * 64).map(|i| (i * 7 % 251) as u8).collect();
    image(vec![text(8, 0x60, "CS", "CR")], 64, 64, &pixels)
}

/// A PNG chunk with its checksum.
pub fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
    bytes.extend(kind);
    bytes.extend(body);
    let mut crc = u32::MAX;
    for &byte in &bytes[4..] {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    bytes.extend((!crc).to_be_bytes());
    bytes
}

fn png_header(width: u32, height: u32, depth: u8, color: u8) -> Vec<u8> {
    let mut body = [width.to_be_bytes(), height.to_be_bytes()].concat();
    body.extend([depth, color, 0, 0, 0]);
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &body)].concat()
}

/// A PNG file that claims to be so large and holds no pixel.
pub fn claiming_png(width: u32, height: u32) -> Vec<u8> {
    [png_header(width, height, 8, 0), chunk(b"IEND", &[])].concat()
}

/// A PNG file that says it has three frames.
pub fn animated_png() -> Vec<u8> {
    let still = sample_png(8, 8);
    let mut animated = still[..33].to_vec();
    animated.extend(chunk(b"acTL", &[0, 0, 0, 3, 0, 0, 0, 0]));
    animated.extend(&still[33..]);
    animated
}

#[test]
fn empty_and_foreign_files_are_called_what_they_are() {
    assert_eq!(refused(b""), DecodeError::Empty);
    says(b"<!DOCTYPE html><html>not an image</html>", "an HTML page");
    says(b"GIF89a..............", "a GIF image");
    says(b"hello", "too short");
    says(&[0; 4096], "no known image format");
    assert_eq!(refused(b"%PDF-1.7 ...").kind(), ErrorKind::UnsupportedMedia);
}

/// Whether a decoder panicked inside and was caught.
fn panicked(error: &DecodeError) -> bool {
    error.to_string().contains("broke the decoder")
}

#[test]
fn every_sixteenth_of_a_file_is_an_error_and_no_panic() {
    for (name, whole) in
        [("png", sample_png(64, 64)), ("jpeg", sample_jpeg(64, 64)), ("dicom", sample_dicom())]
    {
        decode(&whole, &DecodeLimits::default(), &DecodeOptions::default()).unwrap();
        for sixteenth in 1..16 {
            let part = &whole[..whole.len() * sixteenth / 16];
            let error = decode(part, &DecodeLimits::default(), &DecodeOptions::default());
            let error = error.expect_err(&format!("{name} cut at {sixteenth}/16"));
            assert_ne!(error.kind(), ErrorKind::Internal, "{name}: {error}");
            assert!(!panicked(&error), "{name} cut at {sixteenth}/16: {error}");
        }
    }
}

#[test]
fn real_files_cut_at_every_sixteenth_are_refused() {
    let Some(folder) = super::data("dicom") else { return };
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let whole = std::fs::read(&path).unwrap();
        for sixteenth in 1..16 {
            let part = &whole[..whole.len() * sixteenth / 16];
            let result = decode(part, &DecodeLimits::default(), &DecodeOptions::default());
            let error = result.expect_err(&format!("{} cut at {sixteenth}/16", path.display()));
            assert!(!panicked(&error), "{} cut at {sixteenth}/16: {error}", path.display());
        }
    }
}

#[test]
fn a_png_that_claims_too_much_is_refused_before_it_costs_anything() {
    let huge = claiming_png(100_000, 100_000);
    says(&huge, "100000 pixels across; 20000 are allowed (limits.image.max_side)");
    assert_eq!(refused(&huge).kind(), ErrorKind::TooLarge);
    // Within the sides and the pixels, but with 64 bits a pixel too much memory.
    let deep = [png_header(7_900, 7_900, 16, 6), chunk(b"IEND", &[])].concat();
    says(&deep, "limits.image.max_frame_bytes");
    // Within all of these, but a kilobyte cannot hold it.
    let hollow = [png_header(7_900, 7_900, 8, 0), chunk(b"IEND", &[])].concat();
    says(&hollow, "limits.image.max_ratio");
    let limits = DecodeLimits { max_bytes: 10, ..DecodeLimits::default() };
    let error = decode(&sample_png(8, 8), &limits, &DecodeOptions::default()).unwrap_err();
    assert!(error.to_string().contains("limits.image.max_bytes"), "{error}");
}

#[test]
fn an_animated_png_and_a_bad_palette_are_refused() {
    let still = sample_png(4, 4);
    let mut animated = still[..33].to_vec();
    animated.extend(chunk(b"acTL", &[0, 0, 0, 3, 0, 0, 0, 0]));
    animated.extend(&still[33..]);
    says(&animated, "animated (3 frames)");

    // One palette entry, index 1 used: deflate's stored block holds filter 0 and sample 1.
    let stored = [0x78, 0x01, 1, 2, 0, 0xfd, 0xff, 0, 1, 0, 3, 0, 2];
    let palette = [
        png_header(1, 1, 8, 3),
        chunk(b"PLTE", &[9, 9, 9]),
        chunk(b"IDAT", &stored),
        chunk(b"IEND", &[]),
    ]
    .concat();
    says(&palette, "palette");
}

#[test]
fn tiny_and_thin_images_are_images() {
    for (width, height) in [(1, 1), (1, 10_000), (10_000, 1)] {
        for bytes in [sample_png(width, height), sample_jpeg(width, height)] {
            let decoded = decode(&bytes, &DecodeLimits::default(), &DecodeOptions::default());
            assert_eq!(decoded.unwrap().raster.size(), (width, height));
        }
    }
}

#[test]
fn a_dicom_object_without_pixels_is_named() {
    let report = file(
        EXPLICIT,
        &[text(8, 0x16, "UI", "1.2.840.10008.5.1.4.1.1.88.11"), text(8, 0x60, "CS", "SR")],
    );
    says(&report, "Basic Text SR Storage) holds no pixel data");
    // A report that carries Rows and Columns is a report still.
    let class = |uid| vec![text(8, 0x16, "UI", uid), text(8, 0x60, "CS", "SR")];
    let with_rows = |uid| file(EXPLICIT, &[class(uid), gray8(2, 2)].concat());
    says(
        &with_rows("1.2.840.10008.5.1.4.1.1.88.33"),
        "object (Comprehensive SR Storage) holds no pixel",
    );
    says(&with_rows("1.2.840.10008.5.1.4.1.1.104.1"), "(Encapsulated PDF Storage) holds no pixel");
    says(&with_rows("1.2.840.10008.5.1.4.1.1.1.1"), "pixel data (7FE0,0010) is missing");
    says(&file(EXPLICIT, &gray8(2, 2)), "pixel data (7FE0,0010) is missing");
    says(&file(EXPLICIT, &class("1.2.3.4")), "(of an unknown SOP class) holds no pixel data");
    // A DICOMDIR names its class in the file meta information alone.
    let mut directory = file(EXPLICIT, &[]);
    let uid = b"1.2.840.10008.5.1.4.1.1.1\0";
    let at = directory.windows(uid.len()).position(|window| window == uid).unwrap();
    directory.splice(at - 2..at + uid.len(), *b"\x14\x001.2.840.10008.1.3.10");
    says(&directory, "(Media Storage Directory Storage) holds no pixel data");
}

#[test]
fn dicom_pixels_that_do_not_fit_their_header_are_refused() {
    says(&image(vec![], 4, 4, &[0; 14]), "need 16 bytes of pixel data, it has 14");
    says(&image(vec![], 0, 4, &[]), "Rows × Columns is 0 × 4");
    says(&image(vec![], u16::MAX, 4, &[0; 4]), "limits.image.max_side");
    let mut short = gray8(1, 1);
    short.extend([us(0x28, 0x1101, 0), element(0x7fe0, 0x10, "OB", &[0])]);
    short[1] = text(0x28, 4, "CS", "PALETTE COLOR");
    says(&file(EXPLICIT, &short), "palette descriptor");
    let long =
        decode(&image(vec![], 1, 1, &[5; 40]), &DecodeLimits::default(), &DecodeOptions::default());
    assert_eq!(long.unwrap().warnings[0].code, WarningCode::DamagedTail);
}

#[test]
fn missing_fragments_and_foreign_syntaxes_are_named() {
    let with = |syntax: &str, pixels: Vec<u8>| {
        let mut elements = gray8(2, 2);
        elements.push(pixels);
        file(syntax, &elements)
    };
    says(&with("1.2.840.10008.1.2.4.50", fragments(&[])), "no fragment");
    says(&with("1.2.840.10008.1.2.4.50", fragments(&[b"nothing!"])), "no frame header");
    says(&with("1.2.840.10008.1.2.4.90", fragments(&[b"nothing!"])), "JPEG 2000 header");
    says(&with("1.2.840.10008.1.2.4.80", fragments(&[b"nothing!"])), "JPEG-LS header");
    says(&with("1.2.840.10008.1.2.5", fragments(&[b"nothing!"])), "RLE header");
    says(&with("1.2.840.10008.1.2.4.102", fragments(&[b"x!"])), "MPEG-4");
    says(&with("1.2.3.4", fragments(&[b"x!"])), "not in PS3.6");
    // Retired, and still of a name.
    for (uid, name) in [
        ("1.2.840.10008.1.2.4.52", "'JPEG Extended (Process 3 & 5) (Retired)'"),
        ("1.2.840.10008.1.2.4.66", "'JPEG Lossless, Hierarchical (Process 29) (Retired)'"),
        ("1.2.840.10008.1.2.6.2", "'XML Encoding (Retired)'"),
    ] {
        says(&with(uid, fragments(&[b"x!"])), &format!("{name} ({uid})"));
    }
}

#[test]
fn elements_that_lie_about_their_length_or_nest_without_end_are_refused() {
    let mut lies = file(EXPLICIT, &[]);
    lies.extend([8, 0, 0x60, 0, b'O', b'B', 0, 0, 0xf0, 0xff, 0xff, 0xff]);
    says(&lies, "claims 4294967280 bytes");
    let mut nested = file(EXPLICIT, &[]);
    for _ in 0..100_000 {
        nested.extend([8, 0, 0x15, 0x11, b'S', b'Q', 0, 0, 0xff, 0xff, 0xff, 0xff]);
        nested.extend([0xfe, 0xff, 0, 0xe0, 0xff, 0xff, 0xff, 0xff]);
    }
    says(&nested, "nest deeper");
}

#[test]
fn a_deflated_bomb_is_cut_short() {
    use std::io::Write as _;
    let mut bomb = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    let mut header = gray8(16, 16).concat();
    header.extend([0xe0, 0x7f, 0x10, 0, b'O', b'W', 0, 0, 0, 0, 0, 0x10]);
    bomb.write_all(&header).unwrap();
    for _ in 0..64 {
        bomb.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let mut bytes = file("1.2.840.10008.1.2.1.99", &[]);
    bytes.extend(bomb.finish().unwrap());
    let limits = DecodeLimits { max_ratio: 100, ..DecodeLimits::default() };
    let error = decode(&bytes, &limits, &DecodeOptions::default()).unwrap_err();
    assert!(matches!(error, DecodeError::Limit { limit: "max_ratio", .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any bytes after a signature, and any damage to a good file, end in an answer.
    #[test]
    fn damage_never_panics(
        which in 0usize..3,
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        keep in any::<prop::sample::Index>(),
    ) {
        let mut bytes = match which {
            0 => sample_png(24, 17),
            1 => sample_jpeg(24, 17),
            _ => sample_dicom(),
        };
        for (at, value) in cuts {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(keep.index(bytes.len() + 1));
        let limits = DecodeLimits::default();
        let header = probe(&bytes, &limits);
        let decoded = decode(&bytes, &limits, &DecodeOptions::default());
        if let Err(error) = &decoded {
            prop_assert!(!panicked(error), "{error}");
        }
        if let Ok(decoded) = decoded {
            prop_assert!(header.is_ok());
            let raster = &decoded.raster;
            let pixels = u64::from(raster.width()) * u64::from(raster.height());
            prop_assert!(pixels <= limits.max_pixels);
        }
    }
}
