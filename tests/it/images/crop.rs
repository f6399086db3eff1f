//! A recipe that crops to what another bundle finds, run by the same engine.

use hilum::proto::hilum::v1::ClassifyRequest;
use tonic::Code;

use super::{ask, client, codes, png, serve};
use crate::harness::serve_models;

/// 96 × 96 levels: 90 and two upright bright bars, or one, far from the edges.
pub fn two_lungs(second: bool) -> Vec<u8> {
    (0..96 * 96)
        .map(|at| {
            let (x, y) = (at % 96, at / 96);
            let within = (24..72).contains(&y);
            match x {
                18..42 if within => 200,
                54..78 if within && second => 200,
                _ => 90,
            }
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_crop_is_what_the_other_bundle_finds_and_the_heat_lies_on_it() {
    let server = serve().await;
    let mut client = client(&server).await;
    let explained = |image| ClassifyRequest { explain: true, ..ask("cropped", image) };
    let both =
        client.classify(explained(png(96, 96, &two_lungs(true)))).await.unwrap().into_inner();
    assert_eq!(codes(&both), Vec::<&str>::new());
    // Most of what the network sees is bright; of the whole picture a quarter is.
    let whole = client.classify(ask("spots", png(96, 96, &two_lungs(true)))).await.unwrap();
    let (cropped, whole) = (both.scores[1].raw, whole.into_inner().scores[1].raw);
    assert!(cropped > 0.9 && whole < 0.7, "{cropped} {whole}");
    // The heat on the network's input: the bars fill it but for the gap between them.
    let why = both.explanation.unwrap();
    let at = |x: usize, y: usize| why.heatmap[y * 32 + x];
    assert!(at(6, 16) > 0.9 && at(26, 16) > 0.9 && at(16, 16) < 0.7);
    let one =
        client.classify(explained(png(96, 96, &two_lungs(false)))).await.unwrap().into_inner();
    assert_eq!(codes(&one), ["lung_field_mirrored"]);
    let none = client.classify(ask("cropped", png(96, 96, &[90; 96 * 96]))).await.unwrap();
    assert_eq!(codes(&none.into_inner()), ["lung_field_not_found"]);
    let ran = server.metric(r#"hilum_rows_total{model="lungs",version="1"}"#).await;
    assert_eq!(ran, 3.0, "the segmentation ran by its own batcher");
    assert_eq!(server.metric("hilum_decode_memory_bytes").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_segmentation_is_named() {
    let server = serve_models(&["cropped"]).await;
    let mut client = client(&server).await;
    let status = client.classify(ask("cropped", png(96, 96, &two_lungs(true)))).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("'lungs/1', which cannot be used"), "{}", status.message());
}
