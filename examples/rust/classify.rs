//! One image through `hilum.v1.Vision` with this package's own client: ADDRESS IMAGE MODEL OVERLAY.png
//!
//! Prints decision, label and calibrated score; of an image that the model refuses, why. It must never need more than a running server.

use std::time::Duration;

use hilum::client::Client;
use hilum::proto::hilum::v1::ClassifyRequest;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, image, model, overlay] = arguments.as_slice() else {
        return Err("ADDRESS IMAGE MODEL OVERLAY.png".into());
    };
    let client = Client::connect(address, Duration::from_secs(10)).await?;
    let request = ClassifyRequest {
        model: model.clone(),
        image: std::fs::read(image)?.into(),
        overlay: true,
        ..Default::default()
    };
    let answer = client.classify(request, None).await?;
    if answer.decision == "rejected" {
        let reasons =
            answer.warnings.iter().map(|warning| format!("{}: {}", warning.code, warning.text));
        return Err(format!("rejected: {}", reasons.collect::<Vec<_>>().join("; ")).into());
    }
    let score = answer.scores.iter().find(|score| score.label == answer.label);
    let score = score.ok_or("the answer has no score of its label")?;
    println!("{} {} {:.4}", answer.decision, answer.label, score.calibrated);
    std::fs::write(overlay, answer.explanation.unwrap_or_default().overlay_png)?;
    Ok(())
}
