//! The binary's commands, as a user starts them.

use std::process::{Command, Output, Stdio};

use crate::harness::{Server, root};

pub fn hilum(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hilum"));
    command.current_dir(root()).env_remove("ORT_DYLIB_PATH").args(arguments).output().unwrap()
}

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_reader_that_goes_changes_no_exit_code() {
    for (arguments, code) in [
        (["bundle", "describe", "models/pneumonia/3", "--output", "json"].as_slice(), 0),
        (&["bundle", "describe", "models/pneumonia/3"], 0),
        (&["doctor", "--onnxruntime", "/nonexistent.so", "--output", "json"], 3),
    ] {
        assert_eq!(hilum(arguments).status.code(), Some(code), "{arguments:?}");
        let mut unread = Command::new(env!("CARGO_BIN_EXE_hilum"))
            .current_dir(root())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(unread.stdout.take());
        let unread = unread.wait_with_output().unwrap();
        assert_eq!(unread.status.code(), Some(code), "{arguments:?}: {}", text(&unread));
        assert!(!text(&unread).contains("panicked"), "{arguments:?}: {}", text(&unread));
    }
}

#[test]
fn every_command_has_help_with_an_example() {
    let all = text(&hilum(&["--help"]));
    for command in ["serve", "predict", "bench", "healthcheck", "doctor", "completions", "man"] {
        assert!(all.contains(command), "{all}");
        let output = hilum(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output).contains("hilum "), "{}", text(&output));
        assert!(text(&output).contains("Example"), "{command}: {}", text(&output));
    }
    assert_eq!(hilum(&["bake"]).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preferred_provider_that_is_missing_is_counted_and_shown() {
    use hilum::engine::{Provider, ProviderMode, ProviderName};
    use hilum::proto::inference::ModelMetadataRequest;
    let mut config = crate::harness::config();
    let (name, mode) = (ProviderName::Tensorrt, ProviderMode::Prefer);
    config.engine.providers = vec![Provider { name, mode, device: 0 }];
    let server = Server::start(config);
    server.wait_ready().await;
    if ProviderName::Tensorrt.is_built_in() {
        println!("skipped: this ONNX Runtime has TensorRT");
        return;
    }
    let labels = r#"{model="mnist",version="2",reason="tensorrt"}"#;
    assert_eq!(server.metric(&format!("hilum_provider_fallbacks_total{labels}")).await, 1.0);
    let request = ModelMetadataRequest { name: "mnist".to_owned(), version: String::new() };
    let metadata = server.client().await.model_metadata(request).await.unwrap().into_inner();
    assert_eq!(metadata.properties["execution_provider"], "cpu");
    let (_, metrics) = server.get("/metrics").await;
    assert!(metrics.contains(r#"alias="champion",provider="cpu"} 1"#), "{metrics}");
}

/// Runs where a device and a library that has the provider are; elsewhere it says that it skips.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gpu_gives_the_answers_of_the_cpu() {
    use crate::harness::{request, scores};
    use hilum::engine::{Provider, ProviderMode, ProviderName};
    let cpu = Server::ready().await;
    let (name, mode) = (ProviderName::Cuda, ProviderMode::Require);
    if !name.is_built_in() {
        println!("skipped: this ONNX Runtime was built without CUDA");
        return;
    }
    if !["/dev/nvidia0", "/dev/dxg"].iter().any(|device| std::path::Path::new(device).exists()) {
        println!("skipped: there is no CUDA device");
        return;
    }
    let mut config = crate::harness::config();
    config.engine.providers = vec![Provider { name, mode, device: 0 }];
    let gpu = Server::start(config);
    gpu.wait_ready().await;
    let mut answers = Vec::new();
    for server in [&cpu, &gpu] {
        let response = server.client().await.model_infer(request(32, 4)).await.unwrap();
        answers.push(scores(response.get_ref()));
    }
    let pairs = answers[0].iter().flatten().zip(answers[1].iter().flatten());
    let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-3, "{worst}");
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
        let free = ["--http-address", "--grpc-address", "--metrics-address"]
            .map(|flag| [flag, "127.0.0.1:0"])
            .concat();
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

/// Digests hold, and still the version would not be served.
#[test]
fn doctor_runs_what_serve_runs() {
    let (_folder, models) = crate::harness::models_copy();
    let goldens = models.join("mnist/1/goldens.json");
    let broken = std::fs::read_to_string(&goldens).unwrap().replacen("0.0898", "0.1898", 1);
    std::fs::write(&goldens, broken).unwrap();
    crate::harness::seal(&models.join("mnist/1"));
    let output = hilum(&["doctor", "--models", models.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("golden case"), "{}", text(&output));
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
    assert!(found.contains("version 2 answers its goldens on cpu"), "{found}");
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

#[test]
fn a_required_provider_that_is_missing_stops_the_start_and_a_preferred_one_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hilum.toml");
    let wish = "[[engine.providers]]\nname = \"cuda\"\nmode = \"require\"\n";
    std::fs::write(&file, wish).unwrap();
    let free = ["--grpc-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"];
    let file = file.to_str().unwrap();
    let output = hilum(&[&["serve", "--config", file], &free[..]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    for word in ["engine.providers: cuda is required", "built without it", "prefer"] {
        assert!(text(&output).contains(word), "{}", text(&output));
    }
}
