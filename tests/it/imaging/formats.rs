//! PNG and JPEG in all the shapes that the issue of decoding names.

use hilum::imaging::{
    DecodeLimits, DecodeOptions, Decoded, Format, Samples, WarningCode, decode, encode_png, probe,
};
use image::{DynamicImage, ExtendedColorType, ImageEncoder};

fn decoded(bytes: &[u8]) -> Decoded {
    decode(bytes, &DecodeLimits::default(), &DecodeOptions::default()).unwrap()
}

fn png(width: u32, height: u32, samples: &[u8], color: ExtendedColorType) -> Vec<u8> {
    let mut bytes = Vec::new();
    image::codecs::png::PngEncoder::new(&mut bytes)
        .write_image(samples, width, height, color)
        .unwrap();
    bytes
}

fn jpeg(width: u32, height: u32, samples: &[u8], color: ExtendedColorType) -> Vec<u8> {
    let mut bytes = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 100)
        .write_image(samples, width, height, color)
        .unwrap();
    bytes
}

#[test]
fn png_of_every_depth_and_colour() {
    let gray = decoded(&png(2, 1, &[3, 250], ExtendedColorType::L8));
    assert_eq!(gray.raster.samples(), &Samples::U8(vec![3, 250]));
    assert_eq!((gray.format, gray.bits, gray.pixel_aspect), (Format::Png, 8, 1.0));

    let wide: Vec<u8> = [513_u16, 65_535].iter().flat_map(|s| s.to_ne_bytes()).collect();
    let wide = decoded(&png(2, 1, &wide, ExtendedColorType::L16));
    assert_eq!(wide.raster.samples(), &Samples::U16(vec![513, 65_535]));
    assert_eq!((wide.raster.range(), wide.bits), ((0.0, 65_535.0), 16));

    let rgb = decoded(&png(1, 1, &[1, 2, 3], ExtendedColorType::Rgb8));
    assert_eq!((rgb.raster.channels(), rgb.raster.samples()), (3, &Samples::U8(vec![1, 2, 3])));

    let alpha = decoded(&png(1, 1, &[1, 2, 3, 0], ExtendedColorType::Rgba8));
    assert_eq!(alpha.raster.samples(), &Samples::U8(vec![1, 2, 3]));
    assert_eq!(alpha.warnings[0].code, WarningCode::AlphaDropped);
    let alpha = decoded(&png(1, 1, &[7, 9], ExtendedColorType::La8));
    assert_eq!(alpha.raster.samples(), &Samples::U8(vec![7]));
}

#[test]
fn what_is_written_is_read_again() {
    for (channels, samples) in [(1, vec![0, 1, 2, 3]), (3, (0..12).collect())] {
        let raster = hilum::imaging::Raster::from_u8((2, 2), channels, samples).unwrap();
        assert_eq!(decoded(&encode_png(&raster).unwrap()).raster, raster);
    }
}

#[test]
fn jpeg_is_grey_or_coloured_as_it_is_coded() {
    let ramp: Vec<u8> = (0..64 * 48).map(|i| (i % 64 * 4) as u8).collect();
    let gray = decoded(&jpeg(64, 48, &ramp, ExtendedColorType::L8));
    assert_eq!((gray.raster.channels(), gray.bits), (1, 8));
    let rgb: Vec<u8> = ramp.iter().flat_map(|&s| [s; 3]).collect();
    let file = jpeg(64, 48, &rgb, ExtendedColorType::Rgb8);
    let coloured = decoded(&file);
    assert_eq!(coloured.raster.channels(), 3);
    let Samples::U8(levels) = coloured.raster.samples() else { panic!("8 bits") };
    for (a, b) in levels.iter().zip(&rgb) {
        assert!(a.abs_diff(*b) <= 2, "{a} {b}");
    }
}

#[test]
fn jpeg_stands_upright_by_its_exif_orientation() {
    // A 16 × 8 image whose left half is white; orientation 6 turns it clockwise: top half white.
    let samples: Vec<u8> = (0..128).map(|i| if i % 16 < 8 { 255 } else { 0 }).collect();
    let plain = jpeg(16, 8, &samples, ExtendedColorType::L8);
    let mut exif =
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
    let mut file = plain[..2].to_vec();
    file.extend([0xff, 0xe1]);
    file.extend((exif.len() as u16 + 2).to_be_bytes());
    file.append(&mut exif);
    file.extend(&plain[2..]);
    let turned = decoded(&file).raster;
    assert_eq!((turned.width(), turned.height()), (8, 16));
    let Samples::U8(levels) = turned.samples() else { panic!("8 bits") };
    assert!(levels[0] > 250 && levels[7] > 250 && levels[8 * 15] < 5);
}

#[test]
fn a_probe_agrees_with_the_decoder() {
    let limits = DecodeLimits::default();
    for file in
        [png(5, 3, &[9; 15], ExtendedColorType::L8), jpeg(5, 3, &[9; 45], ExtendedColorType::Rgb8)]
    {
        let header = probe(&file, &limits).unwrap();
        let decoded = decoded(&file);
        assert_eq!((header.width, header.height), decoded.raster.size());
        assert_eq!((header.format, header.frames), (decoded.format, 1));
        assert!(header.estimated_bytes >= decoded.raster.samples().len() as u64);
    }
}

#[test]
fn the_image_crate_and_this_room_read_the_same_originals_but_for_rounding() {
    let Some(folder) = super::data("chest_xray_original/NORMAL") else { return };
    let mut compared = 0;
    for entry in std::fs::read_dir(folder).unwrap().take(3) {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let theirs = image::load_from_memory(&bytes).map(DynamicImage::into_luma8).unwrap();
        let Samples::U8(ours) = decoded(&bytes).raster.into_samples() else { panic!("8 bits") };
        // Its decoder, zune-jpeg, rounds its transform in its own way.
        let apart = ours.iter().zip(theirs.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
        assert_eq!((ours.len(), apart), (theirs.len(), Some(1)));
        compared += 1;
    }
    assert_eq!(compared, 3);
}
