//! Parameters of requests and tensors: classes, timeouts, shared memory, and nonsense.

use hilum::proto::inference::infer_parameter::ParameterChoice;
use hilum::proto::inference::model_infer_request::InferRequestedOutputTensor;
use hilum::proto::inference::*;
use tonic::Code;

use crate::harness::{
    Server, bytes_of, int, raw_request, request, scores, serve_models, text, unpacked,
};

fn output(name: &str, parameters: &[(&str, InferParameter)]) -> InferRequestedOutputTensor {
    let parameters = parameters.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
    InferRequestedOutputTensor { name: name.to_owned(), parameters: parameters.collect() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn classification_names_the_highest_scores_with_their_labels() {
    let server = Server::ready().await;
    let mut client = server.client().await;
    let plain = scores(client.model_infer(request(3, 5)).await.unwrap().get_ref());
    let mut message = request(3, 5);
    message.outputs = vec![output("probabilities", &[("classification", int(2))])];
    let answer = client.model_infer(message).await.unwrap().into_inner();
    let told = &answer.outputs[0];
    assert_eq!((&*told.datatype, &*told.shape), ("BYTES", &[3, 2][..]));
    let classes = unpacked(&answer.raw_output_contents[0]);
    for (row, found) in plain.iter().zip(classes.chunks(2)) {
        let mut order: Vec<usize> = (0..10).collect();
        order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        for (index, class) in order.iter().zip(found) {
            let [value, at, label]: [&str; 3] =
                class.split(':').collect::<Vec<_>>().try_into().unwrap();
            assert_eq!(at, index.to_string());
            // The labels of mnist are its digits.
            assert_eq!(label, index.to_string());
            assert!((value.parse::<f32>().unwrap() - row[*index]).abs() < 1e-5);
            assert_eq!(value.split('.').nth(1).unwrap().len(), 6, "{value}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn classification_of_known_scores_without_labels() {
    let server = serve_models(&["scores", "no_batch", "echo_bool"]).await;
    let mut client = server.client().await;
    let rows = bytes_of(&[0.1, 0.5, 0.2, 0.5, -3.0, 9.0, 8.0, 7.0, 6.0, 5.0]);
    let mut message = raw_request("scores", &[("x", "FP32", &[2, 5], &rows)]);
    message.outputs = vec![output("y", &[("classification", int(3))])];
    let answer = client.model_infer(message).await.unwrap().into_inner();
    let expected =
        ["0.500000:1", "0.500000:3", "0.200000:2", "9.000000:0", "8.000000:1", "7.000000:2"];
    assert_eq!(unpacked(&answer.raw_output_contents[0]), expected);
    // More than there are are all; a model without rows has one list.
    let (x, scale) = (bytes_of(&[1.0, 3.0, 2.0]), bytes_of(&[2.0]));
    let mut message =
        raw_request("no_batch", &[("x", "FP32", &[3], &x), ("scale", "FP32", &[1], &scale)]);
    message.outputs = vec![output("y", &[("classification", int(99))])];
    let answer = client.model_infer(message).await.unwrap().into_inner();
    assert_eq!(answer.outputs[0].shape, [3]);
    let expected = ["6.000000:1", "4.000000:2", "2.000000:0"];
    assert_eq!(unpacked(&answer.raw_output_contents[0]), expected);
    // What has no order has no classes.
    let mut message = raw_request("echo_bool", &[("x", "BOOL", &[1, 2], &[0, 1])]);
    message.outputs = vec![output("y", &[("classification", int(1))])];
    let status = client.model_infer(message).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("outputs.y: parameter 'classification'"), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_parameters_are_passed_over_wherever_they_stand() {
    let server = Server::ready().await;
    let mut client = server.client().await;
    let plain = client.model_infer(request(2, 5)).await.unwrap().into_inner();
    let mut message = request(2, 5);
    let unset = InferParameter { parameter_choice: None };
    let flag = InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) };
    for (key, value) in [
        ("binary_data_output", flag.clone()),
        ("my own", text("anything")),
        ("nothing", unset),
        ("sequence_id", int(0)),
        ("priority", int(1)),
        ("timeout", int(60_000_000)),
    ] {
        message.parameters.insert(key.to_owned(), value);
    }
    message.inputs[0].parameters.insert("binary_data_size".to_owned(), int(7));
    message.outputs = vec![output("probabilities", &[("binary_data", flag)])];
    let answer = client.model_infer(message).await.unwrap().into_inner();
    assert_eq!(scores(&answer), scores(&plain));
    assert!(answer.parameters.is_empty() && answer.outputs[0].parameters.is_empty());
}

/// Where the parameter stands, its name and value, and words of the refusal.
fn malformed() -> Vec<(&'static str, &'static str, InferParameter, &'static str)> {
    let float = InferParameter { parameter_choice: Some(ParameterChoice::DoubleParam(1.5)) };
    vec![
        ("request", "priority", int(-1), "priority"),
        ("request", "priority", text("high"), "priority"),
        ("request", "timeout", int(-5), "timeout"),
        ("request", "timeout", float.clone(), "timeout"),
        ("request", "sequence_id", int(7), "models with a state are not served"),
        ("request", "sequence_id", text("a"), "models with a state are not served"),
        ("output", "classification", text("2"), "whole number of 0 or more"),
        ("output", "classification", int(-1), "whole number of 0 or more"),
        ("output", "classification", float.clone(), "whole number of 0 or more"),
        ("output", "shared_memory_region", int(1), "the region's name"),
        ("output", "shared_memory_region", text("r"), "shared_memory_byte_size': it is missing"),
        ("input", "shared_memory_region", float, "the region's name"),
        ("input", "shared_memory_region", text("r"), "shared_memory_byte_size': it is missing"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_parameters_are_refused_by_name() {
    let server = Server::ready().await;
    let mut client = server.client().await;
    for (place, key, value, words) in malformed() {
        let mut message = request(1, 1);
        message.outputs = vec![output("probabilities", &[])];
        let parameters = match place {
            "request" => &mut message.parameters,
            "input" => &mut message.inputs[0].parameters,
            _ => &mut message.outputs[0].parameters,
        };
        parameters.insert(key.to_owned(), value);
        let status = client.model_infer(message).await.expect_err(key);
        assert_eq!(status.code(), Code::InvalidArgument, "{place} {key}: {status}");
        assert!(status.message().contains(words), "{place} {key}: {}", status.message());
        client.model_infer(request(1, 1)).await.unwrap();
    }
}

/// REST is the same messages in another form: classes come as text there too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn classification_over_rest_is_the_same_text() {
    let server = serve_models(&["scores"]).await;
    let body = serde_json::json!({
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 5], "data": [0.1, 0.5, 0.2, 0.5, -3.0]}],
        "outputs": [{"name": "y", "parameters": {"classification": 2}}],
    });
    let path = "/v2/models/scores/infer";
    let answer = crate::http_client::post(server.http, path, body.to_string()).await;
    let output = &answer.json()["outputs"][0];
    assert_eq!(output["datatype"], "BYTES");
    assert_eq!(output["data"], serde_json::json!(["0.500000:1", "0.500000:3"]));
}
