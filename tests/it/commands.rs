//! The binary's commands, as a user starts them.

use std::process::{Command, Output};

use crate::harness::{Server, root};

fn hilum(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hilum"));
    command.current_dir(root()).env_remove("ORT_DYLIB_PATH").args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn every_command_has_help_with_an_example() {
    let all = text(&hilum(&["--help"]));
    for command in ["serve", "healthcheck", "doctor", "completions", "man"] {
        assert!(all.contains(command), "{all}");
        let output = hilum(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output).contains("hilum "), "{}", text(&output));
        assert!(text(&output).contains("Example"), "{command}: {}", text(&output));
    }
    assert_eq!(hilum(&["bake"]).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn healthcheck_tells_serving_from_no_answer() {
    let server = Server::ready().await;
    let address = server.grpc.to_string();
    let ask = move |address: String, service: &'static str| {
        tokio::task::spawn_blocking(move || {
            hilum(&["healthcheck", "--address", &address, "--service", service])
        })
    };
    let output = ask(address.clone(), "mnist").await.unwrap();
    assert_eq!((output.status.code(), text(&output).trim()), (Some(0), "SERVING"));
    let output = ask(address, "cats").await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("no service or model 'cats'"), "{}", text(&output));
    let output = ask("127.0.0.1:1".to_owned(), "").await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("no connection to 127.0.0.1:1"), "{}", text(&output));
}

#[test]
fn a_missing_or_unusable_library_is_one_clear_message_from_serve_and_doctor() {
    let folder = tempfile::tempdir().unwrap();
    let nonsense = folder.path().join("libonnxruntime.so");
    std::fs::write(&nonsense, "not a library").unwrap();
    let missing = folder.path().join("none.so");
    for (path, word) in [(&missing, "there is no file"), (&nonsense, "cannot be used")] {
        let path = path.to_str().unwrap();
        let free = ["--grpc-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"];
        let serve = hilum(&[&["serve", "--onnxruntime", path], &free[..]].concat());
        let doctor = hilum(&["doctor", "--onnxruntime", path]);
        assert_eq!((serve.status.code(), doctor.status.code()), (Some(1), Some(3)));
        for output in [&serve, &doctor] {
            let text = text(output);
            assert!(text.contains(word) && text.contains("make onnxruntime"), "{text}");
            assert!(text.contains(path), "{text}");
        }
    }
}

#[test]
fn doctor_names_a_broken_bundle() {
    let (_folder, models) = crate::harness::models_copy();
    std::fs::write(models.join("mnist/1/model.onnx"), "gone").unwrap();
    let output = hilum(&["doctor", "--models", models.to_str().unwrap(), "--output", "json"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let model = findings.as_array().unwrap().iter().find(|f| f["check"] == "model mnist").unwrap();
    assert_eq!(model["ok"], false);
    let found = model["found"].as_str().unwrap();
    assert!(found.contains("mnist/1/model.onnx: the SHA-256 is"), "{found}");
    assert!(found.contains("version 2 intact"), "{found}");
}

#[test]
fn every_problem_of_a_configuration_is_shown_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hilum.toml");
    std::fs::write(
        &file,
        "[server]\ngrpc_address = \"0.0.0.0:8001\"\ndrain_grace = \"40s\"\n[telemetry]\nlog_filter = \"a=b=c\"\n",
    )
    .unwrap();
    let output = hilum(&["serve", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let shown = text(&output);
    for key in ["server.grpc_address", "server.drain_grace", "telemetry.log_filter"] {
        assert!(shown.contains(key), "{shown}");
    }
    std::fs::write(&file, "[limits]\nqueue_rows = 0\nqueue_cols = 1\n").unwrap();
    let output = hilum(&["serve", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("queue_"), "{}", text(&output));
    let output = hilum(&["serve", "--config", "/nowhere/hilum.toml"]);
    assert!(text(&output).contains("/nowhere/hilum.toml: there is no such file"));
}
