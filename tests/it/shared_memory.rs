//! Tensors through POSIX shared memory, as Triton's clients pass them.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use hilum::config::SharedMemoryPolicy;
use hilum::proto::inference::infer_parameter::ParameterChoice;
use hilum::proto::inference::model_infer_request::InferRequestedOutputTensor;
use hilum::proto::inference::*;
use tonic::Code;

use crate::harness::{Server, bytes_of, config, floats, int, pixels, request, scores, text};

/// An object in `/dev/shm`, gone at the end.
pub struct Object {
    pub key: String,
    pub file: File,
}

impl Object {
    /// One of so many zeros.
    pub fn new(bytes: u64) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let key = format!("hilum-test-{}-{number}", std::process::id());
        let file = File::options().read(true).write(true).create_new(true).open(path(&key));
        let file = file.unwrap();
        file.set_len(bytes).unwrap();
        Self { key, file }
    }

    /// A part of it.
    pub fn read(&self, at: u64, bytes: usize) -> Vec<u8> {
        let mut found = vec![0; bytes];
        self.file.read_exact_at(&mut found, at).unwrap();
        found
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(path(&self.key));
    }
}

fn path(key: &str) -> PathBuf {
    PathBuf::from("/dev/shm").join(key)
}

fn register(
    name: &str,
    key: &str,
    offset: u64,
    byte_size: u64,
) -> SystemSharedMemoryRegisterRequest {
    SystemSharedMemoryRegisterRequest {
        name: name.to_owned(),
        key: key.to_owned(),
        offset,
        byte_size,
    }
}

fn place(
    parameters: &mut std::collections::HashMap<String, InferParameter>,
    region: &str,
    offset: i64,
    bytes: usize,
) {
    parameters.insert("shared_memory_region".to_owned(), text(region));
    parameters.insert("shared_memory_byte_size".to_owned(), int(bytes as i64));
    parameters.insert("shared_memory_offset".to_owned(), int(offset));
}

const ROWS: usize = 3;
const IN: usize = ROWS * 784 * 4;
const OUT: usize = ROWS * 10 * 4;

/// A request whose input and output lie in these regions.
fn through(input: &str, output: &str, offset: i64) -> ModelInferRequest {
    let mut message = request(ROWS, 1);
    message.raw_input_contents.clear();
    place(&mut message.inputs[0].parameters, input, offset, IN);
    let name = "probabilities".to_owned();
    let mut wanted = InferRequestedOutputTensor { name, ..Default::default() };
    place(&mut wanted.parameters, output, 0, OUT);
    message.outputs = vec![wanted];
    message
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tensors_pass_through_regions_and_nothing_else_is_touched() {
    let server = Server::ready().await;
    let mut client = server.client().await;
    let metadata = client.server_metadata(ServerMetadataRequest {}).await.unwrap().into_inner();
    assert!(metadata.extensions.contains(&"system_shared_memory".to_owned()));
    let object = Object::new(20_000);
    object.file.write_all_at(&[9; 20_000], 0).unwrap();
    object.file.write_all_at(&bytes_of(&pixels(ROWS, 1)), 110).unwrap();
    let key = format!("/{}", object.key);
    client.system_shared_memory_register(register("in", &key, 100, 15_000)).await.unwrap();
    client.system_shared_memory_register(register("out", &key, 16_000, 4000)).await.unwrap();
    let all = SystemSharedMemoryStatusRequest::default();
    let regions = client.system_shared_memory_status(all).await.unwrap().into_inner().regions;
    let told = &regions["in"];
    assert_eq!((regions.len(), &*told.key, told.offset, told.byte_size), (2, &*key, 100, 15_000));

    let expected = client.model_infer(request(ROWS, 1)).await.unwrap().into_inner();
    let answer = client.model_infer(through("in", "out", 10)).await.unwrap().into_inner();
    let told = &answer.outputs[0];
    assert_eq!((&*told.name, &*told.shape), ("probabilities", &[ROWS as i64, 10][..]));
    let choice = |key: &str| told.parameters[key].parameter_choice.clone().unwrap();
    assert_eq!(choice("shared_memory_region"), ParameterChoice::StringParam("out".to_owned()));
    assert_eq!(choice("shared_memory_byte_size"), ParameterChoice::Int64Param(OUT as i64));
    assert_eq!(answer.raw_output_contents, [Vec::<u8>::new()]);
    let written = floats(&object.read(16_000, OUT));
    assert_eq!(written.chunks(10).map(<[f32]>::to_vec).collect::<Vec<_>>(), scores(&expected));
    assert_eq!(object.read(15_000, 1000), [9; 1000]);
    assert_eq!(object.read(16_000 + OUT as u64, 100), [9; 100]);
    assert_eq!(object.read(100, 10), [9; 10]);

    let unregister = |name: &str| SystemSharedMemoryUnregisterRequest { name: name.to_owned() };
    client.system_shared_memory_unregister(unregister("in")).await.unwrap();
    let status = client.model_infer(through("in", "out", 10)).await.unwrap_err();
    assert!(status.message().contains("no shared memory region 'in'"), "{}", status.message());
    client.system_shared_memory_unregister(unregister("never there")).await.unwrap();
    client.system_shared_memory_unregister(unregister("")).await.unwrap();
    let all = SystemSharedMemoryStatusRequest::default();
    assert!(client.system_shared_memory_status(all).await.unwrap().into_inner().regions.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regions_that_cannot_be_are_refused() {
    let server = Server::ready().await;
    let mut client = server.client().await;
    let object = Object::new(100);
    let key = object.key.clone();
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), [0; 100]).unwrap();
    let link = format!("{key}-link");
    std::os::unix::fs::symlink(outside.path(), path(&link)).unwrap();
    let pipe = format!("{key}-pipe");
    let made = std::process::Command::new("mkfifo").arg(path(&pipe)).status().unwrap();
    assert!(made.success());
    let cases: [(&str, &str, u64, u64, &[&str]); 15] = [
        ("", &key, 0, 1, &["'' is not a region's name"]),
        ("a/b", &key, 0, 1, &["'a/b' is not a region's name"]),
        ("r", "", 0, 1, &["'' is not a shared memory key"]),
        ("r", "/", 0, 1, &["'/' is not a shared memory key"]),
        ("r", "..", 0, 1, &["'..' is not a shared memory key"]),
        ("r", "/../etc/passwd", 0, 1, &["'/../etc/passwd' is not"]),
        ("r", "/dev/shm/x", 0, 1, &["'/dev/shm/x' is not"]),
        ("r", "never-there", 0, 1, &["'never-there' cannot be opened"]),
        ("r", &link, 0, 1, &["cannot be opened"]),
        ("r", &pipe, 0, 1, &["is not a shared memory object"]),
        ("r", &key, 0, 0, &["0 bytes holds nothing"]),
        ("r", &key, 0, 101, &["bytes 0 to 101", "which has 100"]),
        ("r", &key, 100, 1, &["bytes 100 to 101"]),
        ("r", &key, u64::MAX, 1, &["which has 100"]),
        ("r", &key, 1, u64::MAX, &["which has 100"]),
    ];
    for (name, key, offset, byte_size, words) in cases {
        let status = client
            .system_shared_memory_register(register(name, key, offset, byte_size))
            .await
            .expect_err(key);
        assert_eq!(status.code(), Code::InvalidArgument, "{key}: {status}");
        for word in words {
            assert!(status.message().contains(word), "{key}: {}", status.message());
        }
    }
    std::fs::remove_file(path(&link)).unwrap();
    std::fs::remove_file(path(&pipe)).unwrap();
    client.system_shared_memory_register(register("r", &key, 0, 100)).await.unwrap();
    let again = client.system_shared_memory_register(register("r", &key, 0, 1)).await.unwrap_err();
    assert!(again.message().contains("'r' is registered already"), "{}", again.message());
    let unknown = SystemSharedMemoryStatusRequest { name: "s".to_owned() };
    let status = client.system_shared_memory_status(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    for number in 1..256 {
        client
            .system_shared_memory_register(register(&format!("r{number}"), &key, 0, 1))
            .await
            .unwrap();
    }
    let full = client.system_shared_memory_register(register("s", &key, 0, 1)).await.unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted, "{full}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_that_do_not_fit_are_refused_and_the_object_stays_as_it_is() {
    let server = Server::ready().await;
    let mut client = server.client().await;
    let object = Object::new(IN as u64);
    let small = Object::new(OUT as u64);
    client.system_shared_memory_register(register("in", &object.key, 0, IN as u64)).await.unwrap();
    client.system_shared_memory_register(register("out", &small.key, 0, OUT as u64)).await.unwrap();
    client.model_infer(through("in", "out", 0)).await.unwrap();
    type Change = fn(&mut ModelInferRequest);
    let cases: [(&str, Change, &str); 7] = [
        ("beyond the region", |r| place(&mut r.inputs[0].parameters, "in", 1, IN), "reach beyond"),
        ("fewer bytes", |r| place(&mut r.inputs[0].parameters, "in", 0, IN - 4), "bytes"),
        ("no such region", |r| place(&mut r.inputs[0].parameters, "x", 0, IN), "no shared memory"),
        ("a small output", |r| place(&mut r.outputs[0].parameters, "out", 0, 8), "takes 120 bytes"),
        ("output beyond", |r| place(&mut r.outputs[0].parameters, "out", 8, OUT), "reach beyond"),
        (
            "contents as well",
            |r| r.raw_input_contents = vec![vec![0; IN].into()],
            "2 entries for 1 inputs",
        ),
        (
            "typed contents as well",
            |r| {
                let fp32_contents = vec![0.0; IN / 4];
                let contents = InferTensorContents { fp32_contents, ..Default::default() };
                r.inputs[0].contents = Some(contents);
            },
            "one way or the other",
        ),
    ];
    for (case, change, words) in cases {
        let mut message = through("in", "out", 0);
        change(&mut message);
        let status = client.model_infer(message).await.expect_err(case);
        assert_eq!(status.code(), Code::InvalidArgument, "{case}: {status}");
        assert!(status.message().contains(words), "{case}: {}", status.message());
    }
    object.file.set_len(10).unwrap();
    small.file.set_len(10).unwrap();
    let status = client.model_infer(through("in", "out", 0)).await.unwrap_err();
    assert!(status.message().contains("which has 10"), "{}", status.message());
    assert_eq!(small.file.metadata().unwrap().len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_it_is_off_nothing_is_registered_and_it_is_not_announced() {
    let mut config = config();
    config.server.system_shared_memory = SharedMemoryPolicy::Off;
    let server = Server::start(config);
    let mut client = server.client().await;
    let metadata = client.server_metadata(ServerMetadataRequest {}).await.unwrap().into_inner();
    assert!(!metadata.extensions.contains(&"system_shared_memory".to_owned()));
    let object = Object::new(10);
    let status =
        client.system_shared_memory_register(register("r", &object.key, 0, 1)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("server.system_shared_memory"), "{}", status.message());
}

/// CUDA's calls: nothing there, nothing to be had, and the tidying up of clients succeeds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cuda_regions_are_declined_and_unregistered() {
    let server = Server::ready().await;
    let mut client = server.client().await;
    let status = CudaSharedMemoryStatusRequest::default();
    assert!(
        client.cuda_shared_memory_status(status).await.unwrap().into_inner().regions.is_empty()
    );
    for name in ["", "r"] {
        let unregister = CudaSharedMemoryUnregisterRequest { name: name.to_owned() };
        client.cuda_shared_memory_unregister(unregister).await.unwrap();
    }
    let named = CudaSharedMemoryStatusRequest { name: "r".to_owned() };
    assert_eq!(client.cuda_shared_memory_status(named).await.unwrap_err().code(), Code::NotFound);
}
