//! `idempotency-key`: a repeat is answered once, another body is a conflict.

use http::Method;
use tonic::{Code, Request};

use super::{ask, client, png, serve, spotted};
use crate::http_client::send;

const RAN: &str =
    r#"hilum_step_duration_seconds_count{model="spots.image",version="1",step="decode"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_is_answered_once_by_each_method() {
    let server = serve().await;
    let mut client = client(&server).await;
    let keyed = |image: Vec<u8>| {
        let mut request = Request::new(ask("spots", image));
        request.metadata_mut().insert("idempotency-key", "k-1".parse().unwrap());
        request
    };
    let image = png(64, 64, &spotted());
    let first = client.classify(keyed(image.clone())).await.unwrap().into_inner();
    let again = client.classify(keyed(image.clone())).await.unwrap().into_inner();
    assert_eq!(first, again, "the timing too");
    assert_eq!(server.metric(RAN).await, 1.0);
    let other = client.classify(keyed(png(64, 64, &[90; 64 * 64]))).await.unwrap_err();
    assert_eq!(other.code(), Code::Aborted);
    assert!(other.message().contains("another body"), "{}", other.message());
    // A failure is not kept.
    let mut bad = Request::new(ask("spots", b"GIF89a".to_vec()));
    bad.metadata_mut().insert("idempotency-key", "k-2".parse().unwrap());
    client.classify(bad).await.unwrap_err();
    let mut good = Request::new(ask("spots", image.clone()));
    good.metadata_mut().insert("idempotency-key", "k-2".parse().unwrap());
    client.classify(good).await.unwrap();

    // Tensors and the image form over the Open Inference Protocol have repeats too.
    let mut oip = server.client().await;
    let infer = |level: f32| {
        let pixels = crate::harness::bytes_of(&[level; 64]);
        let mut request = Request::new(crate::harness::raw_request(
            "plain",
            &[("image", "FP32", &[1, 1, 8, 8], &pixels)],
        ));
        request.metadata_mut().insert("idempotency-key", "k-1".parse().unwrap());
        request
    };
    let runs = r#"hilum_rows_total{model="plain",version="1"}"#;
    let before = server.metric(runs).await;
    let first = oip.model_infer(infer(0.5)).await.unwrap().into_inner();
    assert_eq!(oip.model_infer(infer(0.5)).await.unwrap().into_inner(), first);
    assert_eq!(server.metric(runs).await, before + 1.0);
    assert_eq!(oip.model_infer(infer(0.6)).await.unwrap_err().code(), Code::Aborted);
    let json = |level: f32| {
        serde_json::json!({ "inputs": [{
            "name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": vec![level; 64],
        }]})
        .to_string()
    };
    let rest = async |level: f32| {
        let headers = [("content-type", "application/json"), ("idempotency-key", "k-1")];
        send(server.http, Method::POST, "/v2/models/plain/infer", &headers, json(level)).await
    };
    let first = rest(0.5).await;
    assert_eq!(first.status, 200);
    assert_eq!(rest(0.5).await.body, first.body);
    assert_eq!(server.metric(runs).await, before + 2.0);
    assert_eq!(rest(0.6).await.status, 409);

    // The same key by another method is another request.
    let post = async |query: &str, key: &str| {
        let headers = [("content-type", "image/png"), ("idempotency-key", key)];
        send(server.http, Method::POST, &format!("/api/v1/predict{query}"), &headers, image.clone())
            .await
    };
    let before = server.metric(RAN).await;
    let first = post("?model=spots", "k-1").await.json();
    assert_eq!(first["label"], "SPOTTED");
    assert_eq!(post("?model=spots", "k-1").await.json(), first);
    assert_eq!(server.metric(RAN).await, before + 1.0);
    assert_eq!(post("?model=spots&explain=true", "k-1").await.status, 409);
    assert_eq!(post("?model=spots", "two words").await.status, 400);

    // A form has a boundary of its own each time, and is the same question all the same.
    let by_form = async |boundary: &str, top_k: &str| {
        let mut body = Vec::new();
        for (name, value) in [("model", &b"spots"[..]), ("top_k", top_k.as_bytes())] {
            body.extend(
                format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n")
                    .as_bytes(),
            );
            body.extend([value, b"\r\n"].concat());
        }
        body.extend(format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\n"
        ).as_bytes());
        body.extend([&image[..], format!("\r\n--{boundary}--\r\n").as_bytes()].concat());
        let kind = format!("multipart/form-data; boundary={boundary}");
        let headers = [("content-type", kind.as_str()), ("idempotency-key", "k-3")];
        send(server.http, Method::POST, "/api/v1/predict", &headers, body).await
    };
    let first = by_form("first", "1").await;
    assert_eq!(first.status, 200, "{}", first.error());
    let first = first.json();
    assert_eq!(by_form("second", "1").await.json(), first);
    assert_eq!(by_form("third", "2").await.status, 409);
}
