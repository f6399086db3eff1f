//! One row for each row predicted, by every way, before the answer has left.

use std::collections::BTreeSet;

use hilum::audit::{InputKind, NO_MODEL, Record, Status};
use hilum::domain::{DataType, Decision, ErrorKind, Route, Tensor};
use hilum::proto::hilum::v1 as proto;
use tonic::{Code, Request};

use super::{keys, of, records, until};
use crate::harness::{Server, bytes_of, pixels, raw_request, request, scores, strings, unpacked};
use crate::http_client::send;
use crate::images::{ask, client, dicom, jpeg, png, serve, spotted};

fn id<T>(response: &tonic::Response<T>) -> String {
    response
        .metadata()
        .get("x-audit-id")
        .expect("an answer names its record")
        .to_str()
        .unwrap()
        .into()
}

fn same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tensors_have_a_row_each_that_says_what_was_answered() {
    let server = Server::ready().await;
    let mut oip = server.client().await;
    let mut asked = Request::new(request(3, 7));
    asked.metadata_mut().insert("x-request-id", "the-request".parse().unwrap());
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    asked.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    let answer = oip.model_infer(asked).await.unwrap();
    let audit_id = id(&answer);
    // It is there already: the answer did not leave before.
    let rows = of(&server.spool, &audit_id);
    let answered = scores(answer.get_ref());
    assert_eq!(rows.len(), 3);
    let ring = keys(&server.spool);
    let sent = pixels(3, 7);
    for (place, row) in rows.iter().enumerate() {
        assert_eq!((row.row as usize, row.count, row.status), (place, 1, Status::Ok));
        assert_eq!((row.model.as_str(), row.route), ("mnist", Some(Route::Champion)));
        assert_eq!(row.version.unwrap().to_string(), answer.get_ref().model_version);
        assert_eq!(row.request_id.as_ref(), "the-request");
        assert!(same(&row.scores, &answered[place]) && same(&row.calibrated, &answered[place]));
        let best = answered[place].iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        assert_eq!(row.label.as_deref(), Some(best.to_string().as_str()));
        assert_eq!((row.decision, row.statistics), (None, None));
        assert_eq!(row.input_kind, Some(InputKind::Tensor));
        let bytes = bytes_of(&sent[place * 784..(place + 1) * 784]);
        let one = Tensor::new(DataType::Fp32, vec![1, 1, 28, 28], bytes.into()).unwrap();
        assert_eq!(row.input_hmac, Some(ring.all()[0].tensors(&[one], true)));
        assert!(row.batch_size >= 3 && row.total_us >= row.infer_us);
    }
    let bundle: BTreeSet<String> =
        rows.iter().map(|row| row.bundle_sha256.unwrap().to_string()).collect();
    assert_eq!(bundle.len(), 1);

    // Only the shape is wanted, and version 1: the row tells the scores all the same.
    let mut pinned = request(1, 7);
    pinned.model_version = "1".to_owned();
    let pinned = oip.model_infer(pinned).await.unwrap();
    let row = &of(&server.spool, &id(&pinned))[0];
    assert_eq!((row.route, row.scores.len()), (Some(Route::Pinned), 10));
    let first = of(&server.spool, &audit_id)[0].input_hmac;
    assert_eq!(row.input_hmac, first, "a row is known whatever it stands beside");

    // REST, and a stream, whose answers have no headers.
    let json = serde_json::json!({ "inputs": [{
        "name": "image", "datatype": "FP32", "shape": [1, 1, 28, 28], "data": pixels(1, 7),
    }]});
    let path = "/v2/models/mnist/infer";
    let rest = send(server.http, http::Method::POST, path, &[], json.to_string()).await;
    assert_eq!(rest.status, 200);
    let row = &of(&server.spool, rest.header("x-audit-id"))[0];
    assert_eq!(row.input_hmac, first);
    let before = records(&server.spool).len();
    let stream = tokio_stream::iter(vec![request(1, 7), request(2, 8)]);
    let mut answers = oip.model_stream_infer(stream).await.unwrap().into_inner();
    for more in [1, 3] {
        let answer = answers.message().await.unwrap().unwrap();
        assert!(answer.error_message.is_empty(), "{}", answer.error_message);
        assert!(records(&server.spool).len() >= before + more);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_has_one_hash_by_every_way_and_a_row_with_its_statistics() {
    let server = serve().await;
    let mut vision = client(&server).await;
    let file = png(64, 64, &spotted());
    let ring = keys(&server.spool);
    let hash = ring.all()[0].file(&file);
    let mut question = ask("spots", file.clone());
    question.study_id = "study-1".to_owned();
    let answer = vision.classify(question.clone()).await.unwrap();
    assert_eq!(id(&answer), answer.get_ref().audit_id);
    let row = of(&server.spool, &id(&answer)).remove(0);
    let told = answer.into_inner();
    assert_eq!(row.input_hmac, Some(hash));
    assert_eq!(row.study_hmac, Some(ring.all()[0].study("study-1")));
    assert_eq!((row.model.as_str(), row.input_kind), ("spots", Some(InputKind::Png)));
    assert_eq!(
        (row.decision.unwrap().name(), row.label.as_deref()),
        (&*told.decision, Some(&*told.label))
    );
    for (place, score) in told.scores.iter().enumerate() {
        assert_eq!(row.scores[place], score.raw as f32);
        assert_eq!(row.calibrated[place], score.calibrated as f32);
    }
    let statistics = row.statistics.unwrap();
    // A quarter of 255 and the rest of 40.
    assert!((statistics.mean - 93.75).abs() < 1e-9 && statistics.bits == 8);
    assert!(row.decode_us > 0 && row.total_us >= row.decode_us);
    // What is withheld from the caller and what is cut off is told all the same.
    question.top_k = 1;
    let one = vision.classify(question).await.unwrap().into_inner();
    assert_eq!((one.scores.len(), of(&server.spool, &one.audit_id)[0].scores.len()), (1, 2));

    let two = strings(&[file.clone(), jpeg(64, 64, &spotted())]);
    let asked = raw_request("spots.image", &[("image", "BYTES", &[2, 1], &two)]);
    let answer = server.client().await.model_infer(asked).await.unwrap();
    let rows = of(&server.spool, &id(&answer));
    assert_eq!(rows.iter().map(|row| row.row).collect::<Vec<_>>(), [0, 1]);
    assert_eq!((rows[0].input_hmac, rows[1].input_kind), (Some(hash), Some(InputKind::Jpeg)));
    let decisions = unpacked(&answer.get_ref().raw_output_contents[3]);
    assert_eq!(rows[1].decision.unwrap().name(), decisions[1]);

    let path = "/api/v1/predict?model=spots&study_id=study-1";
    let headers = [("content-type", "image/png")];
    let rest = send(server.http, http::Method::POST, path, &headers, file.clone()).await;
    let row = of(&server.spool, rest.header("x-audit-id")).remove(0);
    assert_eq!(
        rest.json()["auditId"].as_str().or(rest.json()["audit_id"].as_str()),
        Some(rest.header("x-audit-id"))
    );
    assert_eq!(
        (row.input_hmac, row.study_hmac),
        (Some(hash), Some(ring.all()[0].study("study-1")))
    );

    let item = |id: &str, image: Vec<u8>| proto::ClassifyStreamRequest {
        id: id.to_owned(),
        request: Some(ask("spots", image)),
    };
    let items = vec![item("a", dicom(64, 64, &spotted())), item("b", b"no image".to_vec())];
    let mut answers = vision.classify_stream(tokio_stream::iter(items)).await.unwrap().into_inner();
    while let Some(answer) = answers.message().await.unwrap() {
        if let Some(proto::classify_stream_response::Result::Response(told)) = answer.result {
            let row = of(&server.spool, &told.audit_id).remove(0);
            assert_eq!(row.input_kind, Some(InputKind::Dicom));
        }
    }
    // The bad file has its row too, found by the number in the refusal, whatever the way, or by the file alone.
    let bad_file = b"no image".to_vec();
    let items = vec![item("b", bad_file.clone())];
    let mut answers = vision.classify_stream(tokio_stream::iter(items)).await.unwrap().into_inner();
    let told = answers.message().await.unwrap().unwrap().result.unwrap();
    let proto::classify_stream_response::Result::Error(told) = told else { panic!("{told:?}") };
    let asked = raw_request(
        "spots.image",
        &[("image", "BYTES", &[1, 1], &strings(std::slice::from_ref(&bad_file)))],
    );
    let mut oip = server.client().await;
    let refusals = [
        vision.classify(ask("spots", bad_file.clone())).await.unwrap_err(),
        oip.model_infer(asked).await.unwrap_err(),
    ];
    let rest = send(server.http, http::Method::POST, path, &headers, bad_file).await;
    assert_eq!(rest.status, 415);
    let number = |status: &tonic::Status| {
        status.metadata().get("x-audit-id").unwrap().to_str().unwrap().to_owned()
    };
    let mut numbers: BTreeSet<String> = refusals.iter().map(number).collect();
    numbers.extend([told.audit_id, rest.header("x-audit-id").to_owned()]);
    assert_eq!(numbers.len(), 4);
    for id in &numbers {
        let row = of(&server.spool, id).remove(0);
        assert_eq!(row.status, Status::Failed(ErrorKind::UnsupportedMedia));
    }
    let bad = ring.all()[0].file(b"no image");
    let rows = records(&server.spool);
    let row = rows.iter().find(|row| row.input_hmac == Some(bad)).expect("failures are rows");
    assert_eq!(row.status, Status::Failed(ErrorKind::UnsupportedMedia));
    assert_eq!((row.decision, row.input_kind), (None, Some(InputKind::File)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_image_keeps_its_scores_for_the_record_alone() {
    let server = serve().await;
    let mut vision = client(&server).await;
    let flat = png(64, 64, &[90; 64 * 64]);
    let told = vision.classify(ask("spots", flat)).await.unwrap().into_inner();
    assert_eq!((told.decision.as_str(), told.scores.len()), ("rejected", 0));
    let row = of(&server.spool, &told.audit_id).remove(0);
    assert_eq!((row.decision, row.scores.len()), (Some(Decision::Rejected), 2));
    assert!(row.label.is_some());
    let codes: Vec<&str> = told.warnings.iter().map(|warning| warning.code.as_str()).collect();
    assert_eq!(row.warnings, codes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_is_one_row_and_refusals_are_counted_by_reason() {
    let server = Server::ready().await;
    let mut oip = server.client().await;
    let keyed = |seed: u32| {
        let mut asked = Request::new(request(1, seed));
        asked.metadata_mut().insert("idempotency-key", "k-1".parse().unwrap());
        asked
    };
    let first = oip.model_infer(keyed(1)).await.unwrap();
    let again = oip.model_infer(keyed(1)).await.unwrap();
    assert_eq!(id(&first), id(&again));
    assert_eq!(records(&server.spool).len(), 1, "a repeat is no second row");
    assert_eq!(oip.model_infer(keyed(2)).await.unwrap_err().code(), Code::Aborted);
    let mut wrong = request(1, 1);
    wrong.model_name = "nothing".to_owned();
    for _ in 0..20 {
        assert_eq!(oip.model_infer(wrong.clone()).await.unwrap_err().code(), Code::NotFound);
    }
    let mut narrow = request(1, 1);
    narrow.inputs[0].shape = vec![1, 1, 28, 27];
    let narrow = oip.model_infer(narrow).await.unwrap_err();
    assert_eq!(narrow.code(), Code::InvalidArgument);
    assert!(narrow.metadata().get("x-audit-id").is_none(), "a refusal has no row of its own");
    let refused = || {
        let rows = records(&server.spool).into_iter().filter(|row| row.model == NO_MODEL);
        let rows: Vec<Record> = rows.collect();
        (rows.iter().map(|row| row.count).sum::<u64>() == 22).then_some(rows)
    };
    let rows = until("the refusals are written", refused).await;
    let reasons: BTreeSet<&str> = rows.iter().map(|row| row.warnings[0].as_str()).collect();
    assert!(reasons.contains("IDEMPOTENCY_CONFLICT"), "{reasons:?}");
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(rows.len() < 22, "one row a reason and second");
    let seconds: BTreeSet<_> =
        rows.iter().map(|row| (row.warnings.clone(), row.ts.0 / 1_000_000)).collect();
    assert_eq!(seconds.len(), rows.len());
    assert!(rows.iter().all(|row| row.input_hmac.is_none() && row.version.is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_leaves_a_row() {
    let server = Server::ready().await;
    let mut oip = server.client().await;
    // Larger than what is hashed at once. Some of these leave while the model runs.
    for patience in [20, 40, 80, 160, 320, 640] {
        let patience = std::time::Duration::from_millis(patience);
        let _ = tokio::time::timeout(patience, oip.model_infer(request(2000, 3))).await;
    }
    let late = [ErrorKind::Cancelled, ErrorKind::DeadlineExceeded].map(Status::Failed);
    let written = || {
        let mut rows = records(&server.spool);
        rows.retain(|row| late.contains(&row.status));
        (!rows.is_empty()).then_some(rows)
    };
    let rows = until("the row is written", written).await;
    assert!(rows.len() >= 2000, "{}", rows.len());
}
