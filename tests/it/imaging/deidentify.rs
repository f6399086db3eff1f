//! De-identification: nothing planted comes out, what binds images together does.

use hilum::imaging::dicom::{deidentify, facts};
use hilum::imaging::{DecodeLimits, DecodeOptions, PseudonymKey, decode};

use super::dicom_file::{EXPLICIT, element, file, gray8, text};

/// Words that stand in the planted file and nowhere else.
pub const PLANTED: [&str; 12] = [
    "Zaphod",
    "Beeblebrox",
    "MRN424242",
    "19521103",
    "StElsewhere",
    "DrFoxglove",
    "SecretVendor",
    "9.8.7.6.5",
    "ACC777",
    "room 101",
    "nested name",
    "Vogsphere",
];

/// A file that has an identifier wherever one may be hidden.
pub fn planted() -> Vec<u8> {
    let item = |value: &[u8]| {
        let mut item = vec![0xfe, 0xff, 0x00, 0xe0];
        item.extend((value.len() as u32).to_le_bytes());
        item.extend(value);
        item
    };
    let nested = item(
        &[text(8, 0x1155, "UI", "9.8.7.6.5.4"), text(0x10, 0x10, "PN", "nested name")].concat(),
    );
    let mut elements = vec![
        text(8, 0x16, "UI", "1.2.840.10008.5.1.4.1.1.1"),
        text(8, 0x18, "UI", "9.8.7.6.5"),
        text(8, 0x20, "DA", "19521103"),
        text(8, 0x50, "SH", "ACC777"),
        text(8, 0x60, "CS", "CR"),
        text(8, 0x80, "LO", "StElsewhere"),
        text(8, 0x90, "PN", "DrFoxglove"),
        text(8, 0x1030, "LO", "Chest of Zaphod"),
        element(8, 0x1140, "SQ", &nested),
        text(9, 0x10, "LO", "SecretVendor"),
        text(9, 0x1001, "LO", "Zaphod again"),
        text(0x10, 0x10, "PN", "Beeblebrox^Zaphod"),
        text(0x10, 0x20, "LO", "MRN424242"),
        text(0x10, 0x30, "DA", "19521103"),
        text(0x10, 0x4000, "LT", "lives in Vogsphere"),
        text(0x18, 0x5101, "CS", "PA"),
        text(0x20, 0xd, "UI", "9.8.7.6.5.1"),
        text(0x20, 0x4000, "LT", "room 101"),
    ];
    elements.extend(gray8(2, 2));
    elements.push(element(0x7fe0, 0x10, "OB", &[1, 2, 3, 4]));
    elements.push(element(0xfffc, 0xfffc, "OB", b"Zaphod in the padding"));
    file(EXPLICIT, &elements)
}

pub fn holds(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

#[test]
fn nothing_planted_comes_out_and_the_image_does() {
    let source = planted();
    assert!(PLANTED.iter().all(|word| holds(&source, word)));
    let key = PseudonymKey::new(&[5; 32]).unwrap();
    let limits = DecodeLimits::default();
    let made = deidentify(&source, &key, &limits).unwrap();
    for word in PLANTED {
        assert!(!holds(&made.bytes, word), "{word}");
    }
    let options = DecodeOptions::default();
    let (before, after) = (
        decode(&source, &limits, &options).unwrap(),
        decode(&made.bytes, &limits, &options).unwrap(),
    );
    assert_eq!(before.raster, after.raster);
    assert_eq!(made.report.private, 2);
    assert!(made.report.uids >= 3 && made.report.removed >= 4, "{:?}", made.report);
    assert!(holds(&made.bytes, "113100"), "the method is declared");

    // The same key keeps a patient and a study together; another one does not.
    let of = |bytes: &[u8]| {
        let facts = facts(bytes, &limits).unwrap();
        (facts.patient_id.unwrap(), facts.study_uid.unwrap())
    };
    assert_eq!(of(&made.bytes), of(&deidentify(&source, &key, &limits).unwrap().bytes));
    let other = PseudonymKey::new(&[6; 32]).unwrap();
    let other = of(&deidentify(&source, &other, &limits).unwrap().bytes);
    assert!(of(&made.bytes).0 != other.0 && of(&made.bytes).1 != other.1);
    assert!(other.1.starts_with("2.25."));
}

#[test]
fn real_files_keep_their_pixels_through_it() {
    let Some(folder) = super::data("dicom") else { return };
    let key = PseudonymKey::new(&[5; 32]).unwrap();
    let limits = DecodeLimits::default();
    let options = DecodeOptions::default();
    let mut same = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let source = std::fs::read(entry.unwrap().path()).unwrap();
        let Ok(before) = decode(&source, &limits, &options) else { continue };
        let made = deidentify(&source, &key, &limits).unwrap();
        let after = decode(&made.bytes, &limits, &options).unwrap();
        assert_eq!(before.raster, after.raster);
        let facts = facts(&made.bytes, &limits).unwrap();
        assert!(facts.patient_id.is_none_or(|id| id.len() == 32));
        same += 1;
    }
    assert_eq!(same, 16);
}
