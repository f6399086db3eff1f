//! A burst of one model's large files beside another model's small ones.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use super::{ask, client, dicom, png};
use crate::harness::{Server, request, with_models};

/// The bound: while fifty large files wait, a small one of another model is decoded before a second
/// one of them begins on any thread. With two threads at most four large ones end before the small
/// one, those under way at its arrival and their successors; rows of tensors pass by altogether.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_large_files_hold_another_model_up_by_four_at_most() {
    let mut config = with_models(&["spots", "colours", "mnist"]);
    let (_kept, models) = crate::harness::models_copy();
    for name in ["spots", "colours"] {
        crate::harness::copy(
            &crate::harness::root().join("tests/models").join(name),
            &models.join(name),
        );
    }
    config.models.directory = models;
    config.pipeline.decode_threads = 2;
    config.pipeline.decode_queue_bytes = (1 << 30).try_into().unwrap();
    let server = Server::start(config);
    server.wait_ready().await;
    let vision = client(&server).await.max_encoding_message_size(64 << 20);
    let levels: Vec<u8> = (0..2500_usize * 3000).map(|at| (at * 31 % 251) as u8).collect();
    let large = dicom(2500, 3000, &levels);
    let mut burst: FuturesUnordered<_> = (0..50)
        .map(|_| {
            let (mut vision, request) = (vision.clone(), ask("spots", large.clone()));
            async move { vision.classify(request).await.unwrap() }
        })
        .collect();
    // The burst is under way once the first of it is answered.
    burst.next().await.unwrap();
    let waiting = r#"hilum_queue_depth{model="spots.image",version="1"}"#;
    let deadline = tokio::time::Instant::now() + crate::harness::PATIENCE;
    while server.metric(waiting).await < 20.0 {
        assert!(tokio::time::Instant::now() < deadline, "the burst does not queue");
        tokio::select! {
            done = burst.next() => assert!(done.is_some(), "the burst is over"),
            () = tokio::time::sleep(std::time::Duration::from_millis(5)) => {}
        }
    }
    let mut oip = server.client().await;
    let mut small = vision.clone();
    let file = png(16, 16, &[200, 0, 0].repeat(256));
    for _ in 0..3 {
        let left = burst.len();
        let question = async {
            let image = small.classify(ask("colours", file.clone())).await.unwrap().into_inner();
            assert_eq!(image.label, "red");
            oip.model_infer(request(4, 1)).await.unwrap();
        };
        tokio::pin!(question);
        loop {
            tokio::select! {
                biased;
                () = &mut question => break,
                Some(_) = burst.next() => {}
            }
        }
        let passed = left - burst.len();
        assert!(passed <= 4, "{passed} large files were answered before a small one");
    }
    assert!(!burst.is_empty(), "the burst was over before the small ones");
    while burst.next().await.is_some() {}
}
