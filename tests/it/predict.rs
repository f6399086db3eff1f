//! `hilum predict` against the service: the same files, the same answers.

use std::path::{Path, PathBuf};

use crate::commands::{hilum, text};
use crate::harness::{Server, bytes_of, pixels, request_of, root, scores};

/// Writes rows of 28 by 28 pixels as NumPy does.
fn save(path: &Path, shape: &str, pixels: &[f32]) {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(bytes_of(pixels));
    std::fs::write(path, file).unwrap();
}

fn digits(folder: &Path, name: &str, rows: usize, seed: u32) -> (PathBuf, Vec<f32>) {
    let (path, pixels) = (folder.join(name), pixels(rows, seed));
    save(&path, &format!("({rows}, 1, 28, 28)"), &pixels);
    (path, pixels)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answers_are_those_of_the_service() {
    let folder = tempfile::tempdir().unwrap();
    // More rows than go into one request, and another file.
    let (many, many_pixels) = digits(folder.path(), "many.npy", 300, 5);
    let (few, few_pixels) = digits(folder.path(), "few.npy", 2, 6);
    let arguments = [many.to_str().unwrap(), few.to_str().unwrap()];
    let mut options = vec!["predict", "--model", "mnist", "--output", "json"];
    options.extend(arguments);
    let output = hilum(&options);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let answers: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answers["model"], &answers["version"]), (&"mnist".into(), &"2".into()));

    let server = Server::ready().await;
    let mut client = server.client().await;
    for (place, pixels) in [many_pixels, few_pixels].iter().enumerate() {
        let answer = &answers["predictions"][place];
        assert_eq!(answer["files"][0], arguments[place]);
        let output = &answer["outputs"][0];
        assert_eq!(output["shape"], serde_json::json!([pixels.len() / 784, 10]));
        let served = client.model_infer(request_of(pixels)).await.unwrap().into_inner();
        let served: Vec<f32> = scores(&served).concat();
        let found = output["data"].as_array().unwrap();
        assert_eq!(found.len(), served.len());
        for (found, served) in found.iter().zip(served) {
            assert!((found.as_f64().unwrap() - f64::from(served)).abs() < 1e-5);
        }
    }
}

#[test]
fn a_table_has_a_line_for_each_row_with_its_class() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = digits(folder.path(), "three.npy", 3, 9);
    let input = format!("image={}", file.display());
    let output = hilum(&["predict", "--model", "mnist", "--input", &input]);
    let shown = text(&output);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert!(shown.starts_with("mnist version 2 ("), "{shown}");
    let rows: Vec<&str> = shown.lines().filter(|line| line.contains("probabilities:")).collect();
    assert_eq!(rows.len(), 3, "{shown}");
    for row in rows {
        let mut words = row.split_whitespace().skip(1);
        let class: usize = words.next().unwrap().parse().unwrap();
        let scores: Vec<f64> = words.skip(2).map(|score| score.parse().unwrap()).collect();
        assert_eq!(scores.len(), 10, "{row}");
        assert!(scores.iter().all(|score| *score <= scores[class]), "{row}");
    }
}

#[test]
fn bad_input_is_one_clear_message() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let (good, _) = digits(folder.path(), "good.npy", 1, 1);
    save(&place("flat.npy"), "(1, 784)", &pixels(1, 1));
    std::fs::write(place("text.npy"), "not an array").unwrap();
    let objects = root().join("tests/npy/objects.npy");
    let good = good.to_str().unwrap();
    let missing = place("none.npy");
    let (flat, text_file) = (place("flat.npy"), place("text.npy"));
    let cases: [(&[&str], i32, &[&str]); 8] = [
        (&["--model", "mnist", flat.to_str().unwrap()], 1, &["flat.npy", "[1, 784]", "28"]),
        (&["--model", "mnist", text_file.to_str().unwrap()], 1, &["text.npy", "not a .npy file"]),
        (&["--model", "mnist", objects.to_str().unwrap()], 1, &["objects.npy", "Python objects"]),
        (&["--model", "mnist", missing.to_str().unwrap()], 1, &["none.npy", "No such file"]),
        (&["--model", "cats", good], 1, &["cats", "mnist"]),
        (&["--model", "mnist", "--version", "9", good], 1, &["no version 9"]),
        (&["--model", "mnist", "--version", "x", good], 2, &["'x'"]),
        (&["--model", "mnist"], 2, &["IMAGE"]),
    ];
    for (arguments, code, words) in cases {
        let output = hilum(&[&["predict"], arguments].concat());
        let shown = text(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {shown}");
        for word in words {
            assert!(shown.contains(word), "{arguments:?}: {shown}");
        }
    }
    let unknown = hilum(&["predict", "--model", "mnist", "--input", &format!("pixels={good}")]);
    assert!(text(&unknown).contains("unknown input 'pixels'"), "{}", text(&unknown));
}

#[test]
fn a_broken_bundle_says_why() {
    let (_models_folder, models) = crate::harness::models_copy();
    std::fs::write(models.join("mnist/2/model.onnx"), "gone").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = digits(folder.path(), "a.npy", 1, 1);
    let (models, file) = (models.to_str().unwrap(), file.to_str().unwrap());
    let output = hilum(&["predict", "--model", "mnist", "--models", models, file]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("mnist/2/model.onnx: the SHA-256 is"), "{}", text(&output));
    // The other version is whole.
    let output =
        hilum(&["predict", "--model", "mnist", "--version", "1", "--models", models, file]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}
