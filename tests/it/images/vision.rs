//! `hilum.v1.Vision`: one image, and many on a stream.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use hilum::imaging::{DecodeLimits, DecodeOptions, decode};
use hilum::proto::hilum::v1::classify_stream_response::Result as Answer;
use hilum::proto::hilum::v1::{ClassifyRequest, ClassifyStreamRequest};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{ask, by_hand, client, codes, dicom, png, serve, spotted};
use crate::harness::PATIENCE;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_answered_explained_and_timed() {
    let server = serve().await;
    let mut client = client(&server).await;
    let request =
        ClassifyRequest { explain: true, overlay: true, ..ask("spots", png(64, 64, &spotted())) };
    let response = client.classify(request).await.unwrap();
    let timing = response.metadata().get("server-timing").unwrap().to_str().unwrap().to_owned();
    for step in ["decode", "queue", "infer", "interpret", "explain", "total"] {
        assert!(timing.contains(&format!("{step};dur=")), "{timing}");
    }
    assert_eq!(response.metadata().get("x-model-version").unwrap(), "1");
    let answer = response.into_inner();
    let (raw, calibrated) = by_hand();
    assert_eq!((answer.decision.as_str(), answer.label.as_str()), ("positive", "SPOTTED"));
    assert_eq!(answer.scores[1].label, "SPOTTED");
    assert!((answer.scores[1].raw - raw).abs() < 0.02, "{answer:?}");
    assert!((answer.scores[1].calibrated - calibrated).abs() < 0.02, "{answer:?}");
    let sum: f64 = answer.scores.iter().map(|score| score.calibrated).sum();
    assert!((sum - 1.0).abs() < 1e-9);
    assert_eq!(answer.notice, "Not for primary diagnosis – physician must verify");
    assert_eq!((answer.model_name.as_str(), answer.audit_id.len()), ("spots", 36));
    assert_eq!(answer.bundle_sha256.len(), 64);
    assert!(answer.warnings.is_empty(), "{:?}", answer.warnings);
    let took = answer.timing.unwrap();
    assert!(took.decode_ms > 0.0 && took.explain_ms > 0.0 && took.total_ms >= took.decode_ms);

    // The heat lies on the bright quarter and nowhere else.
    let why = answer.explanation.unwrap();
    assert_eq!((why.width, why.height, why.label.as_str()), (32, 32, "SPOTTED"));
    assert!(!why.is_zero);
    let at = |x: usize, y: usize| why.heatmap[y * 32 + x];
    assert!(at(24, 8) > 0.9 && at(31, 0) > 0.9 && at(8, 8) < 0.01 && at(24, 24) < 0.01);
    let overlay = decode(&why.overlay_png, &DecodeLimits::default(), &DecodeOptions::default());
    let overlay = overlay.unwrap().raster;
    assert!(overlay.width() >= 64 && overlay.height() > 64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_class_has_its_own_map_and_a_zero_map_says_so() {
    let server = serve().await;
    let mut client = client(&server).await;
    let of = |class: &str, level: u8| ClassifyRequest {
        explain: true,
        explain_class: class.to_owned(),
        top_k: 1,
        ..ask("colours", png(16, 16, &[level, 0, 0].repeat(256)))
    };
    let red = client.classify(of("red", 200)).await.unwrap().into_inner();
    assert_eq!((red.label.as_str(), red.scores.len()), ("red", 1));
    assert!(!red.explanation.unwrap().is_zero);
    let blue = client.classify(of("blue", 200)).await.unwrap().into_inner();
    let why = blue.explanation.unwrap();
    assert!(why.is_zero && why.heatmap.iter().all(|value| *value == 0.0));
    // Softmax of 6 · 200 / 255, tempered by 2.
    let strong = f64::exp(6.0 * 200.0 / 255.0 / 2.0);
    let expected = strong / (strong + 2.0);
    assert!((red.scores[0].calibrated - expected).abs() < 1e-4, "{:?}", red.scores);
    assert_eq!((blue.notice.as_str(), blue.decision.as_str()), ("", "positive"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_not_fit_is_rejected_and_its_scores_withheld() {
    let server = serve().await;
    let mut client = client(&server).await;
    let noise: Vec<u8> = (0..64 * 64_u32).map(|at| if at % 2 == 0 { 255 } else { 230 }).collect();
    let colour: Vec<u8> = spotted().iter().flat_map(|level| [*level, level / 2, 20]).collect();
    let small = png(9, 9, &[90; 81]);
    for (image, expected) in [
        (png(64, 64, &[2; 64 * 64]), vec!["too_dark", "too_flat"]),
        (png(64, 64, &[100; 64 * 64]), vec!["too_flat"]),
        (png(64, 64, &noise), vec!["out_of_distribution"]),
        (png(64, 64, &colour), vec!["colored"]),
        (png(64, 20, &spotted()[..64 * 20]), vec!["cut_off"]),
        (small, vec!["too_flat", "too_small", "too_small"]),
    ] {
        let request = ClassifyRequest { explain: true, ..ask("spots", image) };
        let answer = client.classify(request.clone()).await.unwrap().into_inner();
        assert_eq!(answer.decision, "rejected", "{expected:?}");
        assert_eq!(codes(&answer), expected);
        assert!(answer.label.is_empty() && answer.scores.is_empty());
        assert!(answer.explanation.is_none());
        assert!(!answer.notice.is_empty(), "the notice goes with every answer");
        let asked = ClassifyRequest { include_rejected_scores: true, ..request };
        let answer = client.classify(asked).await.unwrap().into_inner();
        assert_eq!((answer.decision.as_str(), answer.scores.len()), ("rejected", 2));
        assert!(answer.explanation.is_some());
    }
    let warned = server
        .metric(r#"hilum_warnings_total{model="spots.image",version="1",reason="too_flat"}"#)
        .await;
    assert!(warned >= 6.0, "{warned}");
    assert_eq!(server.metric("hilum_decode_memory_bytes").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_answers_each_item_and_a_bad_one_leaves_the_others_alone() {
    let server = serve().await;
    let mut client = client(&server).await;
    let good = || Some(ask("spots", dicom(64, 64, &spotted())));
    let mut items: Vec<_> =
        (0..40).map(|n| ClassifyStreamRequest { id: n.to_string(), request: good() }).collect();
    items[7].request = Some(ask("spots", b"<html>".to_vec()));
    items[8].request = Some(ask("cats", spotted()));
    items[9].request = None;
    let answers = client.classify_stream(tokio_stream::iter(items)).await.unwrap().into_inner();
    let answers: BTreeMap<String, Answer> = answers
        .map(|answer| answer.map(|answer| (answer.id, answer.result.unwrap())).unwrap())
        .collect()
        .await;
    assert_eq!(answers.len(), 40);
    for (id, answer) in answers {
        let expected = match id.as_str() {
            "7" => Some((Code::InvalidArgument, "IMAGE_FORMAT_UNKNOWN", "HTML")),
            "8" => Some((Code::NotFound, "UNKNOWN_MODEL", "unknown model 'cats'")),
            "9" => Some((Code::InvalidArgument, "INVALID_INPUT", "no request")),
            _ => None,
        };
        match (answer, expected) {
            (Answer::Response(answer), None) => assert_eq!(answer.label, "SPOTTED"),
            (Answer::Error(error), Some((code, reason, words))) => {
                assert_eq!((error.code, error.reason.as_str()), (code.into(), reason));
                assert!(error.message.contains(words), "{}", error.message);
            }
            (answer, expected) => panic!("{id}: {answer:?} and not {expected:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_a_stream_leaves_nothing_behind() {
    let server = serve().await;
    let mut client = client(&server).await;
    let image = dicom(1500, 1500, &vec![80; 1500 * 1500]);
    let items = tokio_stream::iter((0..40).map(move |n| ClassifyStreamRequest {
        id: n.to_string(),
        request: Some(ask("spots", image.clone())),
    }));
    let mut answers = client.classify_stream(items).await.unwrap().into_inner();
    answers.next().await.unwrap().unwrap();
    drop(answers);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while server.metric(r#"hilum_inflight_requests{protocol="grpc"}"#).await > 0.0
        || server.metric("hilum_decode_memory_bytes").await > 0.0
    {
        assert!(tokio::time::Instant::now() < deadline, "requests of a caller who left");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_that_cannot_be_are_refused_by_their_names() {
    let server = serve().await;
    let mut client = client(&server).await;
    let good = || ask("spots", png(64, 64, &spotted()));
    let long = "s".repeat(257);
    for (request, code, field, words) in [
        (
            ClassifyRequest { explain_class: "SPOTTED".to_owned(), ..good() },
            Code::InvalidArgument,
            "explain_class",
            "no explanation is asked for",
        ),
        (
            ClassifyRequest { explain: true, explain_class: "CAT".to_owned(), ..good() },
            Code::InvalidArgument,
            "explain_class",
            "'CAT' is none of CLEAR, SPOTTED",
        ),
        (
            ClassifyRequest { explain: true, overlay_max_side: 100, ..good() },
            Code::InvalidArgument,
            "overlay_max_side",
            "no overlay",
        ),
        (
            ClassifyRequest { overlay: true, overlay_max_side: 5000, ..good() },
            Code::InvalidArgument,
            "overlay_max_side",
            "1 to 4096",
        ),
        (
            ClassifyRequest { frame: 2, ..good() },
            Code::InvalidArgument,
            "image",
            "frame 2 was asked for",
        ),
        (
            ClassifyRequest { study_id: long, ..good() },
            Code::InvalidArgument,
            "study_id",
            "257 bytes",
        ),
        (
            ClassifyRequest { version: "latest".to_owned(), ..good() },
            Code::InvalidArgument,
            "version",
            "latest",
        ),
        (ClassifyRequest { version: "7".to_owned(), ..good() }, Code::NotFound, "", "no version 7"),
        (
            ClassifyRequest { model: "spots.image".to_owned(), ..good() },
            Code::NotFound,
            "",
            "unknown model",
        ),
        (
            ClassifyRequest { explain: true, ..ask("plain", png(64, 64, &spotted())) },
            Code::FailedPrecondition,
            "",
            "gives no map",
        ),
        (ask("lungs", spotted()), Code::FailedPrecondition, "", "answers no images"),
    ] {
        let status = client.classify(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(words), "'{words}' in {}", status.message());
        let fields = status.get_details_bad_request().map(|bad| bad.field_violations);
        let found = fields.and_then(|fields| Some(fields.first()?.field.clone()));
        if !field.is_empty() {
            assert_eq!(found.as_deref(), Some(field), "{words}");
        }
    }
    // The alias is a version too.
    let champion = ClassifyRequest { version: "champion".to_owned(), ..good() };
    assert_eq!(client.classify(champion).await.unwrap().into_inner().model_version, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_request_is_not_decoded() {
    let server = serve().await;
    let mut client = client(&server).await;
    let mut request = tonic::Request::new(ask("spots", png(64, 64, &spotted())));
    request.metadata_mut().insert("grpc-timeout", "1n".parse().unwrap());
    let status = client.classify(request).await.unwrap_err();
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
    let series =
        r#"hilum_step_duration_seconds_count{model="spots.image",version="1",step="decode"}"#;
    assert_eq!(server.metric(series).await, 0.0);
}
