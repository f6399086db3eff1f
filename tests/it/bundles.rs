//! Broken bundles are refused with file and reason, and the others serve.

use std::fs;
use std::path::Path;

use hilum::proto::inference::{ModelInferRequest, ModelReadyRequest};
use tonic::Code;

use crate::harness::{Server, config, models_copy, request, seal};

fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(file, text.replacen(from, to, 1)).unwrap();
}

/// Sets the model's digest in the manifest to what the file is now.
fn declare(bundle: &Path) {
    let digest = hilum::domain::Digest::of(&fs::read(bundle.join("model.onnx")).unwrap());
    let manifest = bundle.join("bundle.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let line = text.lines().find(|line| line.starts_with("sha256")).unwrap().to_owned();
    edit(&manifest, &line, &format!("sha256 = \"{digest}\""));
}

type Break = fn(&Path);

/// What is broken, and words of the reason.
const CASES: &[(&str, Break, &[&str])] = &[
    (
        "a flipped byte",
        |bundle| {
            let path = bundle.join("model.onnx");
            let mut bytes = fs::read(&path).unwrap();
            bytes[5000] ^= 1;
            fs::write(path, bytes).unwrap();
        },
        &["model.onnx", "the SHA-256 is", "SHA256SUMS says"],
    ),
    (
        "a truncated model",
        |bundle| {
            let path = bundle.join("model.onnx");
            let bytes = fs::read(&path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
            declare(bundle);
            seal(bundle);
        },
        &["model.onnx", "ONNX Runtime cannot load the model"],
    ),
    (
        "a digest in the manifest that is not the model's",
        |bundle| {
            let path = bundle.join("bundle.toml");
            let text = fs::read_to_string(&path).unwrap();
            let at = text.find("sha256 = \"").unwrap() + 10;
            let digit = if &text[at..=at] == "0" { "1" } else { "0" };
            fs::write(&path, format!("{}{digit}{}", &text[..at], &text[at + 1..])).unwrap();
            seal(bundle);
        },
        &["model.onnx", "bundle.toml says"],
    ),
    (
        "an unknown key",
        |bundle| {
            edit(&bundle.join("bundle.toml"), "max_batch", "max_batches");
            seal(bundle);
        },
        &["bundle.toml", "max_batches"],
    ),
    (
        "several problems at once",
        |bundle| {
            let path = bundle.join("bundle.toml");
            edit(&path, "max_batch = 32", "max_batch = 0");
            edit(&path, "[\"0\", \"1\",", "[\"0\", \"0\",");
            seal(bundle);
        },
        &["bundle.toml", "batching.max_batch", "labels"],
    ),
    (
        "a recipe with an unknown step",
        |bundle| {
            let path = bundle.join("bundle.toml");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text + "\n[[preprocess.step]]\nop = \"sharpen\"\n").unwrap();
            seal(bundle);
        },
        &["bundle.toml", "sharpen"],
    ),
    (
        "a golden that does not hold",
        |bundle| {
            edit(&bundle.join("goldens.json"), "0.0898", "0.1898");
            seal(bundle);
        },
        &["goldens.json", "golden case '", "output 'probabilities' element", "is expected"],
    ),
    (
        "a manifest that the graph contradicts",
        |bundle| {
            edit(&bundle.join("bundle.toml"), "\"probabilities\"", "\"likelihoods\"");
            seal(bundle);
        },
        &["bundle.toml", "'likelihoods' is not in the graph", "probabilities"],
    ),
    (
        "another model's folder",
        |bundle| {
            edit(&bundle.join("bundle.toml"), "version = \"1\"", "version = \"3\"");
            seal(bundle);
        },
        &["bundle.toml", "mnist/3 stands in the folder mnist/1"],
    ),
    (
        "a file that is not listed",
        |bundle| fs::write(bundle.join("extra.txt"), "x").unwrap(),
        &["SHA256SUMS", "'extra.txt' is in the folder and not listed"],
    ),
    (
        "no list of digests",
        |bundle| fs::remove_file(bundle.join("SHA256SUMS")).unwrap(),
        &["SHA256SUMS", "No such file"],
    ),
    (
        "a manifest that is gone, and a model that is not what it was",
        |bundle| {
            fs::remove_file(bundle.join("bundle.toml")).unwrap();
            fs::write(bundle.join("model.onnx"), "other bytes").unwrap();
        },
        &["bundle.toml", "No such file"],
    ),
    (
        "a manifest that is a link to nowhere, in a folder with nothing else",
        |bundle| {
            for entry in fs::read_dir(bundle).unwrap() {
                let path = entry.unwrap().path();
                if !path.ends_with("model.onnx") {
                    fs::remove_file(path).unwrap();
                }
            }
            std::os::unix::fs::symlink("nowhere", bundle.join("bundle.toml")).unwrap();
        },
        &["SHA256SUMS", "No such file"],
    ),
    (
        "no goldens",
        |bundle| {
            fs::remove_file(bundle.join("goldens.json")).unwrap();
            seal(bundle);
        },
        &["bundle.toml", "'goldens.json' is not in the bundle"],
    ),
    (
        "an unsupported opset",
        |bundle| {
            // `opset_import { version: 20 }` is field 8 of the model, its version field 2.
            let path = bundle.join("model.onnx");
            let mut bytes = fs::read(&path).unwrap();
            let wanted = [0x42, 0x04, 0x0a, 0x00, 0x10, 20];
            let short = [0x42, 0x02, 0x10, 20];
            let at = bytes.windows(6).rposition(|w| w == wanted).map(|at| at + 5);
            let at = at.or_else(|| bytes.windows(4).rposition(|w| w == short).map(|at| at + 3));
            bytes[at.expect("the opset stands in the file")] = 99;
            fs::write(path, bytes).unwrap();
            declare(bundle);
            seal(bundle);
        },
        &["model.onnx", "ONNX Runtime cannot load the model", "Opset 99"],
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_version_is_refused_and_the_others_serve() {
    for (case, destroy, words) in CASES {
        let (_folder, models) = models_copy();
        destroy(&models.join("mnist/1"));
        let mut config = config();
        config.models.directory = models.clone();
        let server = Server::start(config);
        // Version 2 is the champion: a broken neighbour does not hold the server up.
        server.wait_ready().await;
        let mut client = server.client().await;
        client.model_infer(request(1, 1)).await.unwrap();
        let pinned = ModelInferRequest { model_version: "1".to_owned(), ..request(1, 1) };
        let status = loop {
            let status = client.model_infer(pinned.clone()).await.expect_err(case);
            if status.code() != Code::Unavailable {
                break status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        };
        assert_eq!(status.code(), Code::FailedPrecondition, "{case}: {status}");
        let shown = status.message();
        assert!(!shown.contains("toml") && !shown.contains(".onnx"), "{case}: {shown}");
        let ready = ModelReadyRequest { name: "mnist".to_owned(), version: "1".to_owned() };
        assert!(!client.model_ready(ready).await.unwrap().into_inner().ready);
        // The champion's own breach is what the probe shows: file and reason.
        let champion = models.join("mnist/model.toml");
        edit(&champion, "\"2\"", "\"1\"");
        let mut config = crate::harness::config();
        config.models.directory = models;
        let server = Server::start(config);
        let reason = refusal(&server).await;
        for word in *words {
            assert!(reason.contains(word), "{case}: {reason}");
        }
        let mut client = server.client().await;
        let pinned = ModelInferRequest { model_version: "2".to_owned(), ..request(1, 1) };
        while let Err(status) = client.model_infer(pinned.clone()).await {
            assert_eq!(status.code(), Code::Unavailable, "{case}: {status}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

/// Waits until the probe says why it is not ready.
async fn refusal(server: &Server) -> String {
    let deadline = tokio::time::Instant::now() + crate::harness::PATIENCE;
    loop {
        let (status, body) = server.get("/readyz").await;
        assert_eq!(status, 503, "{body}");
        if body.contains("version 1:") {
            return body;
        }
        assert!(tokio::time::Instant::now() < deadline, "{body}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bare_folder_is_a_plain_tensor_model_and_its_highest_number_the_default() {
    let (_folder, models) = models_copy();
    for version in ["3", "12"] {
        let bare = models.join("bare").join(version);
        fs::create_dir_all(&bare).unwrap();
        fs::copy(models.join("mnist/2/model.onnx"), bare.join("model.onnx")).unwrap();
    }
    fs::create_dir_all(models.join("bare/.13.partial-x")).unwrap();
    let mut config = config();
    config.models.directory = models;
    let server = Server::start(config);
    server.wait_ready().await;
    let mut client = server.client().await;
    let message = ModelInferRequest { model_name: "bare".to_owned(), ..request(3, 2) };
    let response = client.model_infer(message).await.unwrap().into_inner();
    assert_eq!(response.model_version, "12");
    let same = client.model_infer(request(3, 2)).await.unwrap().into_inner();
    assert_eq!(response.raw_output_contents, same.raw_output_contents);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_default_version_that_is_not_there_holds_readiness_back() {
    let (_folder, models) = models_copy();
    edit(&models.join("mnist/model.toml"), "\"2\"", "\"5\"");
    let mut config = config();
    config.models.directory = models;
    let server = Server::start(config);
    let deadline = tokio::time::Instant::now() + crate::harness::PATIENCE;
    loop {
        let (status, body) = server.get("/readyz").await;
        assert_eq!(status, 503);
        if body.contains("model.toml: default_version 5 is not in the folder") {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{body}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let status = server.client().await.model_infer(request(1, 1)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("has no champion"), "{}", status.message());
}
