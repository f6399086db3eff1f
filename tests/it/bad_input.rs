//! Malformed requests: each gets a status and a text that says what came and what was expected, and
//! the next request is answered as if nothing had happened.

use std::time::Duration;

use hilum::proto::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use hilum::proto::inference::*;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{Server, bytes_of, config, pixels, request, scores};

pub type Change = fn(&mut ModelInferRequest);

/// What is done to a good request, the status, and words of its text.
pub const CASES: &[(&str, Change, Code, &[&str])] = &[
    (
        "unknown model",
        |r| r.model_name = "cats".to_owned(),
        Code::NotFound,
        &["unknown model 'cats'", "'mnist'"],
    ),
    (
        "unknown version",
        |r| r.model_version = "7".to_owned(),
        Code::NotFound,
        &["no version 7", "'1', '2'"],
    ),
    (
        "no version at all",
        |r| r.model_version = "newest".to_owned(),
        Code::InvalidArgument,
        &["'newest' is not a version", "champion"],
    ),
    (
        "a name that leaves the folder",
        |r| r.model_name = "../mnist".to_owned(),
        Code::InvalidArgument,
        &["'../mnist' is not a model name", "A-Z a-z 0-9"],
    ),
    ("an empty name", |r| r.model_name.clear(), Code::InvalidArgument, &["'' is not a model name"]),
    (
        "unknown input",
        |r| r.inputs[0].name = "picture".to_owned(),
        Code::InvalidArgument,
        &["unknown input 'picture'", "'image' FP32 [-1, 1, 28, 28]"],
    ),
    (
        "no input",
        |r| {
            r.inputs.clear();
            r.raw_input_contents.clear();
        },
        Code::InvalidArgument,
        &["input 'image' is missing"],
    ),
    (
        "an input twice",
        |r| {
            r.inputs.push(r.inputs[0].clone());
            r.raw_input_contents.push(r.raw_input_contents[0].clone());
        },
        Code::InvalidArgument,
        &["'image' came twice"],
    ),
    (
        "unknown output",
        |r| {
            let name = "logits".to_owned();
            r.outputs.push(InferRequestedOutputTensor { name, ..Default::default() });
        },
        Code::InvalidArgument,
        &["unknown output 'logits'", "'probabilities' FP32 [-1, 10]"],
    ),
    (
        "wrong data type",
        |r| {
            r.inputs[0].datatype = "FP64".to_owned();
            r.raw_input_contents[0] = vec![0; 2 * 784 * 8].into();
        },
        Code::InvalidArgument,
        &["'image' is FP32", "FP64 came"],
    ),
    (
        "a data type that does not exist",
        |r| r.inputs[0].datatype = "FP8".to_owned(),
        Code::InvalidArgument,
        &["'FP8' is not a data type", "FP32"],
    ),
    (
        "wrong shape",
        |r| r.inputs[0].shape = vec![2, 28, 28, 1],
        Code::InvalidArgument,
        &["[-1, 1, 28, 28]", "[2, 28, 28, 1] came"],
    ),
    (
        "wrong rank",
        |r| r.inputs[0].shape = vec![2, 784],
        Code::InvalidArgument,
        &["[-1, 1, 28, 28]", "[2, 784] came"],
    ),
    (
        "too few bytes",
        |r| r.raw_input_contents[0] = r.raw_input_contents[0].slice(..100),
        Code::InvalidArgument,
        &["FP32 [2, 1, 28, 28] takes 6272 bytes, 100 came"],
    ),
    (
        "zero rows",
        |r| {
            r.inputs[0].shape[0] = 0;
            r.raw_input_contents[0] = Default::default();
        },
        Code::InvalidArgument,
        &["[0, 1, 28, 28], which holds nothing", "at least one row"],
    ),
    (
        "a negative dimension",
        |r| r.inputs[0].shape[0] = -2,
        Code::InvalidArgument,
        &["[-2, 1, 28, 28] has a negative dimension"],
    ),
    (
        "overflowing dimensions",
        |r| r.inputs[0].shape = vec![i64::MAX, i64::MAX, 28, 28],
        Code::InvalidArgument,
        &["more elements than can be addressed"],
    ),
    (
        "a huge tensor without bytes",
        |r| r.inputs[0].shape[0] = 1 << 40,
        Code::InvalidArgument,
        &["takes", "6272 came"],
    ),
    (
        "raw and typed contents mixed",
        |r| {
            let fp32_contents = pixels(2, 1);
            r.inputs[0].contents =
                Some(InferTensorContents { fp32_contents, ..Default::default() });
        },
        Code::InvalidArgument,
        &["typed contents", "raw_input_contents", "one way or the other"],
    ),
    (
        "typed contents of another type",
        |r| {
            r.raw_input_contents.clear();
            let fp64_contents = vec![0.0; 2 * 784];
            r.inputs[0].contents =
                Some(InferTensorContents { fp64_contents, ..Default::default() });
        },
        Code::InvalidArgument,
        &["FP32 comes in fp32_contents", "fp64_contents is filled"],
    ),
    (
        "too few typed elements",
        |r| {
            r.raw_input_contents.clear();
            let fp32_contents = vec![0.0; 9];
            r.inputs[0].contents =
                Some(InferTensorContents { fp32_contents, ..Default::default() });
        },
        Code::InvalidArgument,
        &["1568 elements", "fp32_contents has 9"],
    ),
    (
        "no contents",
        |r| r.raw_input_contents.clear(),
        Code::InvalidArgument,
        &["came without contents"],
    ),
    (
        "raw contents for no input",
        |r| r.raw_input_contents.push(Default::default()),
        Code::InvalidArgument,
        &["2 entries for 1 inputs"],
    ),
    (
        "more rows than may wait",
        |r| {
            r.inputs[0].shape[0] = 5000;
            r.raw_input_contents[0] = vec![0; 5000 * 784 * 4].into();
        },
        Code::ResourceExhausted,
        &["5000 rows", "at most 4096 rows", "in parts"],
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_malformed_request_is_told_what_is_wrong_and_harms_nobody() {
    let server = Server::ready().await;
    let mut client = server.client().await;
    let good = client.model_infer(request(2, 1)).await.unwrap().into_inner();
    for (case, change, code, words) in CASES {
        let mut message = request(2, 1);
        change(&mut message);
        let status = client.model_infer(message).await.expect_err(case);
        assert_eq!(status.code(), *code, "{case}: {status}");
        for word in *words {
            assert!(status.message().contains(word), "{case}: {}", status.message());
        }
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().domain, "hilum", "{case}");
        let again = client.model_infer(request(2, 1)).await.unwrap().into_inner();
        assert_eq!(scores(&again), scores(&good), "after: {case}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_over_the_limit_is_told_the_limit() {
    let mut config = config();
    config.limits.max_message_bytes = (1 << 20).try_into().unwrap();
    let server = Server::start(config);
    server.wait_ready().await;
    let mut client = server.client().await;
    let mut message = request(2, 1);
    message.inputs[0].shape[0] = 1000;
    message.raw_input_contents[0] = bytes_of(&pixels(1000, 1)).into();
    let status = client.model_infer(message).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("1048576"), "{}", status.message());
    client.model_infer(request(2, 1)).await.unwrap();
    let refused =
        r#"hilum_requests_total{protocol="grpc",model="_none",version="_none",code="TOO_LARGE"}"#;
    assert_eq!(server.metric(refused).await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_message_are_invalid() {
    let server = Server::ready().await;
    let mut grpc = tonic::client::Grpc::new(server.channel().await);
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/inference.GRPCInferenceService/ModelInfer");
    // A `TensorMetadata` in the place of a request: field 3 is a packed list, not an id.
    let nonsense = model_metadata_response::TensorMetadata {
        name: "mnist".to_owned(),
        datatype: "FP32".to_owned(),
        shape: vec![200, 300, -1],
    };
    let codec = tonic_prost::ProstCodec::<_, ModelInferResponse>::default();
    let status: Status = grpc.unary(tonic::Request::new(nonsense), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("not a valid protobuf message"), "{}", status.message());
    server.client().await.model_infer(request(1, 1)).await.unwrap();
}

/// Every call that takes a message, given bytes that are none: field 1 says that it has more bytes
/// than there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_reads_what_is_no_message() {
    let server = Server::ready().await;
    let service = hilum::proto::inference::grpc_inference_service_server::SERVICE_NAME;
    let nonsense = bytes::Bytes::from_static(b"\x0a\xff\x01short");
    for call in [
        "ModelReady",
        "ModelMetadata",
        "ModelInfer",
        "ModelStreamInfer",
        "ModelConfig",
        "ModelStatistics",
        "RepositoryIndex",
        "RepositoryModelLoad",
        "RepositoryModelUnload",
        "SystemSharedMemoryStatus",
        "SystemSharedMemoryRegister",
        "SystemSharedMemoryUnregister",
        "CudaSharedMemoryStatus",
        "CudaSharedMemoryRegister",
        "CudaSharedMemoryUnregister",
        "TraceSetting",
        "LogSettings",
    ] {
        let mut grpc = tonic::client::Grpc::new(server.channel().await);
        grpc.ready().await.unwrap();
        let path = format!("/{service}/{call}").parse().unwrap();
        let request = tonic::Request::new(tokio_stream::iter([nonsense.clone()]));
        let answer = grpc.streaming(request, path, RawCodec).await;
        let status = match answer {
            Err(status) => status,
            Ok(stream) => stream.into_inner().message().await.expect_err(call),
        };
        assert_eq!(status.code(), Code::InvalidArgument, "{call}: {status}");
        assert!(status.message().contains("not a valid protobuf message"), "{call}: {status}");
    }
    server.client().await.model_infer(request(1, 1)).await.unwrap();
}

/// Bytes as they are.
struct RawCodec;

impl tonic::codec::Codec for RawCodec {
    type Encode = bytes::Bytes;
    type Decode = bytes::Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl tonic::codec::Encoder for RawCodec {
    type Item = bytes::Bytes;
    type Error = Status;

    fn encode(
        &mut self,
        item: bytes::Bytes,
        buffer: &mut tonic::codec::EncodeBuf<'_>,
    ) -> Result<(), Status> {
        bytes::BufMut::put(buffer, item);
        Ok(())
    }
}

impl tonic::codec::Decoder for RawCodec {
    type Item = bytes::Bytes;
    type Error = Status;

    fn decode(
        &mut self,
        buffer: &mut tonic::codec::DecodeBuf<'_>,
    ) -> Result<Option<bytes::Bytes>, Status> {
        use bytes::Buf as _;
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_and_readiness_of_unknown_models_are_not_found() {
    let server = Server::ready().await;
    let mut client = server.client().await;
    let metadata = ModelMetadataRequest { name: "cats".to_owned(), version: String::new() };
    assert_eq!(client.model_metadata(metadata).await.unwrap_err().code(), Code::NotFound);
    let ready = ModelReadyRequest { name: "mnist".to_owned(), version: "9".to_owned() };
    assert_eq!(client.model_ready(ready).await.unwrap_err().code(), Code::NotFound);
    let ready = ModelReadyRequest { name: "a/b".to_owned(), version: String::new() };
    assert_eq!(client.model_ready(ready).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_not_served_say_so() {
    let server = Server::ready().await;
    let mut client = server.client().await;
    let register = CudaSharedMemoryRegisterRequest {
        name: "r".to_owned(),
        raw_handle: vec![0; 64].into(),
        device_id: 0,
        byte_size: 4,
    };
    let status = client.cuda_shared_memory_register(register).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("CUDA shared memory is not served"), "{}", status.message());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_that_passes_and_a_client_that_leaves_harm_nobody() {
    let server = Server::ready().await;
    let mut client = server.client().await;
    // 4,000 rows take longer than a millisecond.
    let big = || {
        let mut message = request(1, 1);
        message.inputs =
            vec![InferInputTensor { shape: vec![4000, 1, 28, 28], ..message.inputs[0].clone() }];
        message.raw_input_contents = vec![vec![0; 4000 * 784 * 4].into()];
        message
    };
    let mut plain = crate::harness::plain_client(server.grpc).await;
    let mut late = tonic::Request::new(big());
    late.metadata_mut().insert("grpc-timeout", "1m".parse().unwrap());
    let status = plain.model_infer(late).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(status.message().contains("deadline"), "{}", status.message());
    let mut wrong = tonic::Request::new(request(1, 1));
    wrong.metadata_mut().insert("grpc-timeout", "soon".parse().unwrap());
    let status = plain.model_infer(wrong).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("grpc-timeout 'soon'"), "{}", status.message());
    let leaving = {
        let mut client = client.clone();
        tokio::spawn(async move { client.model_infer(big()).await })
    };
    tokio::time::sleep(Duration::from_millis(5)).await;
    leaving.abort();
    assert!(leaving.await.unwrap_err().is_cancelled());
    client.model_infer(request(2, 1)).await.unwrap();
    // What nobody waits for leaves the queue.
    let labels = r#"{model="mnist",version="2"}"#;
    let depth = format!("hilum_queue_depth{labels}");
    let deadline = tokio::time::Instant::now() + crate::harness::PATIENCE;
    while server.metric(&depth).await > 0.0 {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
