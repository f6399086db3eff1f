//! Models come and go while the service runs, without a lost or mixed answer.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hilum::catalog::ModelControl;
use hilum::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use hilum::proto::inference::*;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

use crate::harness::{
    PATIENCE, Server, config, connect, copy, models_copy, request, root, scores, seal, until,
};
use crate::process::Process;

type Client = GrpcInferenceServiceClient<Channel>;

/// A bare folder with version 1 in it.
fn bare(models: &Path) {
    put(models, "1", "1");
}

/// Puts MNIST version `content` into the bare folder as version `number`: written aside, renamed.
fn put(models: &Path, number: &str, content: &str) {
    let folder = models.join("bare");
    let aside = folder.join(format!(".{number}"));
    fs::create_dir_all(&aside).unwrap();
    let model = root().join("models/mnist").join(content).join("model.onnx");
    fs::copy(model, aside.join("model.onnx")).unwrap();
    fs::rename(aside, folder.join(number)).unwrap();
}

async fn start(models: &Path, control: ModelControl) -> Server {
    let mut config = config();
    config.models.directory = models.to_owned();
    config.models.control = control;
    config.models.poll_interval = Duration::from_millis(20);
    if control == ModelControl::Explicit {
        config.models.load = vec!["*".to_owned()];
    }
    let server = Server::start(config);
    server.wait_ready().await;
    server
}

fn ask(model: &str, version: &str) -> ModelInferRequest {
    let (model_name, model_version) = (model.to_owned(), version.to_owned());
    ModelInferRequest { model_name, model_version, ..request(2, 9) }
}

async fn load(client: &mut Client, name: &str) -> Result<(), tonic::Status> {
    let model_name = name.to_owned();
    let request = RepositoryModelLoadRequest { model_name, ..Default::default() };
    let response = client.repository_model_load(request).await?.into_inner();
    assert_eq!((&*response.model_name, response.is_loaded), (name, true));
    Ok(())
}

async fn unload(client: &mut Client, name: &str) -> Result<(), tonic::Status> {
    // KServe's and MLServer's clients put the model into field 1.
    let repository_name = name.to_owned();
    let request = RepositoryModelUnloadRequest { repository_name, ..Default::default() };
    let response = client.repository_model_unload(request).await?.into_inner();
    assert_eq!((&*response.model_name, response.is_unloaded), (name, true));
    Ok(())
}

async fn index(client: &mut Client) -> Vec<(String, String, String)> {
    let response = client.repository_index(RepositoryIndexRequest::default()).await.unwrap();
    let models = response.into_inner().models.into_iter();
    models.map(|m| (format!("{}/{}", m.name, m.version), m.state, m.reason)).collect()
}

async fn version_of(client: &mut Client, model: &str) -> Result<String, tonic::Status> {
    Ok(client.model_infer(ask(model, "")).await?.into_inner().model_version)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_load_and_unload_in_both_dialects() {
    let (_folder, models) = models_copy();
    bare(&models);
    let server = start(&models, ModelControl::Explicit).await;
    let mut client = server.client().await;
    assert_eq!(version_of(&mut client, "bare").await.unwrap(), "1");
    unload(&mut client, "bare").await.unwrap();
    let status = version_of(&mut client, "bare").await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    assert!(status.message().contains("version 1 of model 'bare' is not loaded"), "{status}");
    let all = index(&mut client).await;
    let entry =
        |state: &str, reason: &str| ("bare/1".to_owned(), state.to_owned(), reason.to_owned());
    assert!(all.contains(&entry("UNAVAILABLE", "unloaded by a caller")), "{all:?}");
    put(&models, "2", "2");
    load(&mut client, "bare").await.unwrap();
    assert_eq!(version_of(&mut client, "bare").await.unwrap(), "2");
    assert!(index(&mut client).await.contains(&entry("READY", "")));
    // Twice is as good as once, also at the same time.
    let (mut one, mut two) = (client.clone(), client.clone());
    let (a, b) = tokio::join!(load(&mut one, "bare"), load(&mut two, "bare"));
    assert!(a.is_ok() && b.is_ok());
    for (name, code, words) in [
        ("cats", Code::NotFound, "unknown model 'cats'"),
        ("../mnist", Code::InvalidArgument, "'../mnist' is not a model name"),
        ("", Code::InvalidArgument, "is not a model name"),
    ] {
        for status in [load(&mut client, name).await, unload(&mut client, name).await] {
            let status = status.unwrap_err();
            assert_eq!(status.code(), code, "{name}: {status}");
            assert!(status.message().contains(words), "{name}: {status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_load_says_why_and_the_old_version_keeps_serving() {
    let (_folder, models) = models_copy();
    let server = start(&models, ModelControl::Explicit).await;
    let mut client = server.client().await;
    let before = client.model_infer(ask("mnist", "2")).await.unwrap().into_inner();
    let goldens = models.join("mnist/2/goldens.json");
    let text = fs::read_to_string(&goldens).unwrap();
    fs::write(&goldens, text.replacen("\"absolute\": 1e-05", "\"absolute\": -1.0", 1)).unwrap();
    seal(&models.join("mnist/2"));
    let status = load(&mut client, "mnist").await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    for word in ["version 2", "goldens.json", "golden case"] {
        assert!(status.message().contains(word), "{status}");
    }
    let after = client.model_infer(ask("mnist", "2")).await.unwrap().into_inner();
    assert_eq!(before.raw_output_contents, after.raw_output_contents);
    let all = index(&mut client).await;
    let entry = all.iter().find(|(name, ..)| name == "mnist/2").unwrap();
    assert_eq!(entry.1, "READY");
    assert!(entry.2.contains("a newer content was refused"), "{entry:?}");
    fs::write(&goldens, text).unwrap();
    seal(&models.join("mnist/2"));
    load(&mut client, "mnist").await.unwrap();
    assert!(index(&mut client).await.contains(&("mnist/2".into(), "READY".into(), String::new())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_explicit_control_nobody_loads_or_unloads() {
    let server = Server::ready().await;
    let mut client = server.client().await;
    let status = unload(&mut client, "mnist").await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("models.control = \"explicit\""), "{status}");
    assert_eq!(version_of(&mut client, "mnist").await.unwrap(), "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_does_not_fit_the_memory_limit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    copy(&root().join("models/mnist"), &folder.path().join("mnist"));
    let mut config = config();
    config.models.directory = folder.path().to_owned();
    config.models.memory_limit = 7 << 20;
    config.engine.instances = 2;
    let server = Server::start(config);
    server.wait_ready().await;
    let mut client = server.client().await;
    // Version 2 is loaded first: 3 × 1.7 MB; 3 × 0.9 MB more are too many.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let all = index(&mut client).await;
        let first = all.iter().find(|(name, ..)| name == "mnist/1").unwrap();
        if first.1 == "UNAVAILABLE" {
            assert!(first.2.contains("models.memory_limit = 7340032"), "{first:?}");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{all:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let bytes = server.metric(r#"hilum_model_memory_bytes{model="mnist",version="2"}"#).await;
    assert!((5e6..6e6).contains(&bytes), "{bytes}");
}

/// Calls one model without end and counts; every answer is held against the version that it names.
async fn caller(
    mut client: Client,
    expected: Arc<[Vec<Vec<f32>>; 2]>,
    counts: Arc<[AtomicUsize; 2]>,
    stop: Arc<AtomicBool>,
) {
    while !stop.load(Ordering::Relaxed) {
        let response = client.model_infer(ask("bare", "")).await.expect("no request fails");
        let response = response.into_inner();
        let even = usize::from(response.model_version != "1");
        assert_eq!(scores(&response), expected[even], "mixed: {}", response.model_version);
        counts[even].fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_swaps_under_load_lose_and_mix_nothing() {
    let (_folder, models) = models_copy();
    fs::remove_dir_all(models.join("mnist")).unwrap();
    bare(&models);
    let process = Process::start(&[
        ("MODELS__DIRECTORY", models.to_str().unwrap()),
        ("MODELS__CONTROL", "poll"),
        ("MODELS__POLL_INTERVAL", "20ms"),
    ]);
    process.wait_ready().await;
    let mut client = GrpcInferenceServiceClient::new(connect(process.grpc).await);
    let mut answers = Vec::new();
    put(&models, "2", "2");
    wait_for(&mut client, "2").await;
    for version in ["1", "2"] {
        let response = client.model_infer(ask("bare", version)).await.unwrap();
        answers.push(scores(response.get_ref()));
    }
    fs::remove_dir_all(models.join("bare/2")).unwrap();
    wait_for(&mut client, "1").await;
    let expected: Arc<[_; 2]> = Arc::new(answers.try_into().unwrap());
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let client = GrpcInferenceServiceClient::new(connect(process.grpc).await);
        let (expected, counts, stop) =
            (Arc::clone(&expected), Arc::clone(&counts), Arc::clone(&stop));
        callers.spawn(caller(client, expected, counts, stop));
    }
    let mut resident = Vec::new();
    for swap in 1..=200 {
        if swap % 2 == 1 {
            put(&models, "2", "2");
            wait_for(&mut client, "2").await;
        } else {
            let gone = models.join("bare/.gone");
            fs::rename(models.join("bare/2"), &gone).unwrap();
            fs::remove_dir_all(gone).unwrap();
            wait_for(&mut client, "1").await;
        }
        resident.push(process.resident_bytes());
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended.expect("a caller met a failed or mixed answer");
    }
    assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) > 100), "{counts:?}");
    // The least of ten: a sample taken in the middle of a load holds both versions.
    let least = |swaps: &[usize]| swaps.iter().copied().min().unwrap();
    let (early, late) = (least(&resident[10..20]), least(&resident[190..200]));
    println!("RSS after swap 20: {early}, after swap 200: {late}, answers: {counts:?}");
    assert!(late as f64 <= early as f64 * 1.10, "RSS grew from {early} to {late}");
}

/// Waits until the champion is this version.
async fn wait_for(client: &mut Client, version: &str) {
    let what = format!("version {version} comes");
    until(&what, async || version_of(client, "bare").await.unwrap() == version).await;
}
