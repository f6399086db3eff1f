//! The core calls of the Open Inference Protocol, health, the probe and reflection.

use hilum::proto::inference::*;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{Server, request, scores};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_six_core_calls_answer_for_two_versions() {
    let server = Server::ready().await;
    let mut client = server.client().await;
    assert!(client.server_live(ServerLiveRequest {}).await.unwrap().into_inner().live);
    assert!(client.server_ready(ServerReadyRequest {}).await.unwrap().into_inner().ready);
    let metadata = client.server_metadata(ServerMetadataRequest {}).await.unwrap().into_inner();
    assert_eq!(metadata.name, "hilum");
    for (asked, meant) in [("", "2"), ("champion", "2"), ("1", "1"), ("2", "2")] {
        let (name, version) = ("mnist".to_owned(), asked.to_owned());
        let ready = ModelReadyRequest { name: name.clone(), version: version.clone() };
        assert!(client.model_ready(ready).await.unwrap().into_inner().ready);
        let metadata = ModelMetadataRequest { name, version: version.clone() };
        let metadata = client.model_metadata(metadata).await.unwrap().into_inner();
        assert_eq!(metadata.versions, ["1", "2", "3", "4"]);
        assert_eq!(metadata.inputs[0].shape, [-1, 1, 28, 28]);
        assert_eq!((metadata.outputs.len(), &*metadata.outputs[0].name), (1, "probabilities"));
        let message = ModelInferRequest {
            model_version: version,
            id: "my own id".to_owned(),
            ..request(3, 7)
        };
        let response = client.model_infer(message).await.unwrap();
        assert_eq!(response.metadata().get("x-model-version").unwrap(), meant);
        let timing = response.metadata().get("server-timing").unwrap().to_str().unwrap();
        assert!(timing.contains("infer;dur="), "{timing}");
        let response = response.into_inner();
        assert_eq!((&*response.model_version, &*response.id), (meant, "my own id"));
        assert_eq!(response.outputs[0].shape, [3, 10]);
        for row in scores(&response) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{row:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typed_and_raw_contents_mean_the_same() {
    let server = Server::ready().await;
    let mut client = server.client().await;
    let raw = request(2, 3);
    let mut typed = raw.clone();
    let pixels = crate::harness::pixels(2, 3);
    typed.raw_input_contents.clear();
    typed.inputs[0].contents =
        Some(InferTensorContents { fp32_contents: pixels, ..Default::default() });
    let raw = client.model_infer(raw).await.unwrap().into_inner();
    let typed = client.model_infer(typed).await.unwrap().into_inner();
    assert_eq!(scores(&raw), scores(&typed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_knows_the_server_each_model_and_nothing_else() {
    let server = Server::ready().await;
    let mut health = HealthClient::new(server.channel().await);
    for service in ["", "mnist", "inference.GRPCInferenceService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let status = health.check(request).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service:?}");
    }
    let unknown = HealthCheckRequest { service: "cats".to_owned() };
    assert_eq!(health.check(unknown).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_tells_the_state_and_then_the_end() {
    let server = Server::ready().await;
    let mut health = HealthClient::new(server.channel().await);
    let request = HealthCheckRequest { service: String::new() };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    // The end must not wait for a watcher, and tells it.
    let ending = tokio::task::spawn_blocking(move || drop(server));
    let second = watch.message().await.unwrap().unwrap();
    assert_eq!(second.status(), ServingStatus::NotServing);
    ending.await.unwrap();
}

/// A model comes, goes and comes again under its watchers; one who watches another model hears
/// nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_tells_each_change_of_a_models_state_and_of_no_others() {
    use crate::harness::{PATIENCE, serve_models};
    let server = serve_models(&["two_by_two"]).await;
    let mut client = server.client().await;
    let mut health = HealthClient::new(server.channel().await);
    let asked = |service: &str| HealthCheckRequest { service: service.to_owned() };
    let mut other = health.watch(asked("two_by_two")).await.unwrap().into_inner();
    assert_eq!(other.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let mut watch = health.watch(asked("scores")).await.unwrap().into_inner();
    let mut seen = vec![watch.message().await.unwrap().unwrap().status()];
    let model_name = "scores".to_owned();
    let load = RepositoryModelLoadRequest { model_name: model_name.clone(), ..Default::default() };
    let unload = RepositoryModelUnloadRequest { model_name, ..Default::default() };
    for change in ["load", "unload", "load"] {
        let wanted = match change {
            "load" => {
                client.repository_model_load(load.clone()).await.unwrap();
                ServingStatus::Serving
            }
            _ => {
                client.repository_model_unload(unload.clone()).await.unwrap();
                ServingStatus::NotServing
            }
        };
        let told = async {
            loop {
                let state = watch.message().await.unwrap().unwrap().status();
                // Each message is a change.
                assert_ne!(seen.last(), Some(&state));
                seen.push(state);
                if state == wanted {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, told).await.expect(change);
        assert_eq!(
            health.check(asked("scores")).await.unwrap().into_inner().status(),
            wanted,
            "{seen:?}"
        );
    }
    let silent = tokio::time::timeout(std::time::Duration::from_millis(50), other.message()).await;
    assert!(silent.is_err(), "the other model did not change");
    let unknown = health.watch(asked("cats")).await.unwrap().into_inner().message().await;
    assert_eq!(unknown.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_probe_answers_with_a_status_also_without_a_message() {
    use hilum::proto::hilum::v1::probe_client::ProbeClient;
    use hilum::proto::hilum::v1::{ReadyRequest, ReadyResponse};
    let server = Server::ready().await;
    let channel = server.channel().await;
    ProbeClient::new(channel.clone()).ready(ReadyRequest {}).await.unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let empty = tonic::Request::new(tokio_stream::empty::<ReadyRequest>());
    let path = http::uri::PathAndQuery::from_static("/hilum.v1.Probe/Ready");
    let codec = tonic_prost::ProstCodec::<ReadyRequest, ReadyResponse>::default();
    grpc.client_streaming(empty, path, codec).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_count_what_was_answered() {
    let server = Server::ready().await;
    let mut client = server.client().await;
    for _ in 0..3 {
        client.model_infer(request(5, 1)).await.unwrap();
    }
    let labels = r#"{protocol="grpc",model="mnist",version="2",code="OK"}"#;
    assert_eq!(server.metric(&format!("hilum_requests_total{labels}")).await, 3.0);
    let labels = r#"{model="mnist",version="2"}"#;
    assert_eq!(server.metric(&format!("hilum_rows_total{labels}")).await, 15.0);
    // On a busy machine a request of five rows may take more runs than one, by what its warm-up took.
    assert_eq!(server.metric(&format!("hilum_batch_size_sum{labels}")).await, 15.0);
    assert!(server.metric(&format!("hilum_batch_size_count{labels}")).await >= 3.0);
    assert_eq!(server.metric("hilum_ready").await, 1.0);
    assert_eq!(server.get("/livez").await.0, 200);
    assert_eq!(server.get("/nothing").await.0, 404);
}
