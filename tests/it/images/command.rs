//! `hilum predict` on images, and `hilum prepare` with a crop by another bundle.

use std::path::Path;

use hilum::imaging::{DecodeLimits, DecodeOptions, decode};
use serde_json::Value;

use super::{ask, client, dicom, jpeg, png, serve, spotted};
use crate::commands::{hilum, text};
use crate::harness::root;

fn models() -> String {
    root().join("tests/models").display().to_string()
}

/// A folder with images in it and below it, one that is none and one that is broken.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write =
        |name: &str, bytes: Vec<u8>| std::fs::write(folder.path().join(name), bytes).unwrap();
    std::fs::create_dir(folder.path().join("deep")).unwrap();
    write("a.png", png(64, 64, &spotted()));
    write("b.dcm", dicom(64, 64, &spotted()));
    write("deep/a.png", jpeg(64, 64, &spotted()));
    write("dark.png", png(64, 64, &[2; 64 * 64]));
    write("notes.txt", b"no image".to_vec());
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_is_answered_as_the_service_answers_it() {
    let folder = folder();
    let overlays = folder.path().join("overlays");
    let (path, into) = (folder.path().to_str().unwrap(), overlays.to_str().unwrap());
    let models = models();
    let common = ["predict", path, "--model", "spots", "--models", &models];
    let json = hilum(&[&common[..], &["--output", "json", "--explain", into]].concat());
    assert_eq!(json.status.code(), Some(0), "{}", text(&json));
    let answers: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(answers["passed_over"], 1);
    assert_eq!(answers["notice"], "Not for primary diagnosis – physician must verify");
    let images = answers["images"].as_array().unwrap();
    assert_eq!(images.len(), 4);

    let server = serve().await;
    let mut client = client(&server).await;
    for image in images {
        let file = image["file"].as_str().unwrap();
        let bytes = std::fs::read(file).unwrap();
        let served = client.classify(ask("spots", bytes)).await.unwrap().into_inner();
        assert_eq!(image["decision"], served.decision.as_str(), "{file}");
        for (found, served) in image["scores"].as_array().unwrap().iter().zip(&served.scores) {
            let off = found["calibrated"].as_f64().unwrap() - served.calibrated;
            assert!(off.abs() < 1e-9, "{file}: {off}");
        }
        // A rejected image has no overlay; each other one has its own.
        match image["overlay"].as_str() {
            Some(overlay) => {
                let bytes = std::fs::read(Path::new(overlay)).unwrap();
                decode(&bytes, &DecodeLimits::default(), &DecodeOptions::default()).unwrap();
            }
            None => assert_eq!(image["decision"], "rejected"),
        }
    }
    let mut names: Vec<String> = std::fs::read_dir(&overlays)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["a.png.png", "b.dcm.png", "deep_a.png.png"]);
}

#[test]
fn a_table_and_a_spreadsheet_have_a_line_for_each_file_and_the_notice() {
    let folder = folder();
    std::fs::write(folder.path().join("broken.png"), &png(64, 64, &spotted())[..60]).unwrap();
    let models = models();
    let path = folder.path().to_str().unwrap();
    let common = ["predict", path, "--model", "spots", "--models", &models];
    let table = hilum(&common);
    // The others are answered all the same.
    assert_eq!(table.status.code(), Some(1));
    let shown = text(&table);
    for words in [
        "Not for primary diagnosis",
        "positive  SPOTTED",
        "rejected  -",
        "[too_dark, too_flat]",
        "broken.png: the PNG file is damaged",
        "1 of 5 files have no answer",
        "1 files are no images",
    ] {
        assert!(shown.contains(words), "'{words}' in {shown}");
    }
    let csv = hilum(&[&common[..], &["--output", "csv"]].concat());
    let mut reader = csv::Reader::from_reader(csv.stdout.as_slice());
    let head: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let expected = ["file", "decision", "label", "raw CLEAR", "calibrated CLEAR", "raw SPOTTED"];
    assert_eq!(head[..6], expected);
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), 5);
    let rejected = records.iter().find(|record| &record[1] == "rejected").unwrap();
    assert_eq!((&rejected[3], &rejected[7]), ("", "too_dark too_flat"));
    let scores: Vec<f64> = records[0].iter().skip(3).take(4).map(|s| s.parse().unwrap()).collect();
    assert!((scores[0] + scores[2] - 1.0).abs() < 1e-6, "{scores:?}");
}

#[test]
fn a_file_that_claims_to_be_an_image_is_never_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let models = models();
    let asked = || hilum(&["predict", path, "--model", "spots", "--models", &models]);
    std::fs::write(folder.path().join("notes.txt"), b"no image").unwrap();
    let none = asked();
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none).contains("there is no image in this folder"), "{}", text(&none));
    std::fs::write(folder.path().join("empty.PNG"), b"").unwrap();
    std::fs::write(folder.path().join("page.png"), b"<html>").unwrap();
    let broken = asked();
    assert_eq!(broken.status.code(), Some(1));
    for words in ["empty.PNG: the file is empty", "page.png: ", "2 of 2 files have no answer"] {
        assert!(text(&broken).contains(words), "'{words}' in {}", text(&broken));
    }
}

#[test]
fn what_cannot_be_opened_in_a_folder_leaves_the_others_alone() {
    let folder = folder();
    std::os::unix::fs::symlink("/nonexistent", folder.path().join("dead.png")).unwrap();
    std::os::unix::fs::symlink(".", folder.path().join("loop")).unwrap();
    let path = folder.path().to_str().unwrap();
    let output = hilum(&["predict", path, "--model", "spots", "--models", &models()]);
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output);
    for words in ["dead.png: ", "loop: ", "2 of 6 files have no answer", "a.png"] {
        assert!(shown.contains(words), "'{words}' in {shown}");
    }
}

#[test]
fn what_cannot_be_is_said_before_anything_is_loaded() {
    let folder = folder();
    let image = folder.path().join("a.png").display().to_string();
    let models = models();
    let asked = |arguments: &[&str]| {
        let output = hilum(&[&["predict", &image, "--models", &models][..], arguments].concat());
        (output.status.code(), text(&output))
    };
    for (arguments, code, words) in [
        (&["x.npy"][..], 2, "do not go into one call"),
        (&["--explain-class", "CLEAR"], 2, "--explain"),
        (&["--model", "cats"], 1, "cats"),
        (&["--model", "plain", "--explain", "x"], 1, "gives no map"),
        (&["--model", "lungs"], 1, "answers no images"),
        (&["--model", "cropped", "--explain", "/proc/x"], 1, "/proc/x"),
    ] {
        let (status, shown) = asked(arguments);
        assert_eq!(status, Some(code), "{shown}");
        assert!(shown.contains(words), "'{words}' in {shown}");
    }
}

#[test]
fn prepare_crops_by_the_bundle_that_the_recipe_names() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    let mut seed = 0_u8;
    for class in ["NORMAL", "PNEUMONIA"] {
        std::fs::create_dir_all(source.join(class)).unwrap();
        for patient in 0..5 {
            seed += 1;
            let levels: Vec<u8> = super::crop::two_lungs(true)
                .iter()
                .enumerate()
                .map(|(at, level)| if at == 0 { seed } else { *level })
                .collect();
            let name = format!("{class}-{patient}.png");
            std::fs::write(source.join(class).join(name), png(96, 96, &levels)).unwrap();
        }
    }
    let made = folder.path().join("made");
    let recipe = root().join("tests/models/cropped/1/bundle.toml");
    let arguments = |models: &str| {
        let text = |path: &Path| path.display().to_string();
        let [source, made, recipe] = [text(&source), text(&made), text(&recipe)];
        hilum(&[
            "prepare",
            &source,
            &made,
            "--recipe",
            &recipe,
            "--models",
            models,
            "--patient",
            r"(\w+-\d+)",
        ])
    };
    let nowhere = folder.path().join("nowhere");
    std::fs::create_dir(&nowhere).unwrap();
    let missing = arguments(nowhere.to_str().unwrap());
    assert_ne!(missing.status.code(), Some(0));
    assert!(text(&missing).contains("lungs"), "{}", text(&missing));
    let done = arguments(&models());
    assert_eq!(done.status.code(), Some(0), "{}", text(&done));
    let image = std::fs::read_dir(made.join("images")).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(image).unwrap();
    let raster =
        decode(&bytes, &DecodeLimits::default(), &DecodeOptions::default()).unwrap().raster;
    let hilum::imaging::Samples::U8(samples) = raster.samples() else { panic!("8 bits") };
    // Most of the cropped image is lung, which a quarter of the whole image is.
    let bright = samples.iter().filter(|level| **level > 150).count();
    assert!(bright * 10 > samples.len() * 6, "{bright} of {}", samples.len());
}
