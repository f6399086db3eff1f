//! Models whose first dimension is fixed or no batch, and models of several tensors.

use hilum::catalog::ModelControl;
use hilum::proto::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use hilum::proto::inference::{ModelInferRequest, ModelInferResponse, ModelMetadataRequest};
use proptest::prelude::*;
use tonic::Code;

use crate::harness::{Server, bytes_of, config, floats, root};

async fn start(models: &[&str]) -> Server {
    let mut config = config();
    config.models.directory = root().join("tests/models");
    config.models.control = ModelControl::Explicit;
    config.models.load = models.iter().map(|name| (*name).to_owned()).collect();
    let server = Server::start(config);
    server.wait_ready().await;
    server
}

fn ask(model: &str, inputs: &[(&str, &[i64], &[f32])]) -> ModelInferRequest {
    let tensor = |(name, shape, _): &(&str, &[i64], &[f32])| InferInputTensor {
        name: (*name).to_owned(),
        datatype: "FP32".to_owned(),
        shape: shape.to_vec(),
        ..Default::default()
    };
    ModelInferRequest {
        model_name: model.to_owned(),
        inputs: inputs.iter().map(tensor).collect(),
        raw_input_contents: inputs.iter().map(|(.., data)| bytes_of(data).into()).collect(),
        ..Default::default()
    }
}

fn output(response: &ModelInferResponse, name: &str) -> (Vec<i64>, Vec<f32>) {
    let place = response.outputs.iter().position(|output| output.name == name).unwrap();
    (response.outputs[place].shape.clone(), floats(&response.raw_output_contents[place]))
}

/// The graph of `fixed_batch` takes four rows, no more and no less.
#[test]
fn any_number_of_rows_goes_through_a_fixed_batch() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(start(&["fixed_batch"]));
    let client = runtime.block_on(server.client());
    let metadata = runtime.block_on(async {
        let request =
            ModelMetadataRequest { name: "fixed_batch".to_owned(), version: String::new() };
        client.clone().model_metadata(request).await.unwrap().into_inner()
    });
    assert_eq!(
        (&*metadata.inputs[0].shape, &*metadata.outputs[0].shape),
        (&[-1, 2][..], &[-1, 2][..])
    );
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(40));
    let requests = prop::collection::vec(1_usize..14, 1..6);
    runner
        .run(&requests, |sizes| {
            runtime.block_on(async {
                let mut calls = tokio::task::JoinSet::new();
                for (n, rows) in sizes.iter().copied().enumerate() {
                    let mut client = client.clone();
                    calls.spawn(async move {
                        let data: Vec<f32> = (0..rows * 2).map(|i| (n * 100 + i) as f32).collect();
                        let message = ask("fixed_batch", &[("x", &[rows as i64, 2], &data)]);
                        let response = client.model_infer(message).await.unwrap().into_inner();
                        let (shape, found) = output(&response, "y");
                        assert_eq!(shape, [rows as i64, 2]);
                        assert_eq!(found, data.iter().map(|x| x * 2.0).collect::<Vec<_>>());
                    });
                }
                calls.join_all().await;
            });
            Ok(())
        })
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_without_a_batch_takes_its_shape_and_no_other() {
    let server = start(&["no_batch"]).await;
    let mut client = server.client().await;
    let scale: (&str, &[i64], &[f32]) = ("scale", &[1], &[10.0]);
    let message = ask("no_batch", &[("x", &[3], &[1.0, 2.0, 3.0]), scale]);
    let response = client.model_infer(message).await.unwrap().into_inner();
    assert_eq!(output(&response, "y"), (vec![3], vec![10.0, 20.0, 30.0]));
    let message = ask("no_batch", &[("x", &[1, 3], &[1.0, 2.0, 3.0]), scale]);
    let status = client.model_infer(message).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("[3]"), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inputs_in_any_order_and_outputs_in_the_order_asked_for() {
    let server = start(&["two_by_two"]).await;
    let mut client = server.client().await;
    let (a, b): (&[f32], &[f32]) = (&[5.0; 6], &[2.0; 6]);
    let mut message = ask("two_by_two", &[("b", &[2, 3], b), ("a", &[2, 3], a)]);
    let response = client.model_infer(message.clone()).await.unwrap().into_inner();
    assert_eq!(response.outputs.len(), 2);
    assert_eq!(output(&response, "sum").1, [7.0; 6]);
    assert_eq!(output(&response, "difference").1, [3.0; 6]);
    for names in [vec!["difference"], vec!["difference", "sum"]] {
        let wanted = |name: &&str| InferRequestedOutputTensor {
            name: (*name).to_owned(),
            ..Default::default()
        };
        message.outputs = names.iter().map(wanted).collect();
        let response = client.model_infer(message.clone()).await.unwrap().into_inner();
        let found: Vec<&str> = response.outputs.iter().map(|output| &*output.name).collect();
        assert_eq!(found, names);
        assert_eq!(floats(&response.raw_output_contents[0]), [3.0; 6]);
    }
    let message = ask("two_by_two", &[("b", &[2, 3], b), ("a", &[1, 3], &a[..3])]);
    let status = client.model_infer(message).await.unwrap_err();
    assert!(status.message().contains("'b' has 2 rows and 'a' has 1"), "{status}");
}

/// Rows of a model that takes its time, one run each: what leaves the queue in the middle of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_while_it_is_queued_costs_no_run() {
    let mut config = config();
    config.models.directory = root().join("tests/models");
    config.models.control = ModelControl::Explicit;
    config.models.load = vec!["slow".to_owned()];
    config.engine.instances = 1;
    config.engine.deterministic = true;
    let server = Server::start(config);
    server.wait_ready().await;
    let depth = r#"hilum_queue_depth{model="slow",version="1"}"#;
    let rows_run = r#"hilum_rows_total{model="slow",version="1"}"#;
    let client = server.client().await;
    let call = |rows: usize| {
        let mut client = client.clone();
        tokio::spawn(async move {
            let message = ask("slow", &[("x", &[rows as i64, 16], &vec![1.0; rows * 16])]);
            client.model_infer(message).await
        })
    };
    let ahead = call(40);
    let deadline = tokio::time::Instant::now() + crate::harness::PATIENCE;
    let wait = async |holds: &dyn Fn(f64) -> bool| {
        while !holds(server.metric(depth).await) {
            assert!(tokio::time::Instant::now() < deadline);
            tokio::task::yield_now().await;
        }
    };
    wait(&|rows| rows > 0.0).await;
    let leaving = call(500);
    wait(&|rows| rows > 400.0).await;
    leaving.abort();
    ahead.await.unwrap().unwrap();
    let after = client.clone().model_infer(ask("slow", &[("x", &[1, 16], &[1.0; 16])])).await;
    assert!(after.is_ok());
    // The forty, the one, and at most what began before the service heard of the leaving.
    let ran = server.metric(rows_run).await;
    assert!((41.0..80.0).contains(&ran), "{ran} rows were run");
}
