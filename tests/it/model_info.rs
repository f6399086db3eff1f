//! What the service says of its models: configuration, and statistics that agree with what was done.

use hilum::proto::inference::model_config::SchedulingChoice;
use hilum::proto::inference::model_instance_group::Kind;
use hilum::proto::inference::*;
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::{Server, bytes_of, config, raw_request, request, serve_models, with_models};

async fn config_of(server: &Server, name: &str, version: &str) -> ModelConfig {
    let request = ModelConfigRequest { name: name.to_owned(), version: version.to_owned() };
    server.client().await.model_config(request).await.unwrap().into_inner().config.unwrap()
}

async fn statistics_of(server: &Server, name: &str, version: &str) -> Vec<ModelStatistics> {
    let request = ModelStatisticsRequest { name: name.to_owned(), version: version.to_owned() };
    server.client().await.model_statistics(request).await.unwrap().into_inner().model_stats
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_says_what_runs() {
    let mut settings = config();
    settings.engine.instances = 3;
    let server = Server::start(settings);
    server.wait_ready().await;
    let found = config_of(&server, "mnist", "").await;
    assert_eq!(
        (&*found.name, &*found.platform, &*found.backend),
        ("mnist", "onnxruntime_onnx", "onnxruntime")
    );
    assert_eq!(found.max_batch_size, 32);
    assert_eq!((&*found.input[0].name, &*found.input[0].dims), ("image", &[1, 28, 28][..]));
    assert_eq!(found.input[0].data_type(), DataType::TypeFp32);
    let outputs: Vec<_> = found.output.iter().map(|o| (&*o.name, &*o.dims)).collect();
    assert_eq!(outputs, [("probabilities", &[10_i64][..])]);
    assert_eq!((found.instance_group[0].count, found.instance_group[0].kind()), (3, Kind::Cpu));
    assert!(matches!(found.scheduling_choice, Some(SchedulingChoice::DynamicBatching(_))));
    assert_eq!(found.parameters["execution_provider"].string_value, "cpu");
    assert_eq!(found.parameters["bundle_sha256"].string_value.len(), 64);
    // Metadata and configuration agree: a leading -1, and dims without it.
    let metadata = ModelMetadataRequest { name: "mnist".to_owned(), version: "2".to_owned() };
    let metadata = server.client().await.model_metadata(metadata).await.unwrap().into_inner();
    assert_eq!(metadata.inputs[0].shape[1..], found.input[0].dims);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_without_a_batch_and_with_a_fixed_one_say_so() {
    let server = serve_models(&["no_batch", "fixed_batch", "echo_bytes"]).await;
    let none = config_of(&server, "no_batch", "1").await;
    assert_eq!((none.max_batch_size, none.scheduling_choice), (0, None));
    assert_eq!((&*none.input[0].dims, &*none.input[1].dims), (&[3][..], &[1][..]));
    let fixed = config_of(&server, "fixed_batch", "").await;
    assert_eq!((fixed.max_batch_size, &*fixed.input[0].dims), (4, &[2][..]));
    let text = config_of(&server, "echo_bytes", "").await;
    assert_eq!(text.input[0].data_type(), DataType::TypeString);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_agree_with_each_other_and_with_what_was_asked() {
    let server = Server::ready().await;
    assert_eq!(statistics_of(&server, "mnist", "2").await[0].inference_count, 0);
    let mut calls = JoinSet::new();
    let sizes = [1_usize, 1, 2, 3, 5, 8, 13, 21, 34, 80];
    for (seed, rows) in sizes.iter().copied().enumerate() {
        let mut client = server.client().await;
        calls.spawn(async move { client.model_infer(request(rows, seed as u32)).await.unwrap() });
    }
    calls.join_all().await;
    let mut client = server.client().await;
    let wrong = ModelInferRequest { raw_input_contents: vec![vec![0; 8].into()], ..request(1, 1) };
    // Refused by the message alone: no version is known yet, so that none counts it.
    client.model_infer(wrong).await.unwrap_err();
    let mut wrong = request(2, 1);
    wrong.inputs[0].name = "picture".to_owned();
    client.model_infer(wrong).await.unwrap_err();

    let stats = statistics_of(&server, "mnist", "2").await.remove(0);
    let rows: u64 = sizes.iter().sum::<usize>() as u64;
    assert_eq!(stats.inference_count, rows);
    let of = |duration: &Option<StatisticDuration>| duration.unwrap();
    let runs: u64 = stats.batch_stats.iter().map(|b| of(&b.compute_infer).count).sum();
    assert_eq!(stats.execution_count, runs);
    let by_size: u64 =
        stats.batch_stats.iter().map(|b| b.batch_size * of(&b.compute_infer).count).sum();
    assert_eq!(by_size, rows);
    assert!(stats.batch_stats.windows(2).all(|two| two[0].batch_size < two[1].batch_size));
    assert!(stats.batch_stats.iter().all(|b| b.batch_size <= 32));
    let all = stats.inference_stats.unwrap();
    for duration in
        [&all.success, &all.queue, &all.compute_input, &all.compute_infer, &all.compute_output]
    {
        assert_eq!(of(duration).count, sizes.len() as u64);
    }
    assert_eq!(of(&all.fail).count, 1);
    // A request's time holds its parts; a run takes more than nothing and less than a minute.
    let parts = of(&all.queue).ns + of(&all.compute_infer).ns;
    assert!(of(&all.compute_infer).ns > 1000 && of(&all.success).ns > 1000, "{all:?}");
    assert!(parts < 60_000_000_000 * sizes.len() as u64, "{all:?}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = now.as_millis() as u64;
    assert!(stats.last_inference <= now && now - stats.last_inference < 600_000);
    assert!(stats.memory_usage[0].byte_size > 0);

    // Version 1 has done nothing; without a version all are told, without a name all models.
    let both = statistics_of(&server, "mnist", "").await;
    let versions: Vec<_> = both.iter().map(|s| (&*s.version, s.inference_count)).collect();
    assert_eq!(versions[..2], [("1", 0), ("2", rows)]);
    let mut all = statistics_of(&server, "", "").await;
    all.retain(|stats| stats.name == "mnist");
    assert_eq!(all, both);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_loaded_anew_counts_anew() {
    let server = Server::start(with_models(&["two_by_two"]));
    server.wait_ready().await;
    let mut client = server.client().await;
    let row = bytes_of(&[1.0, 2.0, 3.0]);
    let message =
        raw_request("two_by_two", &[("a", "FP32", &[1, 3], &row), ("b", "FP32", &[1, 3], &row)]);
    client.model_infer(message.clone()).await.unwrap();
    assert_eq!(statistics_of(&server, "two_by_two", "1").await[0].execution_count, 1);
    let model_name = "two_by_two".to_owned();
    let unload =
        RepositoryModelUnloadRequest { model_name: model_name.clone(), ..Default::default() };
    client.repository_model_unload(unload).await.unwrap();
    let gone = ModelStatisticsRequest { name: model_name.clone(), version: String::new() };
    assert!(client.model_statistics(gone).await.is_err());
    let load = RepositoryModelLoadRequest { model_name, ..Default::default() };
    client.repository_model_load(load).await.unwrap();
    assert_eq!(statistics_of(&server, "two_by_two", "1").await[0].execution_count, 0);
    client.model_infer(message).await.unwrap();
    assert_eq!(statistics_of(&server, "two_by_two", "1").await[0].execution_count, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_models_have_neither() {
    let server = Server::ready().await;
    let mut client = server.client().await;
    for (name, version, code) in [
        ("cats", "", Code::NotFound),
        ("mnist", "9", Code::NotFound),
        ("mnist", "newest", Code::InvalidArgument),
        ("../mnist", "", Code::InvalidArgument),
        ("", "2", Code::InvalidArgument),
    ] {
        let (name, version) = (name.to_owned(), version.to_owned());
        let asked = ModelConfigRequest { name: name.clone(), version: version.clone() };
        assert_eq!(client.model_config(asked).await.unwrap_err().code(), code, "{name}/{version}");
        if !name.is_empty() {
            let asked = ModelStatisticsRequest { name: name.clone(), version };
            assert_eq!(client.model_statistics(asked).await.unwrap_err().code(), code, "{name}");
        }
    }
}
