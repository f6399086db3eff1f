//! A row's answer does not depend on its neighbours: invariant 2, on the real models.

use hilum::proto::inference::ModelInferRequest;
use proptest::prelude::*;
use tokio::task::JoinSet;

use crate::harness::{Server, config, pixels, request_of, scores};

/// What the bundles' goldens grant.
const TOLERANCE: f32 = 1e-5;

/// The rows' answers when each is asked alone, one after the other.
async fn alone(server: &Server, version: &str, rows: &[f32]) -> Vec<Vec<f32>> {
    let mut client = server.client().await;
    let mut answers = Vec::new();
    for row in rows.chunks(784) {
        let message = ModelInferRequest { model_version: version.to_owned(), ..request_of(row) };
        answers.extend(scores(client.model_infer(message).await.unwrap().get_ref()));
    }
    answers
}

/// The rows' answers when they are asked in requests of `sizes` rows, all at once.
async fn together(server: &Server, version: &str, rows: &[f32], sizes: &[usize]) -> Vec<Vec<f32>> {
    let client = server.client().await;
    let mut calls = JoinSet::new();
    let mut at = 0;
    for (index, size) in sizes.iter().enumerate() {
        let part = &rows[at * 784..(at + size) * 784];
        at += size;
        let message = ModelInferRequest { model_version: version.to_owned(), ..request_of(part) };
        let mut client = client.clone();
        calls.spawn(async move {
            (index, scores(client.model_infer(message).await.unwrap().get_ref()))
        });
    }
    let mut answers = calls.join_all().await;
    answers.sort_by_key(|(index, _)| *index);
    answers.into_iter().flat_map(|(_, rows)| rows).collect()
}

fn differ(one: &[Vec<f32>], other: &[Vec<f32>]) -> f32 {
    assert_eq!(one.len(), other.len());
    let pairs = one.iter().flatten().zip(other.iter().flatten());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn rows_alone_equal_rows_in_any_batch() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::ready());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(12));
    let sizes = prop::collection::vec(1_usize..80, 1..12);
    runner
        .run(&(sizes, any::<u32>(), prop_oneof!["1", "2"]), |(sizes, seed, version)| {
            let rows = pixels(sizes.iter().sum(), seed);
            let (one, all) = runtime.block_on(async {
                (
                    alone(&server, &version, &rows).await,
                    together(&server, &version, &rows, &sizes).await,
                )
            });
            prop_assert!(differ(&one, &all) <= TOLERANCE);
            Ok(())
        })
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deterministic_mode_repeats_every_bit() {
    let mut config = config();
    config.engine.deterministic = true;
    let server = Server::start(config);
    server.wait_ready().await;
    let rows = pixels(90, 5);
    let one = alone(&server, "2", &rows).await;
    assert_eq!(one, together(&server, "2", &rows, &[1, 50, 7, 32]).await);
}
