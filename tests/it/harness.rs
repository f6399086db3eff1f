//! Starts the real application on free ports, and talks to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hilum::app::{Addresses, App, Listeners};
use hilum::config::Config;
use hilum::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use hilum::proto::inference::model_infer_request::InferInputTensor;
use hilum::proto::inference::{ModelInferRequest, ModelInferResponse};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use crate::http_client::post;

/// How long a test waits for a condition before it gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A configuration for tests: free ports, the bundled models, a short end.
pub fn config() -> Config {
    let mut config = Config::default();
    config.server.http_address = "127.0.0.1:0".parse().unwrap();
    config.server.grpc_address = "127.0.0.1:0".parse().unwrap();
    config.server.metrics_address = "127.0.0.1:0".parse().unwrap();
    config.server.drain_grace = Duration::from_millis(50);
    config.server.shutdown_timeout = Duration::from_secs(10);
    config.models.directory = root().join("models");
    // Records stay in the spool, where tests look, unless the test is about shipping.
    config.audit.shipper = hilum::audit::ShipBy::Sidecar;
    config
}

/// A running service, stopped in good order at the end of the test.
pub struct Server {
    pub http: std::net::SocketAddr,
    pub grpc: std::net::SocketAddr,
    pub metrics: std::net::SocketAddr,
    /// Where records are, unless the test named another place.
    pub spool: PathBuf,
    /// Removed with the server.
    _spool: Option<tempfile::TempDir>,
    signal: watch::Sender<u32>,
    runtime: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    /// Starts the service and returns when it listens; models may still be loading.
    pub fn start(mut config: Config) -> Self {
        let own = (config.audit.spool_dir == Config::default().audit.spool_dir)
            .then(|| tempfile::tempdir().unwrap());
        if let Some(own) = &own {
            config.audit.spool_dir = own.path().join("spool");
        }
        if config.registry.url == Config::default().registry.url {
            let file = config.audit.spool_dir.join("registry.db");
            config.registry.url = format!("sqlite:{}", file.display());
        }
        let spool = config.audit.spool_dir.clone();
        let (signal, receiver) = watch::channel(0_u32);
        let (addresses, bound) = std::sync::mpsc::channel();
        let runtime = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.unwrap().block_on(async move {
                let listeners = Listeners::bind(&config).await.unwrap();
                let app = App::build(&config, listeners).unwrap();
                addresses.send(app.addresses().unwrap()).unwrap();
                // Counted by calls: a signal may come before the first of them.
                let mut calls = 0;
                app.run_until(move || {
                    let mut receiver = receiver.clone();
                    let seen = calls;
                    calls += 1;
                    async move {
                        let _ = receiver.wait_for(|count| *count > seen).await;
                    }
                })
                .await;
            });
        });
        let Addresses { http, grpc, metrics } = bound.recv().expect("the service starts");
        Self { http, grpc, metrics, spool, _spool: own, signal, runtime: Some(runtime) }
    }

    /// Starts the service with the bundled models and waits until it is ready, and each version of
    /// `mnist`: those beside the champion do not hold readiness back.
    pub async fn ready() -> Self {
        let server = Self::start(config());
        server.wait_ready().await;
        until("each version of mnist is loaded", async || {
            let index = post(server.http, "/v2/repository/index", "").await.json();
            let mut digits = index.as_array().unwrap().iter().filter(|e| e["name"] == "mnist");
            digits.all(|entry| entry["state"] == "READY")
        })
        .await;
        server
    }

    /// Waits until `/readyz` says so.
    pub async fn wait_ready(&self) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let (status, body) = self.get("/readyz").await;
            if status == 200 {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "not ready: {body}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A new connection.
    pub async fn channel(&self) -> Channel {
        connect(self.grpc).await
    }

    /// A client of the Open Inference Protocol on a new connection.
    pub async fn client(&self) -> GrpcInferenceServiceClient<Channel> {
        let limit = 256 << 20;
        GrpcInferenceServiceClient::new(self.channel().await)
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit)
    }

    /// GET from the metrics port.
    pub async fn get(&self, path: &str) -> (u16, String) {
        get(self.metrics, path).await
    }

    /// One series of the metrics, 0 when it is not there.
    pub async fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let line = text
            .lines()
            .find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Twice: the second one cuts the grace short.
        self.signal.send_modify(|count| *count += 1);
        if let Some(runtime) = self.runtime.take() {
            let ended = runtime.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the service ended with a panic");
        }
    }
}

/// Waits for a condition.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub async fn connect(address: std::net::SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// A client without tonic's channel, which would act on `grpc-timeout` by itself.
pub async fn plain_client(
    address: std::net::SocketAddr,
) -> GrpcInferenceServiceClient<PlainService> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let origin = format!("http://{address}").parse().unwrap();
    GrpcInferenceServiceClient::with_origin(PlainService(sender), origin)
        .max_encoding_message_size(256 << 20)
}

/// One HTTP/2 connection as a service.
#[derive(Clone)]
pub struct PlainService(hyper::client::conn::http2::SendRequest<tonic::body::Body>);

impl tower::Service<http::Request<tonic::body::Body>> for PlainService {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = futures::future::BoxFuture<'static, Result<Self::Response, hyper::Error>>;

    fn poll_ready(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// A plain HTTP/1.1 GET.
pub async fn get(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    (status, if chunked { unchunked(body) } else { body.to_owned() })
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        body = rest.get(size + 2..).unwrap_or("");
        if size == 0 {
            break;
        }
    }
    whole
}

/// Rows of pixels that look like nothing in particular but differ from each other.
pub fn pixels(rows: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).max(1);
    (0..rows * 784)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 8) as f32 / (1 << 24) as f32
        })
        .collect()
}

pub fn bytes_of(elements: &[f32]) -> Vec<u8> {
    elements.iter().flat_map(|x| x.to_le_bytes()).collect()
}

pub fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect()
}

/// A good request of `rows` rows to `mnist`.
pub fn request(rows: usize, seed: u32) -> ModelInferRequest {
    request_of(&pixels(rows, seed))
}

/// A good request of these pixels to `mnist`.
pub fn request_of(pixels: &[f32]) -> ModelInferRequest {
    let rows = i64::try_from(pixels.len() / 784).unwrap();
    ModelInferRequest {
        model_name: "mnist".to_owned(),
        inputs: vec![InferInputTensor {
            name: "image".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![rows, 1, 28, 28],
            ..Default::default()
        }],
        raw_input_contents: vec![bytes_of(pixels).into()],
        ..Default::default()
    }
}

/// The scores of an answer, in rows of ten.
pub fn scores(response: &ModelInferResponse) -> Vec<Vec<f32>> {
    let all = floats(&response.raw_output_contents[0]);
    all.chunks(10).map(<[f32]>::to_vec).collect()
}

/// A copy of the bundled models that a test may break.
pub fn models_copy() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("models");
    copy(&root().join("models"), &models);
    (folder, models)
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Writes `SHA256SUMS` anew, so that only what a test broke is broken.
pub fn seal(bundle: &Path) {
    let mut names: Vec<String> = std::fs::read_dir(bundle)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "SHA256SUMS")
        .collect();
    names.sort();
    let line = |name: &String| {
        let digest = hilum::domain::Digest::of(&std::fs::read(bundle.join(name)).unwrap());
        format!("{digest}  {name}\n")
    };
    std::fs::write(bundle.join("SHA256SUMS"), names.iter().map(line).collect::<String>()).unwrap();
}

/// A configuration that serves these of the small models under `tests/models`.
pub fn with_models(models: &[&str]) -> Config {
    let mut config = config();
    config.models.directory = root().join("tests/models");
    config.models.control = hilum::catalog::ModelControl::Explicit;
    config.models.load = models.iter().map(|name| (*name).to_owned()).collect();
    config
}

/// A service with these of the small models, ready.
pub async fn serve_models(models: &[&str]) -> Server {
    let server = Server::start(with_models(models));
    server.wait_ready().await;
    server
}

/// A request with raw contents: name, data type, shape and bytes of each input.
pub fn raw_request(model: &str, inputs: &[(&str, &str, &[i64], &[u8])]) -> ModelInferRequest {
    let tensor = |(name, datatype, shape, _): &(&str, &str, &[i64], &[u8])| InferInputTensor {
        name: (*name).to_owned(),
        datatype: (*datatype).to_owned(),
        shape: shape.to_vec(),
        ..Default::default()
    };
    ModelInferRequest {
        model_name: model.to_owned(),
        inputs: inputs.iter().map(tensor).collect(),
        raw_input_contents: inputs.iter().map(|(.., bytes)| bytes.to_vec().into()).collect(),
        ..Default::default()
    }
}

/// A parameter of a request or a tensor.
pub fn int(value: i64) -> hilum::proto::inference::InferParameter {
    use hilum::proto::inference::infer_parameter::ParameterChoice;
    hilum::proto::inference::InferParameter {
        parameter_choice: Some(ParameterChoice::Int64Param(value)),
    }
}

/// A parameter of a request or a tensor.
pub fn text(value: &str) -> hilum::proto::inference::InferParameter {
    use hilum::proto::inference::infer_parameter::ParameterChoice;
    hilum::proto::inference::InferParameter {
        parameter_choice: Some(ParameterChoice::StringParam(value.to_owned())),
    }
}

/// Elements of BYTES in the protocol's form.
pub fn strings<E: AsRef<[u8]>>(elements: &[E]) -> Vec<u8> {
    let element = |element: &E| {
        let element = element.as_ref();
        [&(element.len() as u32).to_le_bytes(), element].concat()
    };
    elements.iter().flat_map(element).collect()
}

/// The elements of an answer's BYTES.
pub fn unpacked(mut rest: &[u8]) -> Vec<String> {
    let mut elements = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (element, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        elements.push(String::from_utf8(element.to_vec()).unwrap());
        rest = after;
    }
    assert!(rest.is_empty());
    elements
}
