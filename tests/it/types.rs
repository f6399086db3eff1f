//! Every data type there and back, by raw and by typed contents, through models that echo.

use hilum::proto::inference::InferTensorContents;
use proptest::prelude::*;
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::{raw_request, serve_models, strings, unpacked};

/// The models `echo_*`, the protocol's name of their type and bytes of an element.
const TYPES: [(&str, &str, usize); 13] = [
    ("echo_bool", "BOOL", 1),
    ("echo_uint8", "UINT8", 1),
    ("echo_uint16", "UINT16", 2),
    ("echo_uint32", "UINT32", 4),
    ("echo_uint64", "UINT64", 8),
    ("echo_int8", "INT8", 1),
    ("echo_int16", "INT16", 2),
    ("echo_int32", "INT32", 4),
    ("echo_int64", "INT64", 8),
    ("echo_fp16", "FP16", 2),
    ("echo_bf16", "BF16", 2),
    ("echo_fp32", "FP32", 4),
    ("echo_fp64", "FP64", 8),
];

/// Elements that touch both ends of every type: bits in all places, the last all ones.
fn bits(datatype: &str, size: usize, elements: usize) -> Vec<u8> {
    if datatype == "BOOL" {
        return (0..elements).map(|index| u8::from(index % 3 == 0)).collect();
    }
    let count = elements * size;
    (0..count).map(|at| if at + size >= count { 255 } else { (at * 37 + 11) as u8 }).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raw_bytes_of_every_type_come_back_as_they_went() {
    let models: Vec<&str> = TYPES.iter().map(|(model, ..)| *model).collect();
    let server = serve_models(&models).await;
    let mut client = server.client().await;
    for (model, datatype, size) in TYPES {
        // NaN of every kind is among the bits of the floating-point types.
        let bytes = bits(datatype, size, 6);
        let message = raw_request(model, &[("x", datatype, &[3, 2], &bytes)]);
        let answer = client.model_infer(message).await.expect(model).into_inner();
        assert_eq!(
            (&*answer.outputs[0].datatype, &*answer.outputs[0].shape),
            (datatype, &[3, 2][..])
        );
        assert_eq!(answer.raw_output_contents[0], bytes, "{model}");
    }
}

type Fill = fn(&mut InferTensorContents);

/// The typed contents of each type that has them, at the ends of its range, and their raw bytes.
fn typed() -> Vec<(&'static str, &'static str, Fill, Vec<u8>)> {
    let le = |parts: &[&[u8]]| parts.concat();
    vec![
        ("echo_bool", "BOOL", |c| c.bool_contents = vec![true, false], vec![1, 0]),
        ("echo_int8", "INT8", |c| c.int_contents = vec![-128, 127], vec![128, 127]),
        (
            "echo_int16",
            "INT16",
            |c| c.int_contents = vec![-32768, 32767],
            le(&[&i16::MIN.to_le_bytes(), &i16::MAX.to_le_bytes()]),
        ),
        (
            "echo_int32",
            "INT32",
            |c| c.int_contents = vec![i32::MIN, i32::MAX],
            le(&[&i32::MIN.to_le_bytes(), &i32::MAX.to_le_bytes()]),
        ),
        (
            "echo_int64",
            "INT64",
            |c| c.int64_contents = vec![i64::MIN, i64::MAX],
            le(&[&i64::MIN.to_le_bytes(), &i64::MAX.to_le_bytes()]),
        ),
        ("echo_uint8", "UINT8", |c| c.uint_contents = vec![0, 255], vec![0, 255]),
        ("echo_uint16", "UINT16", |c| c.uint_contents = vec![1, 65535], vec![1, 0, 255, 255]),
        (
            "echo_uint32",
            "UINT32",
            |c| c.uint_contents = vec![1, u32::MAX],
            le(&[&1_u32.to_le_bytes(), &u32::MAX.to_le_bytes()]),
        ),
        (
            "echo_uint64",
            "UINT64",
            |c| c.uint64_contents = vec![1, u64::MAX],
            le(&[&1_u64.to_le_bytes(), &u64::MAX.to_le_bytes()]),
        ),
        (
            "echo_fp32",
            "FP32",
            |c| c.fp32_contents = vec![f32::MIN_POSITIVE, f32::NEG_INFINITY],
            le(&[&f32::MIN_POSITIVE.to_le_bytes(), &f32::NEG_INFINITY.to_le_bytes()]),
        ),
        (
            "echo_fp64",
            "FP64",
            |c| c.fp64_contents = vec![f64::MAX, -0.0],
            le(&[&f64::MAX.to_le_bytes(), &(-0.0_f64).to_le_bytes()]),
        ),
        (
            "echo_bytes",
            "BYTES",
            |c| c.bytes_contents = vec!["".into(), "été".into()],
            strings(&["", "été"]),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typed_contents_of_every_type_that_has_them_mean_the_raw_bytes() {
    let cases = typed();
    let mut models: Vec<&str> = cases.iter().map(|(model, ..)| *model).collect();
    models.extend(["echo_fp16", "echo_bf16"]);
    let server = serve_models(&models).await;
    let mut client = server.client().await;
    for (model, datatype, fill, raw) in cases {
        let mut message = raw_request(model, &[("x", datatype, &[1, 2], &[])]);
        message.raw_input_contents.clear();
        let mut contents = InferTensorContents::default();
        fill(&mut contents);
        message.inputs[0].contents = Some(contents);
        let answer = client.model_infer(message).await.expect(model).into_inner();
        assert_eq!(answer.raw_output_contents[0], raw, "{model}");
    }
    for (model, datatype) in [("echo_fp16", "FP16"), ("echo_bf16", "BF16")] {
        let mut message = raw_request(model, &[("x", datatype, &[1, 2], &[])]);
        message.raw_input_contents.clear();
        let contents = InferTensorContents { fp32_contents: vec![1.0, 2.0], ..Default::default() };
        message.inputs[0].contents = Some(contents);
        let status = client.model_infer(message).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("raw_input_contents"), "{}", status.message());
    }
}

/// What is out of a type's range, or no element of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elements_that_do_not_fit_their_type_are_refused() {
    let server = serve_models(&["echo_int8", "echo_uint16", "echo_bool", "echo_bytes"]).await;
    let mut client = server.client().await;
    let typed: [(&str, &str, Fill, &str); 3] = [
        ("echo_int8", "INT8", |c| c.int_contents = vec![1, 128], "128 is not between -128 and 127"),
        ("echo_int8", "INT8", |c| c.int_contents = vec![-129, 1], "-129 is not between"),
        ("echo_uint16", "UINT16", |c| c.uint_contents = vec![1, 65536], "between 0 and 65535"),
    ];
    for (model, datatype, fill, words) in typed {
        let mut message = raw_request(model, &[("x", datatype, &[1, 2], &[])]);
        message.raw_input_contents.clear();
        let mut contents = InferTensorContents::default();
        fill(&mut contents);
        message.inputs[0].contents = Some(contents);
        let status = client.model_infer(message).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(words), "{}", status.message());
    }
    let raw: [(&str, &str, Vec<u8>, &str); 7] = [
        ("echo_bool", "BOOL", vec![1, 2], "a byte is 2"),
        ("echo_bytes", "BYTES", vec![1, 0, 0], "element 0 has no room"),
        ("echo_bytes", "BYTES", [strings(&["a"]), vec![9, 0, 0, 0, 1]].concat(), "says 9 bytes"),
        ("echo_bytes", "BYTES", vec![255; 8], "says 4294967295 bytes, 4 are left"),
        ("echo_bytes", "BYTES", strings(&["a"]), "2 elements, 1 came"),
        ("echo_bytes", "BYTES", strings(&[&b"a"[..], b"\xff\xfe"]), "element 1 is not UTF-8"),
        ("echo_bytes", "BYTES", strings(&[&b"a\0"[..], b""]), "element 0 has a zero byte"),
    ];
    for (model, datatype, bytes, words) in raw {
        let message = raw_request(model, &[("x", datatype, &[1, 2], &bytes)]);
        let status = client.model_infer(message).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{words}");
        assert!(status.message().contains(words), "{words}: {}", status.message());
    }
}

/// Rows of text of many lengths, in requests that are cut into batches and batched with others.
#[test]
fn text_is_cut_and_joined_by_rows() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(serve_models(&["echo_bytes"]));
    let client = runtime.block_on(server.client());
    let rows = prop::collection::vec(prop::collection::vec("[a-zé]{0,5}", 2), 1..70);
    let requests = prop::collection::vec(rows, 1..5);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(24));
    runner
        .run(&requests, |requests| {
            runtime.block_on(async {
                let mut calls = JoinSet::new();
                for rows in requests {
                    let mut client = client.clone();
                    calls.spawn(async move {
                        let elements: Vec<String> = rows.concat();
                        let shape = [rows.len() as i64, 2];
                        let bytes = strings(&elements);
                        let message = raw_request("echo_bytes", &[("x", "BYTES", &shape, &bytes)]);
                        let answer = client.model_infer(message).await.unwrap().into_inner();
                        assert_eq!(answer.outputs[0].shape, shape);
                        assert_eq!(unpacked(&answer.raw_output_contents[0]), elements);
                    });
                }
                calls.join_all().await;
            });
            Ok(())
        })
        .unwrap();
}
