//! `ModelStreamInfer`: one answer for each request, in order, and bounds on what is under way.

use std::time::Duration;

use futures::StreamExt as _;
use hilum::proto::inference::infer_parameter::ParameterChoice;
use hilum::proto::inference::*;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::bad_input::CASES;
use crate::harness::{
    PATIENCE, Server, bytes_of, config, raw_request, request, scores, with_models,
};

fn numbered(id: usize, rows: usize) -> ModelInferRequest {
    ModelInferRequest { id: id.to_string(), ..request(rows, id as u32) }
}

/// More requests than may run at a time, then the client's half is closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_closed_stream_is_answered_whole_and_in_order() {
    let server = Server::ready().await;
    let mut client = server.client().await;
    let mut alone = Vec::new();
    for id in 0..100 {
        alone.push(client.model_infer(numbered(id, 1 + id % 3)).await.unwrap().into_inner());
    }
    let requests = tokio_stream::iter((0..100).map(|id| numbered(id, 1 + id % 3)));
    let answers = client.model_stream_infer(requests).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(Result::unwrap).collect().await;
    assert_eq!(answers.len(), 100);
    for (id, answer) in answers.iter().enumerate() {
        assert_eq!(answer.error_message, "");
        let response = answer.infer_response.as_ref().unwrap();
        assert_eq!((&*response.id, &*response.model_version), (&*id.to_string(), "2"));
        let last = &response.parameters["triton_final_response"].parameter_choice;
        assert_eq!(*last, Some(ParameterChoice::BoolParam(true)));
        let pairs = scores(response).concat().into_iter().zip(scores(&alone[id]).concat());
        assert!(pairs.map(|(a, b)| (a - b).abs()).all(|difference| difference < 1e-5), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_is_its_own_requests_and_no_others() {
    let server = Server::ready().await;
    let mut client = server.client().await;
    let mut unknown = numbered(1, 1);
    unknown.model_name = "cats".to_owned();
    let mut short = numbered(3, 1);
    short.raw_input_contents[0] = vec![0; 5].into();
    let requests = vec![numbered(0, 1), unknown, numbered(2, 1), short, numbered(4, 1)];
    let answers = client.model_stream_infer(tokio_stream::iter(requests)).await.unwrap();
    let answers: Vec<_> = answers.into_inner().map(Result::unwrap).collect().await;
    let words = ["", "unknown model 'cats'", "", "takes 3136 bytes, 5 came", ""];
    assert_eq!(answers.len(), words.len());
    for (id, (answer, words)) in answers.iter().zip(words).enumerate() {
        let response = answer.infer_response.as_ref().unwrap();
        assert_eq!(response.id, id.to_string());
        assert_eq!(answer.error_message.is_empty(), words.is_empty());
        assert!(answer.error_message.contains(words), "{}", answer.error_message);
        assert_eq!(response.outputs.len(), usize::from(words.is_empty()));
    }
}

/// Every malformed request of the unary call, each between two good ones, on one stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_malformed_request_is_told_what_is_wrong_and_harms_no_other() {
    let server = Server::ready().await;
    let mut client = server.client().await;
    let mut requests = vec![request(2, 1)];
    for (_, change, ..) in CASES {
        let mut message = request(2, 1);
        change(&mut message);
        requests.extend([message, request(2, 1)]);
    }
    let answers = client.model_stream_infer(tokio_stream::iter(requests)).await.unwrap();
    let answers: Vec<_> = answers.into_inner().map(Result::unwrap).collect().await;
    assert_eq!(answers.len(), 1 + 2 * CASES.len());
    for ((case, .., words), pair) in CASES.iter().zip(answers[1..].chunks(2)) {
        for word in *words {
            assert!(pair[0].error_message.contains(word), "{case}: {}", pair[0].error_message);
        }
        assert_eq!(pair[1].error_message, "", "after: {case}");
    }
}

/// A message that cannot be read ends the stream; what came before is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_over_the_limit_ends_the_stream_with_the_limit() {
    let mut config = config();
    config.limits.max_message_bytes = (1 << 20).try_into().unwrap();
    let server = Server::start(config);
    server.wait_ready().await;
    let mut client = server.client().await;
    let requests = tokio_stream::iter([numbered(0, 1), numbered(1, 400), numbered(2, 1)]);
    let mut answers = client.model_stream_infer(requests).await.unwrap().into_inner();
    let first = answers.message().await.unwrap().unwrap();
    assert_eq!(first.infer_response.unwrap().id, "0");
    let status = answers.message().await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("1048576"), "{}", status.message());
}

fn slow(id: usize) -> ModelInferRequest {
    let row = bytes_of(&[0.5; 16]);
    ModelInferRequest {
        id: id.to_string(),
        ..raw_request("slow", &[("x", "FP32", &[1, 16], &row)])
    }
}

/// A caller that leaves in the middle, its connection with it: what has not run by then never does.
#[test]
fn a_caller_that_leaves_cancels_what_waits_and_is_bounded_while_it_stays() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut config = with_models(&["slow"]);
    config.limits.max_stream_inflight = 4.try_into().unwrap();
    config.engine.instances = 1;
    config.engine.deterministic = true;
    let server = Server::start(config);
    runtime.block_on(server.wait_ready());
    let waiting = || {
        let series = r#"hilum_inflight_requests{protocol="grpc"}"#;
        runtime.block_on(server.metric(series))
    };
    let rows = || runtime.block_on(server.metric(r#"hilum_rows_total{model="slow",version="1"}"#));
    // The caller has a runtime of its own, which takes its connection along.
    let caller = tokio::runtime::Runtime::new().unwrap();
    let mut answers = caller.block_on(async {
        let mut client = server.client().await;
        // Far more than the connection's window holds.
        let requests = tokio_stream::iter((0..1_000_000).map(slow));
        client.model_stream_infer(requests).await.unwrap().into_inner()
    });
    for id in 0..5 {
        let answer = caller.block_on(answers.message()).unwrap().unwrap();
        assert_eq!(answer.infer_response.unwrap().id, id.to_string());
        let waiting = waiting();
        assert!((1.0..=4.0).contains(&waiting), "{waiting} at a time");
    }
    caller.shutdown_background();
    let before = rows();
    let deadline = std::time::Instant::now() + PATIENCE;
    while waiting() > 0.0 {
        assert!(std::time::Instant::now() < deadline, "the requests outlive their caller");
        std::thread::sleep(Duration::from_millis(5));
    }
    let ran = rows();
    // What ran when the caller left, and the few that may have ended on the way.
    assert!(ran <= before + 8.0, "{before} rows were run, {ran} in the end");
}

/// The end of the service does not wait for a caller that keeps its stream open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_answers_what_was_read_and_says_that_it_is_the_end() {
    let server = Server::ready().await;
    let mut client = server.client().await;
    let (sender, receiver) = mpsc::channel(1);
    let answers = client.model_stream_infer(ReceiverStream::new(receiver)).await.unwrap();
    let mut answers = answers.into_inner();
    sender.send(numbered(0, 1)).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().error_message, "");
    let begun = std::time::Instant::now();
    let ending = tokio::task::spawn_blocking(move || drop(server));
    let status = answers.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("shutting down"), "{}", status.message());
    ending.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(sender);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_stream_has_no_answers() {
    let server = Server::ready().await;
    let requests = tokio_stream::empty::<ModelInferRequest>();
    let answers = server.client().await.model_stream_infer(requests).await.unwrap();
    assert_eq!(answers.into_inner().count().await, 0);
}
