//! What a file and its caller say about a person is in no answer, no span and no metric.

use std::time::Duration;

use hilum::proto::hilum::v1::ClassifyRequest;
use tonic::Request;

use super::{client, spotted};
use crate::harness::{Server, raw_request, strings, with_models};
use crate::http_client::send;
use crate::imaging::dicom_file::{EXPLICIT, element, file, gray8, text};
use crate::traces::Receiver;

/// Every planted word holds this.
const PLANTED: &str = "PLANTED";

fn planted() -> Vec<u8> {
    let mut elements = vec![
        text(8, 0x50, "SH", "PLANTED-ACC"),
        text(8, 0x60, "CS", "DX"),
        text(0x10, 0x10, "PN", "PLANTED^NAME"),
        text(0x10, 0x20, "LO", "PLANTED-ID"),
        text(0x10, 0x1010, "AS", "003Y"),
    ];
    elements.extend(gray8(64, 64));
    elements.extend([text(0x28, 0x1050, "DS", "128"), text(0x28, 0x1051, "DS", "256")]);
    elements.push(element(0x7fe0, 0x10, "OB", &spotted()));
    file(EXPLICIT, &elements)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_planted_is_in_answers_spans_or_metrics_and_each_step_has_its_span() {
    let (receiver, collector) = Receiver::start().await;
    let mut config = with_models(&["spots"]);
    config.telemetry.otlp_endpoint = format!("http://{collector}");
    config.telemetry.trace_interval = Duration::from_millis(20);
    let server = Server::start(config);
    server.wait_ready().await;
    let mut told = String::new();
    let mut vision = client(&server).await;
    let good = ClassifyRequest {
        model: "spots".to_owned(),
        image: planted().into(),
        explain: true,
        overlay: true,
        study_id: "PLANTED-STUDY".to_owned(),
        ..Default::default()
    };
    let mut keyed = Request::new(good.clone());
    keyed.metadata_mut().insert("idempotency-key", "PLANTED-KEY".parse().unwrap());
    let answer = vision.classify(keyed).await.unwrap().into_inner();
    assert_eq!(answer.decision, "positive");
    told += &format!("{answer:?}");
    // A broken file and a class that is none: what is wrong is said without the file's words.
    let cut = planted()[..1500].to_vec();
    let broken = ClassifyRequest { image: cut.into(), ..good.clone() };
    told += &format!("{:?}", vision.classify(broken).await.unwrap_err());
    let image = strings(&[planted()]);
    let request = raw_request("spots.image", &[("image", "BYTES", &[1, 1], &image)]);
    told += &format!("{:?}", server.client().await.model_infer(request).await.unwrap());
    let query = "/api/v1/predict?model=spots&study_id=PLANTED-STUDY";
    let headers = [("content-type", "application/dicom")];
    let answer = send(server.http, http::Method::POST, query, &headers, planted()).await;
    assert_eq!(answer.status, 200);
    told += &String::from_utf8_lossy(&answer.body);
    assert!(!told.contains(PLANTED), "an answer has a planted word");
    let (_, metrics) = server.get("/metrics").await;
    assert!(!metrics.contains(PLANTED) && metrics.contains("spots.image"));
    tokio::task::spawn_blocking(move || drop(server)).await.unwrap();

    let spans = receiver.spans();
    assert!(!format!("{spans:?}").contains(PLANTED), "a span has a planted word");
    let call = spans.iter().find(|span| span.name == "hilum.v1.Vision/Classify").unwrap();
    let mut steps: Vec<&str> = spans
        .iter()
        .filter(|span| span.parent_span_id == call.span_id)
        .map(|span| span.name.as_str())
        .collect();
    steps.sort_unstable();
    let expected =
        ["admit", "decode", "decode_image", "encode", "explain", "infer", "interpret", "queue"];
    assert_eq!(steps, expected);
}
