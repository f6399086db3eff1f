//! Browsers: gRPC-Web on the HTTP port, and which origins' pages may call.

use std::net::SocketAddr;

use hilum::proto::inference::ModelInferResponse;
use http::{Method, StatusCode};
use prost::Message as _;

use crate::harness::{Server, config, request, scores};
use crate::http_client::{Answer, send};

const CALL: &str = "/inference.GRPCInferenceService/ModelInfer";

/// A call as a browser's client makes it: one frame of five bytes of head and the message.
async fn call(address: SocketAddr, message: Vec<u8>, more: &[(&str, &str)]) -> Answer {
    call_of(address, CALL, message, more).await
}

async fn call_of(
    address: SocketAddr,
    path: &str,
    message: Vec<u8>,
    more: &[(&str, &str)],
) -> Answer {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    let own = [("content-type", "application/grpc-web+proto"), ("x-grpc-web", "1")];
    send(address, Method::POST, path, &[&own, more].concat(), frame).await
}

/// The messages and the trailers of an answer.
fn frames(body: &[u8]) -> (Vec<&[u8]>, String) {
    let (mut messages, mut trailers, mut rest) = (Vec::new(), String::new(), body);
    while let [kind, a, b, c, d, after @ ..] = rest {
        let (data, next) = after.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        match kind {
            0 => messages.push(data),
            0x80 => trailers.push_str(std::str::from_utf8(data).unwrap()),
            other => panic!("a frame of kind {other}"),
        }
        rest = next;
    }
    (messages, trailers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_grpc_web_is_answered_like_one_of_grpc() {
    let mut config = config();
    config.engine.deterministic = true;
    let server = Server::start(config);
    server.wait_ready().await;
    let expected = server.client().await.model_infer(request(2, 3)).await.unwrap().into_inner();
    let message = request(2, 3).encode_to_vec();
    let answer = call(server.http, message, &[("x-request-id", "r-7")]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/grpc-web+proto");
    assert_eq!((answer.header("x-request-id"), answer.header("x-model-version")), ("r-7", "2"));
    let (messages, trailers) = frames(&answer.body);
    assert!(trailers.contains("grpc-status:0"), "{trailers}");
    let found = ModelInferResponse::decode(messages[0]).unwrap();
    assert_eq!(scores(&found), scores(&expected));

    let mut unknown = request(1, 1);
    unknown.model_name = "cats".to_owned();
    let answer = call(server.http, unknown.encode_to_vec(), &[]).await;
    let (messages, trailers) = frames(&answer.body);
    let status = format!("{trailers}grpc-status:{}", answer.header("grpc-status"));
    assert!(messages.is_empty() && status.contains("grpc-status:5"), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_pages_of_the_named_origins_may_call() {
    let ours = "https://app.example";
    let preflight = |address: SocketAddr, origin: &'static str| async move {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type,x-grpc-web"),
        ];
        send(address, Method::OPTIONS, CALL, &headers, "").await
    };
    let server = Server::ready().await;
    let answer = preflight(server.http, ours).await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
    drop(server);

    let mut config = config();
    config.server.cors_allowed_origins = vec![ours.to_owned()];
    let server = Server::start(config);
    server.wait_ready().await;
    let answer = preflight(server.http, ours).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("access-control-allow-origin"), ours);
    assert!(answer.header("access-control-allow-methods").contains("POST"));
    assert!(answer.header("access-control-allow-headers").contains("x-grpc-web"));
    let answer = preflight(server.http, "https://other.example").await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
    let answer = call(server.http, request(1, 1).encode_to_vec(), &[("origin", ours)]).await;
    assert_eq!(answer.header("access-control-allow-origin"), ours);
    let exposed = answer.header("access-control-expose-headers");
    assert!(exposed.contains("grpc-status") && exposed.contains("x-request-id"), "{exposed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_answered_to_a_browser_too() {
    let server = crate::images::serve().await;
    let file = crate::images::png(64, 64, &crate::images::spotted());
    let message = crate::images::ask("spots", file).encode_to_vec();
    let answer = call_of(server.http, "/hilum.v1.Vision/Classify", message, &[]).await;
    let (messages, trailers) = frames(&answer.body);
    assert!(trailers.contains("grpc-status:0"), "{trailers}");
    let found = hilum::proto::hilum::v1::ClassifyResponse::decode(messages[0]).unwrap();
    assert_eq!(found.label, "SPOTTED");
}
