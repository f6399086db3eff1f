//! DICOM against golden values of pydicom, and the grey-scale pipeline on files made for it.

use hilum::imaging::preprocess::{RunOptions, run, show};
use hilum::imaging::recipe::Recipe;
use hilum::imaging::{
    DecodeLimits, DecodeOptions, Decoded, Expectation, Samples, WarningCode, decode, dicom, probe,
};
use serde::Deserialize;

use super::dicom_file::{EXPLICIT, element, file, fragments, gray8, image, text, us};

#[derive(Deserialize)]
struct Golden {
    file: String,
    refused_by_pydicom: Option<String>,
    #[serde(default)]
    shape: [usize; 3],
    #[serde(default)]
    tolerance: f64,
    #[serde(default)]
    mean: f64,
    #[serde(default)]
    samples: Vec<(usize, usize, usize, f64)>,
    #[serde(default)]
    shown: Vec<(usize, usize, f64)>,
}

fn recipe(steps: &str) -> Recipe {
    let recipe: Recipe = toml::from_str(&format!("step = [{steps}]")).unwrap();
    recipe.check().unwrap();
    recipe
}

fn gray_voi() -> Recipe {
    recipe(r#"{ op = "decode", color = "gray" }, { op = "voi" }"#)
}

fn decoded(bytes: &[u8]) -> Decoded {
    decode(bytes, &DecodeLimits::default(), &DecodeOptions::default()).unwrap()
}

fn codes(decoded: &Decoded) -> Vec<WarningCode> {
    decoded.warnings.iter().map(|warning| warning.code).collect()
}

#[test]
fn values_are_pydicoms() {
    let Some(folder) = super::data("dicom") else { return };
    let goldens: Vec<Golden> = serde_json::from_str(include_str!("dicom_golden.json")).unwrap();
    assert_eq!(goldens.len(), 18);
    for golden in goldens {
        let name = &golden.file;
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let result = decode(&bytes, &DecodeLimits::default(), &DecodeOptions::default());
        if golden.refused_by_pydicom.is_some() {
            println!("{name}: {}", result.unwrap_err());
            continue;
        }
        let decoded = result.unwrap_or_else(|error| panic!("{name}: {error}"));
        let raster = &decoded.raster;
        let [rows, columns, channels] = golden.shape;
        assert_eq!(
            (raster.height() as usize, raster.width() as usize, raster.channels()),
            (rows, columns, channels),
            "{name}"
        );
        let values = raster.to_f32();
        for (y, x, c, expected) in golden.samples {
            let ours = f64::from(values[(y * columns + x) * channels + c]);
            assert!((ours - expected).abs() <= golden.tolerance, "{name} ({y}, {x}): {ours}");
        }
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
        let apart = (mean - golden.mean).abs();
        assert!(apart <= golden.tolerance + 1e-6 * golden.mean.abs(), "{name}: {mean}");

        let Some(presentation) = &decoded.presentation else { continue };
        let shown = show(&gray_voi(), &decoded);
        if shown.warnings.iter().any(|warning| warning.code == WarningCode::NoWindow) {
            continue;
        }
        let (low, high) = shown.raster.range();
        let values = shown.raster.to_f32();
        for (y, x, expected) in golden.shown {
            let ours = values[y * columns + x];
            let ours = if presentation.is_inverted() { low + high - ours } else { ours };
            // A lossy level is stretched by the window's slope, 1.1 at most in these files.
            let allowed = 1.0 + 1.1 * golden.tolerance;
            assert!((f64::from(ours).abs() - expected).abs() <= allowed, "{name} ({y}, {x})");
        }
    }
}

#[test]
fn a_probe_costs_no_pixels_and_says_what_there_is() {
    let bytes = image(vec![text(0x28, 8, "IS", "3")], 2, 3, &[0; 18]);
    let header = probe(&bytes, &DecodeLimits::default()).unwrap();
    assert_eq!((header.width, header.height, header.frames, header.bits), (3, 2, 3, 8));
    assert!(header.estimated_bytes >= 6);
}

#[test]
fn the_first_frame_is_chosen_aloud_and_another_on_request() {
    let pixels: Vec<u8> = (0..18).collect();
    let bytes = image(vec![text(0x28, 8, "IS", "3")], 2, 3, &pixels);
    let first = decoded(&bytes);
    assert_eq!(codes(&first), [WarningCode::FirstFrame]);
    assert_eq!(first.raster.samples(), &Samples::U8((0..6).collect()));
    let options = |frame| DecodeOptions { frame: Some(frame), ..DecodeOptions::default() };
    let third = decode(&bytes, &DecodeLimits::default(), &options(3)).unwrap();
    assert!(third.warnings.is_empty());
    assert_eq!(third.raster.samples(), &Samples::U8((12..18).collect()));
    let error = decode(&bytes, &DecodeLimits::default(), &options(4)).unwrap_err();
    assert_eq!(error.to_string(), "frame 4 was asked for; the file has frames 1 to 3");
}

#[test]
fn padding_is_black_and_takes_no_part() {
    // 255 is padding around values of 10 to 20; MONOCHROME1 makes the least value white.
    let mut elements = vec![us(0x28, 2, 1), text(0x28, 4, "CS", "MONOCHROME1")];
    elements.extend(gray8(1, 6).split_off(2));
    elements.push(us(0x28, 0x120, 255));
    elements.push(element(0x7fe0, 0x10, "OB", &[255, 10, 15, 20, 255, 20]));
    let decoded = decoded(&file(EXPLICIT, &elements));
    let voi = recipe(
        r#"{ op = "decode", color = "gray" },
           { op = "voi", percentiles = { low = 0, high = 100 } }, { op = "quantise8" }"#,
    );
    let options = RunOptions { keep_quantised: true, ..RunOptions::default() };
    let row = run(&voi, &decoded, &options).unwrap();
    let Samples::U8(levels) = row.quantised.unwrap().into_samples() else { panic!("8 bits") };
    assert_eq!(levels, [0, 255, 128, 0, 0, 0]);
    // Four values take part: 255, 127.5, 0, 0.
    assert!((row.statistics.mean - (255.0 + 128.0) / 4.0).abs() < 1e-9, "{:?}", row.statistics);
}

#[test]
fn a_recipes_window_stands_in_for_the_files_or_goes_before_it() {
    let with_window = |window: bool| {
        let mut header = Vec::new();
        let mut elements = gray8(1, 3);
        if window {
            elements.push(text(0x28, 0x1050, "DS", "100.5"));
            elements.push(text(0x28, 0x1051, "DS", "101"));
        }
        elements.push(element(0x7fe0, 0x10, "OB", &[50, 100, 150]));
        header.append(&mut elements);
        decoded(&file(EXPLICIT, &header))
    };
    let levels = |steps: &str, decoded: &Decoded| {
        let recipe = recipe(&format!(r#"{{ op = "decode", color = "gray" }}, {steps}"#));
        show(&recipe, decoded).raster.to_f32()
    };
    let own = "window = { center = 100.0, width = 40.0, function = \"linear_exact\" }";
    let plain = r#"{ op = "voi" }"#.to_owned();
    // The file's window maps 50 to 0, 100 to 127.5 and 150 to 255.
    assert_eq!(levels(&plain, &with_window(true)), [0.0, 127.5, 255.0]);
    let after = format!(r#"{{ op = "voi", {own} }}"#);
    assert_eq!(levels(&after, &with_window(true)), [0.0, 127.5, 255.0]);
    assert_eq!(levels(&after, &with_window(false)), [0.0, 127.5, 255.0]);
    let narrow = own.replace("40.0", "400.0");
    let first = format!(r#"{{ op = "voi", prefer = "recipe", {narrow} }}"#);
    assert_eq!(levels(&first, &with_window(true)), [95.625, 127.5, 159.375]);
}

#[test]
fn a_lung_window_is_for_ct_in_hounsfield_units_only() {
    let with_modality = |modality: &str| {
        let mut elements = vec![text(8, 0x60, "CS", modality)];
        elements.extend(gray8(1, 2));
        elements.push(text(0x28, 0x1052, "DS", "-1350"));
        elements.push(text(0x28, 0x1053, "DS", "6"));
        elements.push(element(0x7fe0, 0x10, "OB", &[0, 125]));
        decoded(&file(EXPLICIT, &elements))
    };
    let lung = recipe(r#"{ op = "decode", color = "gray" }, { op = "voi", ct_lung = true }"#);
    // −1350 is black and −600 in the middle of (−1350, 180), give or take half a unit of the
    // standard's linear function.
    let (ct, radiograph) = (with_modality("CT"), with_modality("CR"));
    let shown = show(&lung, &ct);
    let (low, high) = shown.raster.range();
    let shown = shown.raster.to_f32();
    assert_eq!(shown[0], low);
    assert!((shown[1] - (low + high) / 2.0).abs() < 1.0, "{shown:?}");
    let other = show(&lung, &radiograph);
    assert_eq!(other.warnings[0].code, WarningCode::NoWindow);
}

#[test]
fn what_the_file_says_becomes_warnings_without_its_words() {
    let header = vec![
        text(8, 0x60, "CS", "DX"),
        text(0x10, 0x1010, "AS", "047Y"),
        text(0x18, 0x15, "CS", "SKULL"),
        text(0x18, 0x5101, "CS", "LL"),
        text(0x28, 0x301, "CS", "YES"),
    ];
    let bytes = image(header, 1, 1, &[9]);
    let expects = Expectation { age_years: Some(1.0..=5.0), frontal_chest: true };
    let options = DecodeOptions { expects, ..DecodeOptions::default() };
    let decoded = decode(&bytes, &DecodeLimits::default(), &options).unwrap();
    assert_eq!(
        codes(&decoded),
        [
            WarningCode::LateralView,
            WarningCode::NotChest,
            WarningCode::AgeOutOfRange,
            WarningCode::BurnedInAnnotation,
        ]
    );
    let said = format!("{:?}", decoded.warnings);
    assert!(!said.contains("47") && !said.contains("SKULL"), "{said}");
    let facts = dicom::facts(&bytes, &DecodeLimits::default()).unwrap();
    assert_eq!(facts.view, Some(dicom::View::Lateral));
}

#[test]
fn codes_and_dates_become_the_same_warnings() {
    let code = |group, number, scheme: &str, value: &str, meaning: &str| {
        let content = [
            text(8, 0x100, "SH", value),
            text(8, 0x102, "SH", scheme),
            text(8, 0x104, "LO", meaning),
        ]
        .concat();
        let mut item = vec![0xfe, 0xff, 0x00, 0xe0];
        item.extend((content.len() as u32).to_le_bytes());
        item.extend(content);
        element(group, number, "SQ", &item)
    };
    let born =
        |birth: &str, study: &str| vec![text(8, 0x20, "DA", study), text(0x10, 0x30, "DA", birth)];
    let age = [WarningCode::AgeOutOfRange].as_slice();
    let view = [WarningCode::LateralView].as_slice();
    let body = [WarningCode::NotChest].as_slice();
    let cases = [
        (born("19500101", "20200101"), age),
        (born("20140301", "20200229"), [].as_slice()),
        (born("20140229", "20200229"), age),
        (born("20190102", "20200101"), age),
        (born("20190101", "20200101"), &[]),
        (born("20210101", "20200101"), &[]),
        (born("about 1950", "20200101"), &[]),
        (born("19500101", ""), &[]),
        // The age that the file names goes before.
        ([born("19500101", "20200101"), vec![text(0x10, 0x1010, "AS", "003Y")]].concat(), &[]),
        ([born("19500101", "20200101"), vec![text(0x10, 0x1010, "AS", "XXX")]].concat(), age),
        (vec![code(0x54, 0x220, "SRT", "R-10236", "seitlich")], view),
        (vec![code(0x54, 0x220, "SNM3", "R-10232", "")], view),
        (vec![code(0x54, 0x220, "SCT", "399173006", "")], view),
        (vec![code(0x54, 0x220, "99X", "1", "right lateral")], view),
        (vec![code(0x54, 0x220, "99X", "R-10236", "")], &[]),
        (vec![code(0x54, 0x220, "SCT", "272479007", "")], &[]),
        (vec![text(0x18, 0x5101, "CS", "AP"), code(0x54, 0x220, "SRT", "R-10236", "")], &[]),
        (vec![text(0x18, 0x5101, "CS", "ODD"), code(0x54, 0x220, "SRT", "R-10236", "")], view),
        (vec![code(8, 0x2218, "SRT", "T-D8700", "Hand")], body),
        (vec![code(8, 0x2218, "SCT", "85562004", "")], body),
        (vec![code(8, 0x2218, "SRT", "T-D3000", "")], &[]),
        (vec![code(8, 0x2218, "SCT", "39607008", "")], &[]),
        (vec![code(8, 0x2218, "99X", "7", "Brustkorb")], &[]),
        (vec![code(8, 0x2218, "SRT", "T-D8700", ""), text(0x18, 0x15, "CS", "CHEST")], body),
        (vec![code(8, 0x2218, "SRT", "T-D3000", ""), text(0x18, 0x15, "CS", "SKULL")], body),
    ];
    let expects = Expectation { age_years: Some(1.0..=5.999), frontal_chest: true };
    let options = DecodeOptions { expects, ..DecodeOptions::default() };
    for (n, (header, expected)) in cases.into_iter().enumerate() {
        let bytes = image(header, 1, 1, &[9]);
        let decoded = decode(&bytes, &DecodeLimits::default(), &options).unwrap();
        assert_eq!(codes(&decoded), expected, "case {n}");
        let said = format!("{:?}", decoded.warnings);
        assert!(["1950", "2014", "R-10", "T-D8", "Hand"].iter().all(|w| !said.contains(w)));
    }
}

#[test]
fn pixels_need_not_be_square() {
    let bytes = image(vec![text(0x28, 0x34, "IS", "2\\1")], 1, 4, &[0, 1, 2, 3]);
    let decoded = decoded(&bytes);
    assert_eq!(decoded.pixel_aspect, 2.0);
    assert_eq!(show(&gray_voi(), &decoded).statistics.aspect, 2.0);
}

#[test]
fn fragments_without_an_offset_table_are_split_where_frames_begin() {
    // RLE of two frames of 2 × 1 in two fragments; then one of them missing.
    let rle = |a: u8, b: u8| {
        let mut frame = [1_u32, 64].map(u32::to_le_bytes).concat();
        frame.resize(64, 0);
        frame.extend([1, a, b, 0]);
        frame
    };
    let (one, two) = (rle(1, 2), rle(3, 4));
    let with = |parts: &[&[u8]]| {
        let mut elements = vec![text(0x28, 8, "IS", "2")];
        elements.extend(gray8(1, 2));
        elements.push(fragments(parts));
        file("1.2.840.10008.1.2.5", &elements)
    };
    let options = DecodeOptions { frame: Some(2), ..DecodeOptions::default() };
    let limits = DecodeLimits::default();
    let second = decode(&with(&[&one, &two]), &limits, &options).unwrap();
    assert_eq!(second.raster.samples(), &Samples::U8(vec![3, 4]));
    let error = decode(&with(&[&one]), &limits, &options).unwrap_err().to_string();
    assert!(error.contains("claims 2 frames and has 1 fragments"), "{error}");
}

/// A lossless stream of 16 bits in an object that stores 12.
#[test]
fn what_a_codec_gives_beyond_bits_stored_is_clipped_and_not_cut() {
    let values = [5_u16, 4095, 4096, 4097, 60_000, 0, 7, 8];
    let stream = libjpeg_turbo_rs::precision::compress_16bit(&values, 4, 2, 1, 1, 0).unwrap();
    let mut elements = super::dicom_file::gray8(2, 4);
    for (number, value) in [(0x100, 16), (0x101, 12), (0x102, 11)] {
        let at = elements.iter().position(|e| e[..4] == [0x28, 0, number as u8, 1]).unwrap();
        elements[at] = super::dicom_file::us(0x28, number, value);
    }
    elements.push(super::dicom_file::fragments(&[&stream]));
    let bytes = super::dicom_file::file("1.2.840.10008.1.2.4.70", &elements);
    let decoded = decode(&bytes, &DecodeLimits::default(), &DecodeOptions::default()).unwrap();
    let shown: Vec<f64> = match decoded.raster.samples() {
        Samples::U16(v) => v.iter().map(|v| f64::from(*v)).collect(),
        Samples::F32(v) => v.iter().map(|v| f64::from(*v)).collect(),
        Samples::U8(_) => panic!("12 bits"),
    };
    assert_eq!(shown, [5.0, 4095.0, 4095.0, 4095.0, 4095.0, 0.0, 7.0, 8.0]);
}
