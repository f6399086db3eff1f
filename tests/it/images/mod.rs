//! Images over every service: the same answer by each way, refusals with their reasons, bad files.
//!
//! The models are those of tests/models/make_images.py, so small that answers are worked out by hand.

mod bad_input;
mod command;
mod crop;
mod fairness;
mod oip;
mod privacy;
mod repeats;
mod rest;
mod vision;

use hilum::proto::hilum::v1::vision_client::VisionClient;
use hilum::proto::hilum::v1::{ClassifyRequest, ClassifyResponse};
use image::{ExtendedColorType, ImageEncoder as _};
use tonic::transport::Channel;

use crate::harness::{Server, serve_models};

/// All image models of the tests.
pub const MODELS: [&str; 5] = ["spots", "colours", "plain", "lungs", "cropped"];

pub async fn serve() -> Server {
    serve_models(&MODELS).await
}

pub async fn client(server: &Server) -> VisionClient<Channel> {
    VisionClient::new(server.channel().await).max_decoding_message_size(256 << 20)
}

/// 64 × 64 levels: 40, and 255 in the upper right quarter.
pub fn spotted() -> Vec<u8> {
    let bright = |x: usize, y: usize| x >= 32 && y < 32;
    (0..64 * 64).map(|at| if bright(at % 64, at / 64) { 255 } else { 40 }).collect()
}

/// Levels as a PNG file.
pub fn png(width: u32, height: u32, samples: &[u8]) -> Vec<u8> {
    let color = if samples.len() == (width * height) as usize {
        ExtendedColorType::L8
    } else {
        ExtendedColorType::Rgb8
    };
    let mut file = Vec::new();
    image::codecs::png::PngEncoder::new(&mut file)
        .write_image(samples, width, height, color)
        .unwrap();
    file
}

/// Levels as a JPEG file of the best quality.
pub fn jpeg(width: u32, height: u32, samples: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 100)
        .write_image(samples, width, height, ExtendedColorType::L8)
        .unwrap();
    file
}

/// Levels as a DICOM file with a window that shows them as they are.
pub fn dicom(rows: u16, columns: u16, samples: &[u8]) -> Vec<u8> {
    use crate::imaging::dicom_file::{EXPLICIT, element, file, gray8, text};
    let mut elements = vec![text(8, 0x60, "CS", "DX"), text(0x10, 0x10, "PN", "Planted^Name")];
    elements.extend(gray8(rows, columns));
    elements.extend([text(0x28, 0x1050, "DS", "128"), text(0x28, 0x1051, "DS", "256")]);
    elements.push(element(0x7fe0, 0x10, "OB", samples));
    file(EXPLICIT, &elements)
}

/// What `spotted` gives by hand, the resize's blur left out: logit 12 · 0.25 − 0.75 · (1 − 2 · 40 /
/// 255) − 1, then Platt with a = 0.8 and b = −0.2.
pub fn by_hand() -> (f64, f64) {
    let logit = 12.0 * 0.25 - 0.75 * (1.0 - 80.0 / 255.0) - 1.0;
    let sigmoid = |z: f64| 1.0 / (1.0 + f64::exp(-z));
    (sigmoid(logit), sigmoid(0.8 * logit - 0.2))
}

pub fn ask(model: &str, image: Vec<u8>) -> ClassifyRequest {
    ClassifyRequest { model: model.to_owned(), image: image.into(), ..Default::default() }
}

pub fn codes(answer: &ClassifyResponse) -> Vec<&str> {
    answer.warnings.iter().map(|warning| warning.code.as_str()).collect()
}
