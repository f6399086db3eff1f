//! `<name>.image` over the Open Inference Protocol, gRPC and REST.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hilum::proto::inference::infer_parameter::ParameterChoice;
use hilum::proto::inference::model_infer_request::InferRequestedOutputTensor;
use hilum::proto::inference::*;
use serde_json::{Value, json};
use tonic::Code;

use super::{by_hand, client, dicom, jpeg, png, serve, spotted};
use crate::harness::{floats, raw_request, strings, unpacked};
use crate::http_client;

fn images(model: &str, files: &[Vec<u8>], outputs: &[&str]) -> ModelInferRequest {
    let rows = files.len() as i64;
    let mut request = raw_request(model, &[("image", "BYTES", &[rows, 1], &strings(files))]);
    request.outputs = outputs
        .iter()
        .map(|name| InferRequestedOutputTensor { name: (*name).to_owned(), ..Default::default() })
        .collect();
    request
}

fn output<'a>(response: &'a ModelInferResponse, name: &str) -> (&'a [i64], &'a [u8]) {
    let place = response.outputs.iter().position(|output| output.name == name).unwrap();
    (&response.outputs[place].shape, &response.raw_output_contents[place])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_gives_the_same_answer() {
    let server = serve().await;
    let (mut oip, mut vision) = (server.client().await, client(&server).await);
    for file in [png(64, 64, &spotted()), jpeg(64, 64, &spotted()), dicom(64, 64, &spotted())] {
        let one = vision.classify(super::ask("spots", file.clone())).await.unwrap().into_inner();
        let expected = [one.scores[1].raw, one.scores[1].calibrated];
        assert!((expected[1] - by_hand().1).abs() < 0.02, "{expected:?}");
        let same = |found: [f64; 2], way: &str| {
            let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(off < 1e-6, "{way}: {found:?} and {expected:?}");
        };

        let response =
            oip.model_infer(images("spots.image", std::slice::from_ref(&file), &[])).await;
        let response = response.unwrap().into_inner();
        assert_eq!(response.model_name, "spots.image");
        let names: Vec<&str> = response.outputs.iter().map(|o| o.name.as_str()).collect();
        assert_eq!(names, ["probabilities", "calibrated", "label", "decision", "warnings"]);
        let of = |name| f64::from(floats(output(&response, name).1)[1]);
        same([of("probabilities"), of("calibrated")], "gRPC");
        assert_eq!(unpacked(output(&response, "label").1), ["SPOTTED"]);
        assert_eq!(unpacked(output(&response, "decision").1), ["positive"]);
        assert_eq!(unpacked(output(&response, "warnings").1)[0].as_bytes()[0], b'[');
        let notice = response.parameters["notice"].parameter_choice.clone().unwrap();
        let words = "Not for primary diagnosis – physician must verify".to_owned();
        assert_eq!(notice, ParameterChoice::StringParam(words.clone()));

        let body = json!({ "inputs": [{
            "name": "image", "datatype": "BYTES", "shape": [1, 1], "data": [BASE64.encode(&file)],
        }]});
        let path = "/v2/models/spots.image/infer";
        let answer = http_client::post(server.http, path, body.to_string()).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let json = answer.json();
        let data = |at: usize| json["outputs"][at]["data"][1].as_f64().unwrap();
        same([data(0), data(1)], "REST");
        assert_eq!(json["parameters"]["notice"], Value::from(words));
        assert!(answer.header("server-timing").contains("decode;dur="));

        let headers = [("content-type", "application/octet-stream")];
        let path = "/api/v1/predict?model=spots";
        let answer =
            http_client::send(server.http, http::Method::POST, path, &headers, file.clone()).await;
        let json = answer.json();
        let of = |key: &str| json["scores"][1][key].as_f64().unwrap_or_else(|| panic!("{json}"));
        same([of("raw"), of("calibrated")], "predict");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_stand_alone_and_a_rejected_one_has_no_numbers() {
    let server = serve().await;
    let mut client = server.client().await;
    let files = [
        png(64, 64, &spotted()),
        png(64, 64, &[2; 64 * 64]),
        dicom(64, 64, &spotted()),
        png(
            64,
            64,
            &spotted().iter().map(|l| 295 - u16::from(*l)).map(|l| l as u8).collect::<Vec<_>>(),
        ),
    ];
    let wanted = ["decision", "calibrated", "heatmap", "overlay_png", "label", "warnings"];
    let response = client.model_infer(images("spots.image", &files, &wanted)).await.unwrap();
    let response = response.into_inner();
    let names: Vec<&str> = response.outputs.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names, wanted);
    let decisions = unpacked(output(&response, "decision").1);
    assert_eq!(decisions[..3], ["positive", "rejected", "positive"]);
    let (shape, bytes) = output(&response, "calibrated");
    assert_eq!(shape, [4, 2]);
    let scores = floats(bytes);
    assert!(scores[2].is_nan() && scores[3].is_nan() && (scores[1] - scores[5]).abs() < 1e-6);
    let (shape, bytes) = output(&response, "heatmap");
    assert_eq!(shape, [4, 32, 32]);
    let maps = floats(bytes);
    assert!(maps[..1024].iter().all(|v| (0.0..=1.0).contains(v)));
    assert!(maps[1024..2048].iter().all(|v| v.is_nan()));
    let (shape, bytes) = output(&response, "overlay_png");
    assert_eq!(shape, [4, 1]);
    assert_eq!(bytes[4..8], *b"\x89PNG");
    let warnings: Value =
        serde_json::from_str(&unpacked(output(&response, "warnings").1)[1]).unwrap();
    assert_eq!(warnings[0]["code"], "too_dark");
    assert_eq!(unpacked(output(&response, "label").1)[1], "");

    // The same over REST: NaN is null, the picture is base64 and says so.
    let data: Vec<String> = files.iter().map(|file| BASE64.encode(file)).collect();
    let body = json!({
        "inputs": [{ "name": "image", "datatype": "BYTES", "shape": [4, 1], "data": data }],
        "outputs": [{ "name": "calibrated" }, { "name": "overlay_png" }],
    });
    let answer =
        http_client::post(server.http, "/v2/models/spots.image/infer", body.to_string()).await;
    let json = answer.json();
    assert_eq!(json["outputs"][0]["data"][2], Value::Null, "{json}");
    assert_eq!(json["outputs"][1]["parameters"]["content_type"], "base64");
    assert!(json["outputs"][1]["data"][0].as_str().unwrap().starts_with("iVBORw0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_said_with_the_row_or_the_name() {
    let server = serve().await;
    let mut client = server.client().await;
    let good = png(64, 64, &spotted());
    let three = [good.clone(), good.clone(), b"GIF89a...........".to_vec()];
    let typed = |shape: &[i64]| {
        raw_request("spots.image", &[("image", "BYTES", shape, &strings(&[&good]))])
    };
    let other = raw_request("spots.image", &[("x", "BYTES", &[1, 1], &strings(&[&good]))]);
    let floats = raw_request("spots.image", &[("image", "FP32", &[1, 1], &[0; 4])]);
    for (request, code, words) in [
        (
            images("spots.image", &three, &[]),
            Code::InvalidArgument,
            "image 2: the file is a GIF image",
        ),
        (
            images("spots.image", &three[2..], &[]),
            Code::InvalidArgument,
            "image 0: the file is a GIF image",
        ),
        (
            images("spots.image", std::slice::from_ref(&good), &["cam"]),
            Code::InvalidArgument,
            "unknown output 'cam'",
        ),
        (
            images("plain.image", std::slice::from_ref(&good), &["heatmap"]),
            Code::FailedPrecondition,
            "gives no map",
        ),
        (
            images("lungs.image", std::slice::from_ref(&good), &[]),
            Code::FailedPrecondition,
            "answers no images",
        ),
        (images("cats.image", std::slice::from_ref(&good), &[]), Code::NotFound, "unknown model"),
        (typed(&[1]), Code::InvalidArgument, "BYTES [n, 1] is expected"),
        (floats, Code::InvalidArgument, "FP32 [1, 1] came"),
        (other, Code::InvalidArgument, "unknown input 'x'"),
        (images("spots.image", &[], &[]), Code::InvalidArgument, "BYTES [n, 1]"),
    ] {
        let status = client.model_infer(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{}", status.message());
        assert!(status.message().contains(words), "'{words}' in {}", status.message());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_form_has_metadata_configuration_and_statistics_of_its_own() {
    let server = serve().await;
    let mut client = server.client().await;
    let files = [png(64, 64, &spotted()), png(64, 64, &spotted())];
    client.model_infer(images("spots.image", &files, &[])).await.unwrap();

    let name = "spots.image".to_owned();
    let request = ModelMetadataRequest { name: name.clone(), version: String::new() };
    let metadata = client.model_metadata(request).await.unwrap().into_inner();
    assert_eq!((metadata.name.as_str(), metadata.platform.as_str()), ("spots.image", "ensemble"));
    assert_eq!(
        (metadata.inputs[0].name.as_str(), &metadata.inputs[0].shape[..]),
        ("image", &[-1, 1][..])
    );
    let outputs: Vec<(&str, &[i64])> =
        metadata.outputs.iter().map(|o| (o.name.as_str(), o.shape.as_slice())).collect();
    assert_eq!(outputs[0], ("probabilities", &[-1, 2][..]));
    assert_eq!(outputs[5..], [("heatmap", &[-1, 32, 32][..]), ("overlay_png", &[-1, 1][..])]);
    let plain = ModelMetadataRequest { name: "plain.image".to_owned(), version: String::new() };
    assert_eq!(client.model_metadata(plain).await.unwrap().into_inner().outputs.len(), 5);

    let request = ModelConfigRequest { name: name.clone(), version: String::new() };
    let config = client.model_config(request).await.unwrap().into_inner().config.unwrap();
    assert_eq!((config.name.as_str(), &config.input[0].dims[..]), ("spots.image", &[1][..]));

    let statistics = async |client: &mut inference_client::Client, name: &str| {
        let request = ModelStatisticsRequest { name: name.to_owned(), version: String::new() };
        client.model_statistics(request).await.unwrap().into_inner().model_stats.remove(0)
    };
    let of_images = statistics(&mut client, "spots.image").await;
    assert_eq!((of_images.name.as_str(), of_images.inference_count), ("spots.image", 2));
    assert_eq!(of_images.inference_stats.unwrap().success.unwrap().count, 1);
    let of_tensors = statistics(&mut client, "spots").await;
    assert_eq!(of_tensors.inference_count, 2, "the model ran for them");
    assert_eq!(of_tensors.inference_stats.unwrap().success.unwrap().count, 0);

    let index = client.repository_index(RepositoryIndexRequest::default()).await.unwrap();
    let names: Vec<String> = index.into_inner().models.into_iter().map(|m| m.name).collect();
    for expected in ["spots", "spots.image", "plain.image", "lungs"] {
        assert!(names.iter().any(|name| name == expected), "{names:?}");
    }
    assert!(!names.iter().any(|name| name == "lungs.image"));
    let request = ModelReadyRequest { name: name.clone(), version: "1".to_owned() };
    assert!(client.model_ready(request).await.unwrap().into_inner().ready);
    let answer = http_client::get(server.http, "/v2/models/spots.image/versions/1").await;
    assert_eq!(answer.json()["name"], "spots.image");
    let answer = http_client::get(server.http, "/v2/models/spots.image/stats").await;
    assert_eq!(answer.json()["model_stats"][0]["inference_count"], 2);
}

mod inference_client {
    pub type Client =
        hilum::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient<
            tonic::transport::Channel,
        >;
}
