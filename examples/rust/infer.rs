//! One image through this package's own client. It must never need more than a running server.

use std::time::Duration;

use hilum::client::Client;
use hilum::proto::inference::ModelInferRequest;
use hilum::proto::inference::model_infer_request::InferInputTensor;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8001".to_owned());
    let client = Client::connect(&address, Duration::from_secs(10)).await?;
    let image = InferInputTensor {
        name: "image".to_owned(),
        datatype: "FP32".to_owned(),
        shape: vec![1, 1, 28, 28],
        ..Default::default()
    };
    let request = ModelInferRequest {
        model_name: "mnist".to_owned(),
        inputs: vec![image],
        raw_input_contents: vec![vec![0; 4 * 28 * 28].into()],
        ..Default::default()
    };
    let answer = client.infer(request, None).await?;
    let scores = answer.raw_output_contents[0].chunks_exact(4);
    let scores = scores.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let best = scores.enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
    let (digit, score) = best.ok_or("the answer has no scores")?;
    println!("{digit} {score:.4}");
    Ok(())
}
