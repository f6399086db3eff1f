//! A tensor's way from JSON to bytes and back: `cargo bench --bench json`.
//!
//! 200 rows of MNIST as a body of `POST …/infer`. Beside each step, the same by way of serde_json's
//! tree of values, which is what a server without a typed reader does.

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hilum::oip::json::{AnswerForm, infer_from_json, infer_to_json};
use hilum::proto::inference::ModelInferResponse;
use hilum::proto::inference::model_infer_response::InferOutputTensor;

const ROWS: usize = 200;

fn elements() -> Vec<f32> {
    let mut state = 1_u32;
    (0..ROWS * 784)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        })
        .collect()
}

fn json(c: &mut Criterion) {
    let elements = elements();
    let bytes: Bytes = elements.iter().flat_map(|x| x.to_le_bytes()).collect();
    let body: Bytes = serde_json::json!({ "inputs": [{
        "name": "image", "datatype": "FP32", "shape": [ROWS, 1, 28, 28], "data": elements,
    }]})
    .to_string()
    .into();
    let answer = ModelInferResponse {
        outputs: vec![InferOutputTensor {
            name: "image".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![ROWS as i64, 1, 28, 28],
            ..Default::default()
        }],
        raw_output_contents: vec![bytes.clone()],
        ..Default::default()
    };

    let mut group = c.benchmark_group("json");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("read", |b| b.iter(|| infer_from_json(&body, None, false)));
    group.bench_function("read by a tree of values", |b| {
        b.iter(|| {
            let tree: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let data = tree["inputs"][0]["data"].as_array().map_or(&[][..], Vec::as_slice);
            let number =
                |x: &serde_json::Value| (x.as_f64().unwrap_or_default() as f32).to_le_bytes();
            data.iter().flat_map(number).collect::<Vec<u8>>()
        });
    });
    let form = AnswerForm::default();
    group.bench_function("write", |b| b.iter(|| infer_to_json(&answer, &form)));
    group.bench_function("write by a tree of values", |b| {
        b.iter(|| {
            let (numbers, _) = bytes.as_chunks::<4>();
            let numbers: Vec<f32> = numbers.iter().map(|x| f32::from_le_bytes(*x)).collect();
            serde_json::json!({ "outputs": [{ "data": numbers }] }).to_string()
        });
    });
    group.finish();
}

criterion_group!(benches, json);
criterion_main!(benches);
