//! Elements of VR UN and undefined length (PS3.5 6.2.2): read, and nothing within survives.

use hilum::imaging::dicom::{View, deidentify, facts};
use hilum::imaging::{DecodeLimits, DecodeOptions, PseudonymKey, decode};

use super::deidentify::holds;
use super::dicom_file::{EXPLICIT, element, file, fragments, gray8, image, text};
use super::prepare::Workplace;

const ENDLESS: [u8; 4] = [0xff; 4];
const SEQUENCE_END: [u8; 8] = [0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0];
const PLANTED: [&str; 3] = ["Zaphod", "9.8.7.6.5", "19521103"];

fn tag(group: u16, number: u16) -> Vec<u8> {
    [group.to_le_bytes(), number.to_le_bytes()].concat()
}

/// An element in implicit VR little endian.
fn implicit(group: u16, number: u16, value: &[u8]) -> Vec<u8> {
    let length = (value.len() as u32).to_le_bytes();
    [tag(group, number).as_slice(), &length, value].concat()
}

/// An item of undefined or defined length.
fn item(endless: bool, content: &[u8]) -> Vec<u8> {
    if endless {
        let end = [0xfe, 0xff, 0x0d, 0xe0, 0, 0, 0, 0];
        return [tag(0xfffe, 0xe000).as_slice(), &ENDLESS, content, &end].concat();
    }
    implicit(0xfffe, 0xe000, content)
}

/// A sequence in implicit VR little endian, of undefined or defined length.
fn implicit_sequence(group: u16, number: u16, endless: bool, items: &[u8]) -> Vec<u8> {
    if endless {
        return [tag(group, number).as_slice(), &ENDLESS, items, &SEQUENCE_END].concat();
    }
    implicit(group, number, items)
}

/// A UN of undefined length in explicit VR little endian.
fn unknown(group: u16, number: u16, items: &[u8]) -> Vec<u8> {
    [tag(group, number).as_slice(), b"UN\0\0", &ENDLESS, items, &SEQUENCE_END].concat()
}

/// Planted words, themselves within a sequence of the item.
fn content(endless_item: bool, endless_sequence: bool) -> Vec<u8> {
    let within = item(endless_item, &implicit(0x8, 0x1155, b"9.8.7.6.5\0"));
    let planted = [
        implicit(0x8, 0x1150, b"1.2\0"),
        implicit_sequence(0x8, 0x1199, endless_sequence, &within),
        implicit(0x10, 0x10, b"Zaphod"),
        implicit(0x10, 0x30, b"19521103"),
    ]
    .concat();
    [item(endless_item, &planted), item(endless_item, &[])].concat()
}

/// Files that hold such an element in every place that it may stand in.
fn files() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for (endless_item, endless_sequence) in
        [(false, false), (false, true), (true, false), (true, true)]
    {
        let content = content(endless_item, endless_sequence);
        // Private; public and a sequence; a sequence of UIDs to be mapped; public and not a
        // sequence; known to no dictionary.
        for (group, number) in [(9, 0x1070), (8, 0x1111), (8, 0x1140), (8, 0x18), (8, 0x7777)] {
            let name = format!("({group:04x},{number:04x}) {endless_item} {endless_sequence}");
            let unknown = unknown(group, number, &content);
            let mut put = |place: &str, before: Vec<Vec<u8>>, after: Vec<u8>| {
                let mut elements = before;
                elements.extend(gray8(2, 2));
                elements.push(element(0x7fe0, 0x10, "OB", &[1, 2, 3, 4]));
                elements.push(after);
                files.push((format!("{name} {place}"), file(EXPLICIT, &elements)));
            };
            put("before the pixels", vec![unknown.clone()], Vec::new());
            put("twice", vec![unknown.clone(), unknown.clone()], Vec::new());
            let trailing = self::unknown(0xfffd, number, &content);
            put("behind the pixels", Vec::new(), trailing);
            let sequence = element(8, 0x1115, "SQ", &item(endless_item, &unknown));
            put("in a sequence", vec![sequence], Vec::new());
            let endless = [
                [tag(8, 0x1115), b"SQ\0\0".to_vec(), ENDLESS.to_vec()].concat(),
                item(endless_item, &unknown),
                SEQUENCE_END.to_vec(),
            ];
            put("in a sequence of undefined length", vec![endless.concat()], Vec::new());
        }
    }
    files
}

#[test]
fn such_files_are_read_and_lose_what_the_sequence_holds() {
    let limits = DecodeLimits::default();
    let options = DecodeOptions::default();
    let key = PseudonymKey::new(&[5; 32]).unwrap();
    let expected = decode(&image(Vec::new(), 2, 2, &[1, 2, 3, 4]), &limits, &options).unwrap();
    let files = files();
    assert_eq!(files.len(), 100);
    for (name, source) in &files {
        let read = decode(source, &limits, &options).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(read.raster, expected.raster, "{name}");
        let made = deidentify(source, &key, &limits).unwrap_or_else(|e| panic!("{name}: {e}"));
        for word in PLANTED {
            assert!(holds(source, word), "{name}");
            assert!(!holds(&made.bytes, word), "{name}: {word}");
        }
        let again = decode(&made.bytes, &limits, &options).unwrap();
        assert_eq!(again.raster, expected.raster, "{name}");
    }
}

#[test]
fn prepare_takes_them() {
    let place = Workplace::new();
    let files = files();
    for (n, (_, bytes)) in files.iter().enumerate() {
        place.put(&format!("{}/p{n}.dcm", ["NORMAL", "PNEUMONIA"][n % 2]), bytes);
    }
    let report = place.run();
    assert_eq!(report.prepared, files.len(), "{report:?}");
    for entry in std::fs::read_dir(&place.options.destination).unwrap() {
        let path = entry.unwrap().path();
        let Ok(bytes) = std::fs::read(&path) else { continue };
        assert!(PLANTED.iter().all(|word| !holds(&bytes, word)), "{}", path.display());
    }
}

#[test]
fn a_sequence_that_the_dictionary_knows_is_read() {
    let code = [
        implicit(0x8, 0x100, b"R-10236 "),
        implicit(0x8, 0x102, b"SRT "),
        implicit(0x8, 0x104, b"x "),
    ]
    .concat();
    let limits = DecodeLimits::default();
    let mut sources = Vec::new();
    for endless in [false, true] {
        let items = item(endless, &code);
        sources.push(unknown(0x54, 0x220, &items));
        sources.push(element(0x54, 0x220, "UN", &items));
    }
    for sequence in sources {
        let mut elements = gray8(1, 1);
        elements.push(sequence);
        elements.push(element(0x7fe0, 0x10, "OB", &[1]));
        let facts = facts(&file(EXPLICIT, &elements), &limits).unwrap();
        assert_eq!(facts.view, Some(View::Lateral));
    }
}

#[test]
fn content_in_another_syntax_is_read_as_what_is_around_it() {
    // Wrong by the standard, and found in archives: explicit VR within the UN.
    let items = item(true, &text(0x10, 0x10, "PN", "Zaphod"));
    let source = image(vec![unknown(9, 0x1070, &items)], 1, 1, &[7]);
    let limits = DecodeLimits::default();
    assert!(decode(&source, &limits, &DecodeOptions::default()).is_ok());
    let key = PseudonymKey::new(&[5; 32]).unwrap();
    assert!(!holds(&deidentify(&source, &key, &limits).unwrap().bytes, "Zaphod"));
}

#[test]
fn a_big_endian_file_holds_it_in_little_endian() {
    let swap = |bytes: &[u8]| -> Vec<u8> { bytes.iter().rev().copied().collect() };
    let us = |group: u16, number: u16, value: u16| {
        [group.to_be_bytes().as_slice(), &number.to_be_bytes(), b"US\0\x02", &value.to_be_bytes()]
            .concat()
    };
    let long = |group: u16, number: u16, vr: &[u8; 2], length: &[u8], value: &[u8]| {
        let tag = [group.to_be_bytes(), number.to_be_bytes()].concat();
        [tag.as_slice(), vr, &[0, 0], &swap(length), value].concat()
    };
    let content = [content(true, true), SEQUENCE_END.to_vec()].concat();
    let mut elements = vec![long(9, 0x1070, b"UN", &ENDLESS, &content), us(0x28, 2, 1)];
    let photometric = [&[0, 0x28, 0, 4], b"CS\0\x0c".as_slice(), b"MONOCHROME2 "].concat();
    elements.push(photometric);
    for (number, value) in [(0x10, 1), (0x11, 2), (0x100, 8), (0x101, 8), (0x102, 7), (0x103, 0)] {
        elements.push(us(0x28, number, value));
    }
    elements.push(long(0x7fe0, 0x10, b"OB", &[2, 0, 0, 0], &[5, 6]));
    let source = file("1.2.840.10008.1.2.2", &elements);
    let limits = DecodeLimits::default();
    let read = decode(&source, &limits, &DecodeOptions::default()).unwrap();
    assert_eq!(read.raster.to_f32(), [5.0, 6.0]);
    let key = PseudonymKey::new(&[5; 32]).unwrap();
    let made = deidentify(&source, &key, &limits).unwrap();
    assert!(PLANTED.iter().all(|word| !holds(&made.bytes, word)));
}

#[test]
fn cut_anywhere_it_is_an_error_or_an_image() {
    let limits = DecodeLimits::default();
    let key = PseudonymKey::new(&[5; 32]).unwrap();
    let mut elements = vec![unknown(9, 0x1070, &content(true, true))];
    elements.extend(gray8(1, 2));
    elements.push(fragments(&[b"ab"]));
    elements.push(unknown(0xfffd, 0x1001, &content(true, false)));
    let source = file("1.2.840.10008.1.2.4.50", &elements);
    for end in 132..source.len() {
        let _ = decode(&source[..end], &limits, &DecodeOptions::default());
        if let Ok(made) = deidentify(&source[..end], &key, &limits) {
            assert!(PLANTED.iter().all(|word| !holds(&made.bytes, word)), "{end}");
        }
    }
    // Deeper than any real object, each level of it a finding for a reader without a bound.
    let mut deep = Vec::new();
    for _ in 0..100_000 {
        deep.extend([tag(9, 0x1070).as_slice(), &ENDLESS].concat());
        deep.extend([tag(0xfffe, 0xe000).as_slice(), &ENDLESS].concat());
    }
    let deep = image(vec![unknown(9, 0x1070, &item(true, &deep))], 1, 1, &[1]);
    assert!(decode(&deep, &limits, &DecodeOptions::default()).is_err());
}
