//! Files that are no good, over each service: the same words, the status of each protocol.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Method;
use serde_json::json;
use tonic::Code;

use super::{ask, client, dicom, jpeg, png, serve, spotted};
use crate::harness::{raw_request, strings};
use crate::http_client::{post, send};
use crate::imaging::bad_input::{animated_png, claiming_png};
use crate::imaging::dicom_file::{EXPLICIT, file, text};

/// A file, the gRPC code, the HTTP status and words of the text.
fn files() -> Vec<(&'static str, Vec<u8>, Code, u16, &'static str)> {
    let good = png(64, 64, &spotted());
    let invalid = Code::InvalidArgument;
    let mut bad_rows = dicom(64, 64, &spotted());
    bad_rows.truncate(bad_rows.len() - 1000);
    let report = file(EXPLICIT, &[text(8, 0x16, "UI", "1.2.840.10008.5.1.4.1.1.88.11")]);
    let mut cases = vec![
        ("empty", Vec::new(), invalid, 400, "the file is empty"),
        ("HTML named .png", b"<!DOCTYPE html><html></html>".to_vec(), invalid, 415, "an HTML page"),
        ("a GIF", b"GIF89a..............".to_vec(), invalid, 415, "a GIF image"),
        ("a huge claim", claiming_png(100_000, 100_000), Code::ResourceExhausted, 413, "max_side"),
        ("an animation", animated_png(), invalid, 415, "animated"),
        ("no pixels", file(EXPLICIT, &[text(8, 0x60, "CS", "CR")]), invalid, 400, "no pixel data"),
        ("a report", report, invalid, 400, "no pixel data"),
        ("too few pixels for its size", bad_rows, invalid, 400, "DICOM"),
    ];
    for sixteenth in 1..16 {
        let cut = |whole: &[u8]| whole[..whole.len() * sixteenth / 16].to_vec();
        cases.push(("a PNG cut off", cut(&good), invalid, 400, ""));
        cases.push(("a JPEG cut off", cut(&jpeg(64, 64, &spotted())), invalid, 400, ""));
        cases.push(("a DICOM file cut off", cut(&dicom(64, 64, &spotted())), invalid, 400, ""));
    }
    cases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_service_refuses_each_file_in_the_same_words() {
    let server = serve().await;
    let (mut vision, mut oip) = (client(&server).await, server.client().await);
    for (name, bytes, code, status, words) in files() {
        let one = vision.classify(ask("spots", bytes.clone())).await.unwrap_err();
        let text = one.message().to_owned();
        // What is cut off so early that it looks like nothing is no image at all.
        let unknown = text.starts_with("the file is ") && words.is_empty();
        assert_eq!(one.code(), code, "{name}: {text}");
        assert!(text.contains(words), "{name}: {text}");
        let status = if unknown { 415 } else { status };
        let image = strings(&[&bytes]);
        let two = oip
            .model_infer(raw_request("spots.image", &[("image", "BYTES", &[1, 1], &image)]))
            .await
            .unwrap_err();
        // Of rows the one is named.
        let of_row = format!("image 0: {text}");
        assert_eq!((two.code(), two.message()), (code, of_row.as_str()), "{name}");
        let body = json!({ "inputs": [{
            "name": "image", "datatype": "BYTES", "shape": [1, 1], "data": [BASE64.encode(&bytes)],
        }]});
        let three = post(server.http, "/v2/models/spots.image/infer", body.to_string()).await;
        assert_eq!((three.status.as_u16(), three.error()), (status, of_row), "{name}");
        let headers = [("content-type", "application/octet-stream")];
        let path = "/api/v1/predict?model=spots";
        let four = send(server.http, Method::POST, path, &headers, bytes).await;
        assert_eq!((four.status.as_u16(), four.error()), (status, text), "{name}");
    }
    // Sizes that are legal and odd are answered, by a rejection.
    for (width, height) in [(1, 1), (1, 10_000)] {
        let file = png(width, height, &vec![50; (width * height) as usize]);
        let answer = vision.classify(ask("spots", file)).await.unwrap().into_inner();
        assert_eq!(answer.decision, "rejected", "{width} × {height}");
    }
    assert_eq!(server.metric("hilum_decode_memory_bytes").await, 0.0);
}
