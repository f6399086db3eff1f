//! `hilum prepare`: layouts, folds, resuming, and nothing personal in anything it writes.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::path::Path;

use hilum::imaging::dicom::View;
use hilum::imaging::{DecodeLimits, Expectation, PseudonymKey};
use hilum::prepare::layout::Layout;
use hilum::prepare::{Fold, PrepareError, PrepareOptions, PrepareReport, Row, prepare};
use image::{ExtendedColorType, ImageEncoder};
use tempfile::TempDir;

use super::bad_input::chunk;
use super::deidentify::{PLANTED, holds, planted};
use super::dicom_file::image as dicom;
use super::dicom_file::text;

const RECIPE: &str = r#"
    step = [
        { op = "decode", color = "gray" },
        { op = "voi" },
        { op = "resize", width = 8, height = 8, filter = "bilinear_antialias" },
        { op = "quantise8" },
        { op = "scale", factor = 0.00392156862745098 },
    ]"#;

pub struct Workplace {
    folder: TempDir,
    pub options: PrepareOptions,
}

impl Workplace {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = PrepareOptions {
            source: folder.path().join("source"),
            destination: folder.path().join("prepared"),
            recipe: toml::from_str(RECIPE).unwrap(),
            layout: Layout::Folders,
            classes: vec!["NORMAL".to_owned(), "PNEUMONIA".to_owned()],
            patient: Some(regex::Regex::new("^p(\\d+)").unwrap()),
            max_side: None,
            views: Vec::new(),
            balance: None,
            folds: 5,
            key: PseudonymKey::new(&[3; 32]).unwrap(),
            limits: DecodeLimits::default(),
            expects: Expectation::default(),
            workers: NonZeroUsize::new(2).unwrap(),
            segment: None,
        };
        Self { folder, options }
    }

    pub fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.options.source.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub fn run(&self) -> PrepareReport {
        prepare(&self.options, &|_| {}).unwrap()
    }

    pub fn rows(&self) -> Vec<Row> {
        let text = std::fs::read_to_string(self.options.destination.join("manifest.jsonl"));
        text.unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A PNG that differs by `seed`.
pub fn png(seed: u32) -> Vec<u8> {
    let samples: Vec<u8> = (0..256).map(|i| (i + seed * 31) as u8).collect();
    let mut bytes = Vec::new();
    image::codecs::png::PngEncoder::new(&mut bytes)
        .write_image(&samples, 16, 16, ExtendedColorType::L8)
        .unwrap();
    bytes
}

pub fn every_file(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| (entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

#[test]
fn class_folders_become_images_manifest_and_folds() {
    let mut place = Workplace::new();
    place.options.balance = NonZeroUsize::new(6);
    for n in 0..20 {
        let class = if n % 4 == 0 { "NORMAL" } else { "PNEUMONIA" };
        place.put(&format!("train/{class}/p{}_{n}.png", n / 2), &png(n));
    }
    place.put("train/NORMAL/nobody.png", &png(99));
    place.put("train/NORMAL/p3_broken.png", b"<html>");
    place.put("train/NORMAL/notes.txt", b"no image");
    let report = place.run();
    assert_eq!(report.prepared, 20);
    assert_eq!(report.patients, 10);
    assert_eq!(report.labels["NORMAL"], 5);
    assert_eq!(report.left_out["--patient does not match the file's name"], 1);
    assert!(report.failed.values().next().unwrap().contains("an HTML page"));

    let rows = place.rows();
    let mut folds: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &rows {
        assert_eq!(*folds.entry(&row.patient).or_insert(row.fold), row.fold);
        let file = std::fs::read(place.options.destination.join(&row.image)).unwrap();
        let image = image::load_from_memory(&file).unwrap();
        assert_eq!((image.width(), image.height()), (8, 8));
        assert!(row.statistics.mean > 0.0);
    }
    let lists = std::fs::read(place.options.destination.join("folds.json")).unwrap();
    let lists: Vec<Fold> = serde_json::from_slice(&lists).unwrap();
    for list in &lists {
        assert_eq!(list.training.len(), 12, "6 of each class");
        assert!(list.training.iter().all(|image| !list.validation.contains(image)));
    }
    assert_eq!(lists.iter().map(|list| list.validation.len()).sum::<usize>(), 20);
}

#[test]
fn an_interrupted_run_goes_on_and_gives_the_same() {
    let place = Workplace::new();
    for n in 0..12 {
        place.put(&format!("NORMAL/p{n}.png"), &png(n));
    }
    let first = place.run();
    let whole = every_file(&place.options.destination);
    // As after a kill: no manifest, a journal of some lines and half of one more.
    let destination = &place.options.destination;
    let manifest = std::fs::read_to_string(destination.join("manifest.jsonl")).unwrap();
    let lines: Vec<&str> = manifest.lines().collect();
    std::fs::write(
        destination.join("manifest.jsonl"),
        format!("{}\n{}", lines[..7].join("\n"), &lines[7][..40]),
    )
    .unwrap();
    std::fs::remove_file(destination.join(rows_image(lines[0]))).unwrap();
    let second = place.run();
    assert_eq!((second.resumed, second.prepared), (6, first.prepared));
    let mut again = every_file(destination);
    let mut whole = whole;
    // The report alone says that it was resumed.
    for files in [&mut again, &mut whole] {
        files.retain(|name, _| !name.ends_with("report.json"));
    }
    assert_eq!(again, whole);

    let mut other = place.options.clone();
    other.max_side = Some(4);
    assert!(matches!(prepare(&other, &|_| {}), Err(PrepareError::OtherSettings)));
}

fn rows_image(line: &str) -> String {
    serde_json::from_str::<Row>(line).unwrap().image
}

#[test]
fn nothing_planted_is_in_output_manifest_or_messages() {
    let mut place = Workplace::new();
    place.options.patient = Some(regex::Regex::new(r"^(.+)\.").unwrap());
    place.put("NORMAL/Zaphod_Beeblebrox_MRN424242.dcm", &planted());
    place.put("NORMAL/room 101.dcm", b"Zaphod is no image and DrFoxglove says so");
    let mut named = png(1);
    let end = named.len() - 12;
    named.splice(end..end, chunk(b"tEXt", b"Author\0Zaphod"));
    place.put("NORMAL/Vogsphere.png", &named);
    let said = std::sync::Mutex::new(String::new());
    let report = prepare(&place.options, &|progress| {
        said.lock().unwrap().push_str(&format!("{progress:?}"));
    })
    .unwrap();
    said.lock().unwrap().push_str(&format!("{report:?}"));
    assert_eq!((report.prepared, report.failed.len()), (2, 1), "{report:?}");
    let mut searched = every_file(&place.options.destination);
    searched.insert("messages".to_owned(), said.into_inner().unwrap().into_bytes());
    assert!(searched.len() >= 5);
    for (name, bytes) in searched {
        for word in PLANTED {
            assert!(!holds(&bytes, word), "{word} in {name}");
            assert!(
                !name
                    .strip_prefix(&place.folder.path().display().to_string())
                    .unwrap_or(&name)
                    .contains(word)
            );
        }
    }
}

#[test]
fn readers_decide_where_there_are_reads() {
    let place = Workplace::new();
    for n in 0..4 {
        place.put(&format!("any/p{n}.png"), &png(n));
    }
    place.put(
        "reads.csv",
        b"image,reader,label\nany/p0.png,a,1\nany/p0.png,b,1\np1.png,a,0\np1.png,b,0\n\
          p2.png,a,0\np2.png,b,1\np3.png,a,1\n",
    );
    let report = place.run();
    assert_eq!(report.labels, BTreeMap::from([("NORMAL".into(), 1), ("PNEUMONIA".into(), 1)]));
    assert_eq!(report.left_out["no two readers agree"], 2);

    place.put("reads.csv", b"image,reader,label\np0.png,a,maybe\n");
    let error = prepare(&place.options, &|_| {}).unwrap_err().to_string();
    assert_eq!(error, "reads.csv line 2: label is 0, 1 or uncertain");
}

#[test]
fn nih_lists_are_read() {
    let mut place = Workplace::new();
    place.options.layout = Layout::Nih;
    place.options.views = vec![View::Pa];
    place.put(
        "Data_Entry_2017.csv",
        b"Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n\
          00000001_000.png,Pneumonia|Effusion,0,1,058Y,M,PA,2682,2749,0.143,0.143,\n\
          00000001_001.png,No Finding,1,1,058Y,M,PA,2894,2729,0.143,0.143,\n\
          00000002_000.png,No Finding,0,2,081Y,M,AP,2500,2048,0.171,0.171,\n\
          00000003_000.png,Hernia,0,3,081Y,M,PA,2500,2048,0.171,0.171,\n\
          00000004_000.png,No Finding,0,4,081Y,M,PA,2500,2048,0.171,0.171,\n",
    );
    for n in 0..3 {
        place.put(
            &format!("images_001/images/0000000{}_00{}.png", [1, 1, 2][n], [0, 1, 0][n]),
            &png(n as u32),
        );
    }
    let report = place.run();
    assert_eq!(report.labels, BTreeMap::from([("NORMAL".into(), 1), ("PNEUMONIA".into(), 1)]));
    assert_eq!(report.patients, 1);
    for (reason, count) in
        [("other findings", 1), ("listed and not there", 1), ("another view, or none named", 1)]
    {
        assert_eq!(report.left_out[reason], count, "{reason}");
    }
}

#[test]
fn rsna_lists_are_read() {
    let mut place = Workplace::new();
    place.options.layout = Layout::Rsna;
    place.put(
        "stage_2_train_labels.csv",
        b"patientId,x,y,width,height,Target\naa,,,,,0\nbb,1.0,2.0,3.0,4.0,1\nbb,5.0,6.0,7.0,8.0,1\ncc,,,,,0\ndd,,,,,0\n",
    );
    place.put(
        "stage_2_detailed_class_info.csv",
        b"patientId,class\naa,Normal\nbb,Lung Opacity\ncc,No Lung Opacity / Not Normal\ndd,Normal\n",
    );
    for (n, name) in ["aa", "bb", "cc"].iter().enumerate() {
        let pixels: Vec<u8> = (0..64).map(|i| (i * 3 + n) as u8).collect();
        let bytes = dicom(vec![text(8, 0x60, "CS", "CR")], 8, 8, &pixels);
        place.put(&format!("stage_2_train_images/{name}.dcm"), &bytes);
    }
    let report = place.run();
    assert_eq!(report.labels, BTreeMap::from([("NORMAL".into(), 1), ("PNEUMONIA".into(), 1)]));
    assert_eq!(report.left_out["no lung opacity and not normal"], 1);
    assert_eq!(report.left_out["listed and not there"], 1);
    assert_eq!(report.warnings["no_window"], 2);
}

#[test]
fn chexpert_lists_are_read() {
    let mut place = Workplace::new();
    place.options.layout = Layout::Chexpert;
    place.options.views = vec![View::Pa, View::Ap];
    let header =
        "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Pneumonia";
    let line = |n: u32, view: &str, none: &str, pneumonia: &str| {
        let side = if view.is_empty() { "Lateral" } else { "Frontal" };
        format!(
            "CheXpert-v1.0-small/train/patient0000{n}/study1/view1.jpg,Female,68,{side},{view},{none},,{pneumonia}\n"
        )
    };
    let list = [
        format!("{header}\n"),
        line(1, "AP", "1.0", ""),
        line(2, "PA", "", "1.0"),
        line(3, "PA", "", "-1.0"),
        line(4, "", "1.0", ""),
        line(5, "AP", "", "0.0"),
        "CheXpert-v1.0-small/../../patient6/secret.jpg,F,1,Frontal,AP,1.0,,\n".to_owned(),
    ];
    place.put("train.csv", list.concat().as_bytes());
    for n in 1..6 {
        place.put(&format!("train/patient0000{n}/study1/view1.jpg"), &png(n));
    }
    let report = place.run();
    assert_eq!(report.labels, BTreeMap::from([("NORMAL".into(), 1), ("PNEUMONIA".into(), 1)]));
    for (reason, count) in [
        ("uncertain", 1),
        ("other findings", 1),
        ("another view, or none named", 1),
        ("listed and not there", 1),
    ] {
        assert_eq!(report.left_out[reason], count, "{reason}");
    }
}

#[test]
fn one_frontal_view_of_a_study_is_kept_and_fitted() {
    let mut place = Workplace::new();
    place.options.patient = None;
    place.options.views = vec![View::Pa, View::Ap];
    place.options.max_side = Some(16);
    let put = |name: &str, view: &str, study: &str, spacing: Option<&str>| {
        let mut header = vec![
            text(8, 0x60, "CS", "DX"),
            text(0x10, 0x20, "LO", "someone"),
            text(0x18, 0x5101, "CS", view),
            text(0x20, 0xd, "UI", study),
        ];
        header.extend(spacing.map(|spacing| text(0x28, 0x30, "DS", spacing)));
        let pixels: Vec<u8> = (0..32 * 16).map(|i| (i + name.len()) as u8).collect();
        place.put(name, &dicom(header, 16, 32, &pixels));
    };
    put("NORMAL/a.dcm", "AP", "1.2.1", None);
    put("NORMAL/bb.dcm", "PA", "1.2.1", Some("2\\1"));
    put("NORMAL/ccc.dcm", "LL", "1.2.1", None);
    put("NORMAL/dddd.dcm", "AP", "1.2.2", None);
    let report = place.run();
    assert_eq!(report.prepared, 2, "{report:?}");
    assert_eq!(report.left_out["another frontal view of the study"], 1);
    let rows = place.rows();
    let sizes: HashMap<Option<View>, (u32, u32)> =
        rows.iter().map(|row| (row.view, row.geometry.output)).collect();
    // 32 × 16 pixels, twice as high as wide in the first: square once fitted.
    assert_eq!(sizes[&Some(View::Pa)], (16, 16));
    assert_eq!(sizes[&Some(View::Ap)], (16, 8));
}

#[test]
fn the_command_says_nothing_that_was_planted() {
    let place = Workplace::new();
    for n in 0..3 {
        place.put(&format!("NORMAL/p{n} Zaphod.png"), &png(n));
    }
    place.put("PNEUMONIA/p9 Beeblebrox.dcm", &planted());
    place.put("PNEUMONIA/p8 DrFoxglove.dcm", b"StElsewhere has no image");
    let recipe = place.folder.path().join("steps.toml");
    std::fs::write(&recipe, RECIPE).unwrap();
    let run = || {
        std::process::Command::new(env!("CARGO_BIN_EXE_hilum"))
            .args(["prepare", "--patient", r"^p(\d+)", "--output", "json", "--recipe"])
            .arg(&recipe)
            .args([&place.options.source, &place.options.destination])
            .output()
            .unwrap()
    };
    let output = run();
    assert_eq!(output.status.code(), Some(3), "one file is no image: {output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["prepared"], 4);
    assert_eq!(report["failed"].as_object().unwrap().len(), 1);
    let mut searched = every_file(&place.options.destination);
    searched.insert("stdout".to_owned(), output.stdout);
    searched.insert("stderr".to_owned(), output.stderr);
    for (name, bytes) in &searched {
        for word in PLANTED {
            assert!(!holds(bytes, word), "{word} in {name}");
        }
    }
    // The key lies beside the folder, not in it, and is the owner's alone.
    let key = place.folder.path().join("prepared.key");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let again: serde_json::Value = serde_json::from_slice(&run().stdout).unwrap();
    assert_eq!((&again["prepared"], &again["resumed"]), (&4.into(), &4.into()));
    std::fs::remove_file(key).unwrap();
    let output = run();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("another recipe, intended use, key"));
}
