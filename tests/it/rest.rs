//! The protocol over REST: what gRPC answers, in JSON and in binary tensor data.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Server, config, floats, pixels, request, scores};
use crate::http_client::{Answer, binary_request, get, json_request, post, send};

const INFER: &str = "/v2/models/mnist/infer";

fn numbers(data: &Value) -> Vec<f32> {
    data.as_array().unwrap().iter().map(|n| n.as_f64().unwrap() as f32).collect()
}

async fn infer_binary(server: &Server, rows: usize, seed: u32) -> Answer {
    let (body, length) = binary_request(rows, seed);
    let headers = [("inference-header-content-length", &*length)];
    send(server.http, Method::POST, INFER, &headers, body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_rows_have_the_same_bits_by_grpc_by_json_and_by_binary_data() {
    let mut config = config();
    config.engine.deterministic = true;
    let server = Server::start(config);
    server.wait_ready().await;
    let response = server.client().await.model_infer(request(3, 5)).await.unwrap().into_inner();
    let expected = scores(&response).concat();

    let answer = post(server.http, INFER, json_request(3, 5).to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
    assert_eq!(answer.header("content-type"), "application/json");
    let output = &answer.json()["outputs"][0];
    assert_eq!((&output["name"], &output["datatype"]), (&json!("probabilities"), &json!("FP32")));
    assert_eq!(output["shape"], json!([3, 10]));
    assert_eq!(numbers(&output["data"]), expected);

    let nested: Vec<Vec<Vec<Vec<f32>>>> = pixels(3, 5)
        .chunks(784)
        .map(|image| vec![image.chunks(28).map(<[f32]>::to_vec).collect()])
        .collect();
    let mut message = json_request(3, 5);
    message["inputs"][0]["data"] = json!(nested);
    let answer = post(server.http, INFER, message.to_string()).await;
    assert_eq!(numbers(&answer.json()["outputs"][0]["data"]), expected);

    let answer = infer_binary(&server, 3, 5).await;
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    let (json, data) = answer.parts();
    assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], json!(120));
    assert_eq!(json["outputs"][0].get("data"), None);
    assert_eq!(floats(data), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_and_its_models_say_what_they_are() {
    let server = Server::ready().await;
    let at = |path: &'static str| get(server.http, path);
    assert_eq!(at("/v2").await.json()["name"], "hilum");
    assert_eq!(at("/v2/health/live").await.json(), json!({ "live": true }));
    assert_eq!(at("/v2/health/ready").await.json(), json!({ "ready": true }));
    for path in ["/v2/models/mnist", "/v2/models/mnist/versions/1"] {
        let metadata = get(server.http, path).await.json();
        assert_eq!(metadata["versions"], json!(["1", "2", "3", "4"]));
        let input = json!({ "name": "image", "datatype": "FP32", "shape": [-1, 1, 28, 28] });
        assert_eq!(metadata["inputs"], json!([input]));
    }
    for (path, ready) in [
        ("/v2/models/mnist/ready", 200),
        ("/v2/models/mnist/versions/1/ready", 200),
        ("/v2/models/mnist/versions/9/ready", 404),
        ("/v2/models/cats/ready", 404),
        ("/v2/models/..%2Fmnist/ready", 400),
        ("/v2/models/%ff/ready", 400),
    ] {
        assert_eq!(get(server.http, path).await.status, ready, "{path}");
    }
    let index = post(server.http, "/v2/repository/index", "").await.json();
    let version =
        |n: &str| json!({ "name": "mnist", "version": n, "state": "READY", "reason": "" });
    let entries = index.as_array().unwrap();
    let of_digits: Vec<_> = entries.iter().filter(|entry| entry["name"] == "mnist").collect();
    assert_eq!(of_digits, ["1", "2", "3", "4"].map(version).iter().collect::<Vec<_>>());
    // A model that takes images is listed a second time.
    assert!(entries.iter().any(|entry| entry["name"] == "mnist.image"), "{index}");
    let document = at("/openapi.json").await.json();
    assert_eq!(document, hilum::http::openapi());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_says_who_asked_which_version_answered_and_where_the_time_went() {
    let server = Server::ready().await;
    let mut message = json_request(2, 1);
    message["id"] = json!("my own id");
    message["outputs"] =
        json!([{ "name": "probabilities", "parameters": { "binary_data": true } }]);
    let path = "/v2/models/mnist/versions/1/infer";
    let headers = [("x-request-id", "r-7")];
    let answer = send(server.http, Method::POST, path, &headers, message.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!((answer.header("x-request-id"), answer.header("x-model-version")), ("r-7", "1"));
    assert!(answer.header("server-timing").contains("infer;dur="));
    let (json, data) = answer.parts();
    assert_eq!((&json["id"], &json["model_version"]), (&json!("my own id"), &json!("1")));
    assert_eq!(floats(data).len(), 20);
    assert!(!get(server.http, "/v2").await.header("x-request-id").is_empty());

    let labels = r#"{protocol="http",model="mnist",version="1",code="OK"}"#;
    assert_eq!(server.metric(&format!("hilum_requests_total{labels}")).await, 1.0);
    assert_eq!(server.metric(r#"hilum_inflight_requests{protocol="http"}"#).await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_body_is_read_and_written_beside_the_runtime_and_the_answer_may_be_compressed() {
    let server = Server::ready().await;
    // 200 rows: 1.5 MB of JSON, which no thread of the runtime reads.
    let message = json_request(200, 3).to_string();
    let plain = post(server.http, INFER, message.clone()).await;
    assert_eq!(plain.status, StatusCode::OK, "{}", plain.json());
    for encoding in ["gzip", "deflate", "zstd"] {
        let headers = [("accept-encoding", encoding)];
        let answer = send(server.http, Method::POST, INFER, &headers, message.clone()).await;
        assert_eq!(answer.header("content-encoding"), encoding);
        assert!(answer.body.len() < plain.body.len() / 2, "{encoding}: {}", answer.body.len());
    }
    let small = [("accept-encoding", "gzip")];
    let answer = send(server.http, Method::GET, "/v2", &small, "").await;
    assert_eq!(answer.header("content-encoding"), "");
    // However long it is: stock clients that ask for gzip unpack answers of models alone.
    let path = "/v2/repository/index";
    let answer = send(server.http, Method::POST, path, &small, "").await;
    assert_eq!((answer.header("content-encoding"), answer.body.len() > 1024), ("", true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_timeout_of_a_request_holds_over_both_edges() {
    use hilum::proto::inference::InferParameter;
    use hilum::proto::inference::infer_parameter::ParameterChoice;
    let server = Server::ready().await;
    let mut message = json_request(1, 1);
    message["parameters"] = json!({ "timeout": 1 });
    let answer = post(server.http, INFER, message.to_string()).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT, "{}", answer.error());
    message["parameters"] = json!({ "timeout": 10_000_000 });
    assert_eq!(post(server.http, INFER, message.to_string()).await.status, StatusCode::OK);
    message["parameters"] = json!({ "timeout": "soon" });
    let answer = post(server.http, INFER, message.to_string()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.error().contains("'timeout': a whole number of microseconds"));

    let mut message = request(1, 1);
    let timeout = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(1)) };
    message.parameters.insert("timeout".to_owned(), timeout);
    let status = server.client().await.model_infer(message).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elements_of_every_type_come_back_as_they_went() {
    let mut config = config();
    config.models.directory = crate::harness::root().join("tests/models");
    let server = Server::start(config);
    server.wait_ready().await;
    for (model, datatype, data) in [
        ("echo_bool", "BOOL", json!([[true, false], [false, true]])),
        ("echo_uint8", "UINT8", json!([[0, 255], [7, 8]])),
        ("echo_uint16", "UINT16", json!([[0, 65535], [7, 8]])),
        ("echo_uint32", "UINT32", json!([[0, u32::MAX], [7, 8]])),
        ("echo_uint64", "UINT64", json!([[0, u64::MAX], [7, 8]])),
        ("echo_int8", "INT8", json!([[-128, 127], [7, 8]])),
        ("echo_int16", "INT16", json!([[-32768, 32767], [7, 8]])),
        ("echo_int32", "INT32", json!([[i32::MIN, i32::MAX], [7, 8]])),
        ("echo_int64", "INT64", json!([[i64::MIN, i64::MAX], [7, 8]])),
        ("echo_fp16", "FP16", json!([[-65504.0, 0.5], [0.25, -0.0]])),
        ("echo_bf16", "BF16", json!([[-1.5, 0.5], [0.25, -0.0]])),
        ("echo_fp32", "FP32", json!([[-3.402_823_5e38, 0.1], [0.25, -0.0]])),
        ("echo_fp64", "FP64", json!([[f64::MIN, 0.1], [5e-324, -0.0]])),
        ("echo_bytes", "BYTES", json!([["", "ä\u{1F600}"], ["\n", "\"\\"]])),
    ] {
        let flat: Vec<Value> = data
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|row| row.as_array().unwrap().clone())
            .collect();
        let message = json!({ "inputs": [
            { "data": data, "name": "x", "datatype": datatype, "shape": [2, 2] },
        ]});
        let path = format!("/v2/models/{model}/infer");
        let answer = post(server.http, &path, message.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{model}: {}", answer.json());
        assert_eq!(answer.json()["outputs"][0]["data"], json!(flat), "{model}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nan_goes_in_as_bytes_and_comes_out_as_null_and_texts_may_be_base64() {
    let mut config = config();
    config.models.directory = crate::harness::root().join("tests/models");
    let server = Server::start(config);
    server.wait_ready().await;
    let mut body = json!({ "inputs": [{
        "name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": { "binary_data_size": 8 },
    }]})
    .to_string()
    .into_bytes();
    let length = body.len().to_string();
    body.extend(crate::harness::bytes_of(&[f32::NAN, 1.0]));
    let headers = [("inference-header-content-length", &*length)];
    let path = "/v2/models/echo_fp32/infer";
    let answer = send(server.http, Method::POST, path, &headers, body).await;
    assert_eq!(answer.json()["outputs"][0]["data"], json!([null, 1.0]));
    let message = json!({ "inputs": [{
        "name": "x", "datatype": "BYTES", "shape": [1, 2], "data": ["", "w6Q="],
        "parameters": { "content_type": "base64" },
    }]});
    let answer = post(server.http, "/v2/models/echo_bytes/infer", message.to_string()).await;
    assert_eq!(answer.json()["outputs"][0]["data"], json!(["", "\u{e4}"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_come_and_go_by_rest() {
    let mut config = config();
    config.models.directory = crate::harness::root().join("tests/models");
    config.models.control = hilum::catalog::ModelControl::Explicit;
    config.models.load = vec!["scores".to_owned()];
    let server = Server::start(config);
    server.wait_ready().await;
    let infer = || async {
        let tensor = json!({ "name": "x", "datatype": "INT8", "shape": [1, 1], "data": [7] });
        let message = json!({ "inputs": [tensor] }).to_string();
        post(server.http, "/v2/models/echo_int8/infer", message).await.status
    };
    let change = |name: &str, action: &str, body: &'static str| {
        let path = format!("/v2/repository/models/{name}/{action}");
        async move { post(server.http, &path, body).await }
    };
    assert_ne!(infer().await, StatusCode::OK);
    let loaded = change("echo_int8", "load", "{}").await;
    assert_eq!(loaded.status, StatusCode::OK, "{}", loaded.json());
    assert_eq!(loaded.json(), json!({ "model_name": "echo_int8", "isLoaded": true }));
    assert_eq!(infer().await, StatusCode::OK);
    let body = r#"{"parameters": {"unload_dependents": false}}"#;
    let unloaded = change("echo_int8", "unload", body).await;
    assert_eq!(unloaded.status, StatusCode::OK, "{}", unloaded.json());
    assert_ne!(infer().await, StatusCode::OK);
    assert_eq!(change("cats", "load", "").await.status, StatusCode::NOT_FOUND);
    // A page in a browser on this machine is not a caller on this machine.
    let page = [("origin", "https://other.example")];
    let path = "/v2/repository/models/scores/unload";
    let told = send(server.http, Method::POST, path, &page, "").await;
    assert_eq!(told.status, StatusCode::FORBIDDEN, "{}", told.error());
    let body = r#"{"parameters": {"config": "{}"}}"#;
    let told = change("echo_int8", "load", body).await;
    assert_eq!(told.status, StatusCode::NOT_IMPLEMENTED);
    assert!(told.error().contains("'config' is not served"), "{}", told.error());
    assert_eq!(change("echo_int8", "load", "{").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configuration_and_statistics_are_those_of_grpc() {
    let server = Server::ready().await;
    for _ in 0..3 {
        post(server.http, INFER, json_request(2, 5).to_string()).await;
    }
    let config = get(server.http, "/v2/models/mnist/versions/2/config").await;
    assert_eq!(config.status, StatusCode::OK);
    assert_eq!(config.json()["max_batch_size"], 32);
    assert_eq!(config.json()["input"][0]["dims"], json!([1, 28, 28]));
    for path in ["/v2/models/stats", "/v2/models/mnist/stats", "/v2/models/mnist/versions/2/stats"]
    {
        let answer = get(server.http, path).await.json();
        let versions = answer["model_stats"].as_array().unwrap();
        let champion = versions
            .iter()
            .find(|stats| stats["name"] == "mnist" && stats["version"] == "2")
            .unwrap();
        let counts = [&champion["inference_count"], &champion["execution_count"]];
        assert_eq!(counts, [&json!(6), &json!(3)], "{path}: {champion}");
    }
    for path in ["/v2/models/cats/config", "/v2/models/cats/stats"] {
        let answer = get(server.http, path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer.json()["error"].as_str().unwrap().contains("unknown model 'cats'"));
    }
}
