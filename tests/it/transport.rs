//! Compression, the age of connections, keepalive, bounds on what is under way, large metadata.

use std::time::Duration;

use hilum::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use hilum::proto::inference::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tonic::Code;
use tonic::codec::CompressionEncoding::{Gzip, Zstd};

use crate::harness::{
    PATIENCE, Server, bytes_of, config, connect, plain_client, raw_request, request, scores,
    with_models,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_packed_as_its_request_is_and_only_then() {
    let server = Server::ready().await;
    let expected = server.client().await.model_infer(request(8, 2)).await.unwrap().into_inner();
    for packed in [Gzip, Zstd] {
        let client = || async {
            GrpcInferenceServiceClient::new(server.channel().await).accept_compressed(packed)
        };
        let mut asks = client().await.send_compressed(packed);
        let answer = asks.model_infer(request(8, 2)).await.unwrap();
        let name = packed.to_string();
        assert_eq!(answer.metadata().get("grpc-encoding").unwrap(), &*name);
        assert_eq!(scores(answer.get_ref()), scores(&expected));
        // Who only says that it could unpack is not made to.
        let answer = client().await.model_infer(request(8, 2)).await.unwrap();
        assert!(answer.metadata().get("grpc-encoding").is_none(), "{name}");
        // Streams take the same way.
        let requests = tokio_stream::iter([request(8, 2), request(8, 2)]);
        let stream = asks.model_stream_infer(requests).await.unwrap();
        assert_eq!(stream.metadata().get("grpc-encoding").unwrap(), &*name);
        let mut stream = stream.into_inner();
        while let Some(answer) = stream.message().await.unwrap() {
            assert_eq!(answer.error_message, "");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_configured_is_not_unpacked() {
    let mut config = config();
    config.server.grpc_compression = vec![hilum::rpc::Compression::Zstd];
    let server = Server::start(config);
    server.wait_ready().await;
    let channel = server.channel().await;
    let mut gzip = GrpcInferenceServiceClient::new(channel.clone()).send_compressed(Gzip);
    let status = gzip.model_infer(request(1, 1)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status}");
    let mut zstd = GrpcInferenceServiceClient::new(channel).send_compressed(Zstd);
    zstd.model_infer(request(1, 1)).await.unwrap();
}

/// A megabyte of zeros packs to a kilobyte: the limit holds for what comes out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_unpacks_to_more_than_the_limit_is_refused() {
    let mut config = config();
    config.limits.max_message_bytes = (1 << 20).try_into().unwrap();
    let server = Server::start(config);
    server.wait_ready().await;
    let mut message = request(1, 1);
    message.inputs[0].shape[0] = 2000;
    message.raw_input_contents = vec![vec![0; 2000 * 784 * 4].into()];
    for packed in [Gzip, Zstd] {
        let client = GrpcInferenceServiceClient::new(server.channel().await);
        let mut client = client.send_compressed(packed);
        let status = client.model_infer(message.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.message().contains("1048576"), "{}", status.message());
        client.model_infer(request(1, 1)).await.unwrap();
    }
}

/// Connections end at their age, and no request of a caller that connects anew is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_connection_is_replaced_without_a_lost_request() {
    let mut config = config();
    config.limits.max_connection_age = Duration::from_millis(200);
    config.limits.max_connection_age_grace = Duration::from_secs(10);
    let server = Server::start(config);
    server.wait_ready().await;
    // This one is not replaced by a channel: it is seen to end.
    let mut plain = plain_client(server.grpc).await;
    plain.model_infer(request(1, 1)).await.unwrap();
    let mut callers = JoinSet::new();
    for seed in 0..3 {
        let mut client = server.client().await;
        callers.spawn(async move {
            let begun = std::time::Instant::now();
            let mut answered = 0;
            while begun.elapsed() < Duration::from_millis(1200) {
                match client.model_infer(request(2, seed)).await {
                    Ok(_) => answered += 1,
                    // GOAWAY came before the request was taken: it was never begun.
                    Err(status) => {
                        let text = format!("{status:?}");
                        let unsent = text.contains("GoAway") || text.contains("connection closed");
                        assert!(unsent, "{text}");
                    }
                }
            }
            answered
        });
    }
    for answered in callers.join_all().await {
        assert!(answered > 0);
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while plain.model_infer(request(1, 1)).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "the connection outlives its age");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Work in flight may take its grace, and no longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_on_an_old_connection_has_its_grace_and_no_more() {
    let mut config = with_models(&["slow"]);
    config.limits.max_connection_age = Duration::from_millis(100);
    config.limits.max_connection_age_grace = Duration::from_millis(300);
    let server = Server::start(config);
    server.wait_ready().await;
    let mut client = plain_client(server.grpc).await;
    // A stream that its caller never closes.
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let begun = std::time::Instant::now();
    let mut answers = client.model_stream_infer(requests).await.unwrap().into_inner();
    let row = bytes_of(&[0.5; 16]);
    sender.send(raw_request("slow", &[("x", "FP32", &[1, 16], &row)])).await.unwrap();
    assert!(answers.message().await.unwrap().is_some());
    let ended = tokio::time::timeout(PATIENCE, answers.message()).await.unwrap();
    assert!(ended.is_err(), "{ended:?}");
    // The age is 90 to 110 ms, the grace 300 ms.
    assert!(begun.elapsed() >= Duration::from_millis(380), "{:?}", begun.elapsed());
    drop(sender);
}

/// A peer that answers no ping is cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_answers_no_ping_is_cut() {
    let mut config = config();
    config.limits.keepalive_interval = Duration::from_millis(50);
    config.limits.keepalive_timeout = Duration::from_millis(50);
    let server = Server::start(config);
    let mut peer = tokio::net::TcpStream::connect(server.grpc).await.unwrap();
    let settings = [0_u8, 0, 0, 4, 0, 0, 0, 0, 0];
    peer.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    peer.write_all(&settings).await.unwrap();
    let mut heard = Vec::new();
    let read = peer.read_to_end(&mut heard);
    let read = tokio::time::timeout(PATIENCE, read).await.expect("the peer is cut");
    // Cut by an end or a reset; before that it was pinged.
    assert!(read.is_ok() || !heard.is_empty());
    let mut pinged = false;
    let mut rest = &heard[..];
    while let Some((head, after)) = rest.split_first_chunk::<9>() {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        pinged |= head[3] == 6;
        rest = after.get(length..).unwrap_or_default();
    }
    assert!(pinged, "{heard:?}");
}

/// One stream at a time: a second request waits for the first, and both are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_has_as_many_streams_as_it_may() {
    let mut config = with_models(&["slow"]);
    config.limits.max_concurrent_streams = 1.try_into().unwrap();
    config.limits.max_inflight_requests = 4.try_into().unwrap();
    let server = Server::start(config);
    server.wait_ready().await;
    let client = server.client().await;
    // Before the server's settings have come a client may believe that it has more streams.
    client.clone().server_live(ServerLiveRequest {}).await.unwrap();
    let row = bytes_of(&[0.5; 16]);
    let mut calls = JoinSet::new();
    for _ in 0..6 {
        let mut client = client.clone();
        let message = raw_request("slow", &[("x", "FP32", &[1, 16], &row)]);
        calls.spawn(async move { client.model_infer(message).await });
    }
    let mut most = 0.0_f64;
    while let Some(answer) = calls.join_next().await {
        answer.unwrap().unwrap();
        most = most.max(server.metric(r#"hilum_inflight_requests{protocol="grpc"}"#).await);
    }
    assert!(most <= 1.0, "{most} at a time");
}

/// Over all connections no more predictions than may be in flight.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn predictions_beyond_the_bound_are_refused_with_a_time_to_come_again() {
    use tonic_types::StatusExt as _;
    let mut config = with_models(&["slow"]);
    config.limits.max_inflight_requests = 1.try_into().unwrap();
    let server = Server::start(config);
    server.wait_ready().await;
    let row = bytes_of(&[0.5; 16]);
    let mut calls = JoinSet::new();
    for _ in 0..12 {
        let mut client = server.client().await;
        let message = raw_request("slow", &[("x", "FP32", &[1, 16], &row)]);
        calls.spawn(async move { client.model_infer(message).await });
    }
    let answers = calls.join_all().await;
    let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(!refused.is_empty() && refused.len() < answers.len());
    for status in refused {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.get_error_details().retry_info().is_some());
    }
}

/// A second connection waits in the backlog until the first is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_beyond_the_bound_waits_for_a_place() {
    let mut config = config();
    config.limits.max_connections = 1.try_into().unwrap();
    let server = Server::start(config);
    let first = connect(server.grpc).await;
    let mut client = GrpcInferenceServiceClient::new(first.clone());
    client.server_live(ServerLiveRequest {}).await.unwrap();
    let second = GrpcInferenceServiceClient::new(connect(server.grpc).await);
    let waiting = tokio::spawn(async move {
        second
            .clone()
            .server_live(ServerLiveRequest {})
            .await
            .map(|answer| answer.into_inner().live)
    });
    for _ in 0..20 {
        client.server_live(ServerLiveRequest {}).await.unwrap();
    }
    assert!(!waiting.is_finished());
    drop((client, first));
    assert!(tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap());
}

/// Metadata of a megabyte, on every kind of call: refused, and the connection's other calls go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_megabyte_of_metadata_harms_nobody() {
    let server = Server::ready().await;
    let mut client = server.client().await;
    client.model_infer(request(1, 1)).await.unwrap();
    let huge: tonic::metadata::AsciiMetadataValue = "x".repeat(1 << 20).parse().unwrap();
    for call in 0..3 {
        let mut plain = plain_client(server.grpc).await;
        let status = match call {
            0 => {
                let mut message = tonic::Request::new(request(1, 1));
                message.metadata_mut().insert("x-huge", huge.clone());
                plain.model_infer(message).await.map(drop)
            }
            1 => {
                let mut message = tonic::Request::new(tokio_stream::iter([request(1, 1)]));
                message.metadata_mut().insert("x-huge", huge.clone());
                plain.model_stream_infer(message).await.map(drop)
            }
            _ => {
                let mut message = tonic::Request::new(ModelStatisticsRequest::default());
                message.metadata_mut().insert("x-huge", huge.clone());
                plain.model_statistics(message).await.map(drop)
            }
        };
        assert!(status.is_err(), "call {call} was answered");
        client.model_infer(request(1, 1)).await.unwrap();
        server.client().await.model_infer(request(1, 1)).await.unwrap();
    }
}
