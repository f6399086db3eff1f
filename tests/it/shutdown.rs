//! SIGTERM under load, on the real process: not ready first, nothing accepted is lost, exit 0 within
//! the bound, although an idle connection is open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hilum::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::{PATIENCE, connect, get, request};
use crate::process::Process;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_loses_nothing_and_exits_in_time() {
    let mut process =
        Process::start(&[("SERVER__DRAIN_GRACE", "500ms"), ("SERVER__SHUTDOWN_TIMEOUT", "8s")]);
    process.wait_ready().await;
    let idle = connect(process.grpc).await;
    GrpcInferenceServiceClient::new(idle.clone()).model_infer(request(1, 1)).await.unwrap();

    let answered = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for seed in 0..8 {
        let (channel, answered) = (connect(process.grpc).await, Arc::clone(&answered));
        callers.spawn(async move {
            let mut client = GrpcInferenceServiceClient::new(channel);
            loop {
                match client.model_infer(request(4, seed)).await {
                    Ok(_) => answered.fetch_add(1, Ordering::Relaxed),
                    // The end: GOAWAY refused the request before it was sent, and the listener is
                    // gone. Anything else would be a lost request.
                    Err(status) => return status,
                };
            }
        });
    }
    while answered.load(Ordering::Relaxed) < 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = Instant::now();
    process.terminate();
    // Not ready first, while requests are still answered.
    while get(process.metrics, "/readyz").await.0 != 503 {
        assert!(begun.elapsed() < Duration::from_millis(500), "not ready too late");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let before = answered.load(Ordering::Relaxed);
    let waited = Instant::now();
    while answered.load(Ordering::Relaxed) < before + 20 {
        assert!(waited.elapsed() < Duration::from_millis(400), "nothing accepted while draining");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let status = loop {
        if let Some(status) = process.ended() {
            break status;
        }
        assert!(begun.elapsed() < Duration::from_secs(8), "still running after the bound");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(status.success(), "{status}");
    for status in callers.join_all().await {
        // Each of these says that the request was never sent: the listener is gone, GOAWAY came
        // first, or the connection was closed while the request still waited in the client.
        let text = format!("{status:?}");
        let unsent =
            ["tcp connect error", "GoAway(b\"\", NO_ERROR", "Canceled, \"connection closed\""];
        let unsent = unsent.iter().any(|word| text.contains(word));
        assert!(unsent, "a request may have been lost: {text}");
        assert!(matches!(status.code(), Code::Unavailable | Code::Cancelled), "{text}");
    }
    drop(idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_cuts_the_grace_short() {
    let mut process =
        Process::start(&[("SERVER__DRAIN_GRACE", "60s"), ("SERVER__SHUTDOWN_TIMEOUT", "70s")]);
    process.wait_ready().await;
    let begun = Instant::now();
    process.terminate();
    while get(process.metrics, "/readyz").await.0 != 503 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    process.terminate();
    let status = loop {
        if let Some(status) = process.ended() {
            break status;
        }
        assert!(begun.elapsed() < PATIENCE, "the second signal was not heard");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(status.success(), "{status}");
}
