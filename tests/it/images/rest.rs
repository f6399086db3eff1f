//! `POST /api/v1/predict`: a file as it is, and a form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{Method, StatusCode};

use super::{png, serve, spotted};
use crate::http_client::{Answer, send};

const BOUNDARY: &str = "----a-form";

fn form(fields: &[(&str, &[u8])]) -> (Vec<u8>, String) {
    let mut body = Vec::new();
    for (name, value) in fields {
        let file = if *name == "image" { "; filename=\"chest.png\"" } else { "" };
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n"
        );
        body.extend(head.as_bytes());
        body.extend(*value);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{BOUNDARY}--\r\n").as_bytes());
    (body, format!("multipart/form-data; boundary={BOUNDARY}"))
}

async fn post(address: std::net::SocketAddr, query: &str, kind: &str, body: Vec<u8>) -> Answer {
    let path = format!("/api/v1/predict{query}");
    send(address, Method::POST, &path, &[("content-type", kind)], body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_and_a_file_are_the_same_question() {
    let server = serve().await;
    // Larger than what an HTTP framework takes by itself.
    let side = 1_800;
    let noise: Vec<u8> = {
        let mut state = 1_u32;
        (0..side * side)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 25) as u8 + 20
            })
            .collect()
    };
    let large = png(side, side, &noise);
    assert!(large.len() > 2 << 20, "{}", large.len());
    for file in [png(64, 64, &spotted()), large] {
        let options = "?model=spots&explain=true&overlay=1&overlay_max_side=50&top_k=1";
        let raw = post(server.http, options, "image/png", file.clone()).await;
        assert_eq!(raw.status, StatusCode::OK, "{}", raw.error());
        let (body, kind) = form(&[
            ("model", b"spots"),
            ("image", &file),
            ("explain", b"true"),
            ("overlay", b"true"),
            ("overlay_max_side", b"50"),
        ]);
        let formed = post(server.http, "?top_k=1", &kind, body).await;
        let (mut raw, mut formed) = (raw.json(), formed.json());
        for answer in [&mut raw, &mut formed] {
            assert!(answer["timing"]["decode_ms"].as_f64().unwrap() > 0.0, "{answer}");
            answer["timing"] = serde_json::Value::Null;
            answer["audit_id"] = serde_json::Value::Null;
        }
        assert_eq!(raw, formed);
        assert_eq!(raw["scores"].as_array().unwrap().len(), 1);
        assert_eq!(raw["notice"], "Not for primary diagnosis – physician must verify");
        assert_eq!(raw["explanation"]["heatmap"].as_array().unwrap().len(), 32 * 32);
        let picture = raw["explanation"]["overlay_png"].as_str().unwrap();
        assert_eq!(BASE64.decode(picture).unwrap()[..4], *b"\x89PNG");
    }
    // A map that nobody asked for is not sent beside the picture.
    let file = png(64, 64, &spotted());
    let painted = post(server.http, "?model=spots&overlay=true", "image/png", file).await.json();
    let why = &painted["explanation"];
    assert!(why["heatmap"].as_array().is_none_or(Vec::is_empty), "{why}");
    assert!(why["overlay_png"].as_str().unwrap().len() > 100);
    assert_eq!(why["label"], "SPOTTED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_answered_is_said() {
    let server = serve().await;
    let file = png(64, 64, &spotted());
    let octets = "application/octet-stream";
    for (query, kind, body, status, words) in [
        ("", octets, file.clone(), 400, "model: it is missing"),
        ("?model=cats", octets, file.clone(), 404, "unknown model 'cats'"),
        ("?model=spots&version=9", octets, file.clone(), 404, "no version 9"),
        ("?model=spots&colour=1", octets, file.clone(), 400, "colour: unknown option"),
        ("?model=spots&model=plain", octets, file.clone(), 400, "model: it came twice"),
        ("?model=spots&explain=maybe", octets, file.clone(), 400, "true or false"),
        ("?model=spots&top_k=0", octets, file.clone(), 400, "a whole number from 1"),
        ("?model=spots&explain_class=CLEAR", octets, file.clone(), 400, "no explanation"),
        ("?model=plain&overlay=true", octets, file.clone(), 412, "gives no map"),
        ("?model=spots", "application/json", b"{}".to_vec(), 415, "multipart/form-data"),
        ("?model=spots", octets, Vec::new(), 400, "the file is empty"),
        ("?model=spots", "image/png", b"<html></html>".to_vec(), 415, "an HTML page"),
        ("?model=spots", "multipart/form-data", file.clone(), 400, "cannot be read"),
        ("?model=%ff", octets, file.clone(), 400, "model"),
    ] {
        let answer = post(server.http, query, kind, body).await;
        assert_eq!(answer.status, status, "{query}: {}", answer.error());
        assert!(answer.error().contains(words), "{query}: {}", answer.error());
    }
    let (body, kind) = form(&[("model", b"spots"), ("image", &file), ("image", &file)]);
    assert!(post(server.http, "", &kind, body).await.error().contains("it came twice"));
    let (body, kind) = form(&[("model", b"spots")]);
    assert!(post(server.http, "", &kind, body).await.error().contains("no field of this name"));
}
