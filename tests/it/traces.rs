//! Traces in a real OTLP receiver: whole, linked, bounded, and without a caller's words.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hilum::config::Config;
use hilum::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};

use crate::harness::{Server, config, connect, get, request, root, until};

/// A collector that keeps what it gets.
#[derive(Clone, Default)]
pub struct Receiver(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Receiver {
    pub async fn start() -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let receiver = Self::default();
        let service = TraceServiceServer::new(receiver.clone());
        let serving = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(serving.serve_with_incoming(TcpIncoming::from(listener)));
        (receiver, address)
    }

    pub fn spans(&self) -> Vec<Span> {
        let requests = self.0.lock().unwrap();
        let scopes = requests.iter().flat_map(|r| &r.resource_spans).flat_map(|r| &r.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    fn resource(&self) -> HashMap<String, String> {
        let requests = self.0.lock().unwrap();
        let resource = requests[0].resource_spans[0].resource.as_ref().unwrap();
        resource.attributes.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
    }
}

fn text(pair: &KeyValue) -> String {
    match pair.value.as_ref().unwrap().value.as_ref().unwrap() {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{}: {other:?}", pair.key),
    }
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    span.attributes.iter().find(|pair| pair.key == key).map(text)
}

fn children<'a>(spans: &'a [Span], parent: &Span) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.parent_span_id == parent.span_id).collect()
}

fn traced(collector: SocketAddr) -> Config {
    let mut config = config();
    config.telemetry.otlp_endpoint = format!("http://{collector}");
    config.telemetry.trace_interval = Duration::from_millis(20);
    config
}

async fn ready(config: Config) -> Server {
    let server = Server::start(config);
    server.wait_ready().await;
    server
}

/// The end of a service, which sends what waits.
async fn end(server: Server) -> Duration {
    let begun = Instant::now();
    tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_requests_that_share_a_batch_arrive_whole_and_linked() {
    let (receiver, collector) = Receiver::start().await;
    let mut config = traced(collector);
    config.telemetry.trace_queue = 1_000_000.try_into().unwrap();
    config.engine.instances = 1;
    let server = ready(config).await;
    let client = server.client().await;
    let shared = |span: &Span| span.name == "batch" && span.links.len() >= 2;
    until("a shared batch", async || {
        let mut calls = JoinSet::new();
        for seed in 0..32 {
            let mut client = client.clone();
            calls.spawn(async move { client.model_infer(request(2, seed)).await.unwrap() });
        }
        calls.join_all().await;
        receiver.spans().iter().any(shared)
    })
    .await;
    assert_eq!(server.metric(r#"hilum_trace_spans_dropped_total{reason="queue_full"}"#).await, 0.0);
    end(server).await;

    let spans = receiver.spans();
    let batch = spans.iter().find(|span| shared(span)).unwrap();
    let count = batch.links.len();
    assert_eq!(attribute(batch, "hilum.batch.requests").unwrap(), count.to_string());
    assert_eq!(attribute(batch, "hilum.rows").unwrap(), (2 * count).to_string());
    assert!(batch.parent_span_id.is_empty());
    for link in &batch.links {
        let server = spans.iter().find(|span| span.span_id == link.span_id).unwrap();
        assert_eq!(server.trace_id, link.trace_id);
        assert_eq!(server.name, "inference.GRPCInferenceService/ModelInfer");
        for (key, value) in [
            ("rpc.system", "grpc"),
            ("rpc.service", "inference.GRPCInferenceService"),
            ("rpc.method", "ModelInfer"),
            ("rpc.grpc.status_code", "0"),
            ("hilum.model", "mnist"),
            ("hilum.version", "2"),
            ("hilum.rows", "2"),
        ] {
            assert_eq!(attribute(server, key).as_deref(), Some(value), "{key}");
        }
        let steps = children(&spans, server);
        let mut names: Vec<&str> = steps.iter().map(|span| span.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["admit", "decode", "encode", "infer", "queue"]);
        for step in &steps {
            assert_eq!(step.trace_id, server.trace_id, "{}", step.name);
            assert!(step.start_time_unix_nano <= step.end_time_unix_nano, "{}", step.name);
            assert!(server.start_time_unix_nano <= step.start_time_unix_nano, "{}", step.name);
        }
        let infer = steps.iter().find(|span| span.name == "infer").unwrap();
        assert_eq!(infer.links.len(), 1);
        let linked = (&infer.links[0].trace_id, &infer.links[0].span_id);
        assert_eq!(linked, (&batch.trace_id, &batch.span_id));
        let queue = steps.iter().find(|span| span.name == "queue").unwrap();
        assert!(queue.end_time_unix_nano <= infer.start_time_unix_nano + 1_000);
    }
    assert_eq!(receiver.resource()["service.name"], "hilum");
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn below(flags: &str) -> Request<hilum::proto::inference::ModelInferRequest> {
    let mut request = Request::new(request(1, 1));
    let parent = format!("00-{TRACE}-{CALLER}-{flags}");
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    request.metadata_mut().insert("tracestate", "hospital=1".parse().unwrap());
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_callers_trace_goes_on_and_its_decision_holds() {
    let (receiver, collector) = Receiver::start().await;
    let mut config = traced(collector);
    config.telemetry.trace_ratio = 0.0;
    let server = ready(config).await;
    let mut client = server.client().await;
    // Nothing of these three is kept: no parent and ratio 0, a parent that is not kept, a probe.
    client.model_infer(request(1, 1)).await.unwrap();
    let answer = client.model_infer(below("00")).await.unwrap();
    let out = answer.metadata().get("traceparent").unwrap().to_str().unwrap();
    assert!(out.starts_with(&format!("00-{TRACE}-")) && out.ends_with("-00"), "{out}");
    // This one is.
    let answer = client.model_infer(below("01")).await.unwrap();
    let out = answer.metadata().get("traceparent").unwrap().to_str().unwrap().to_owned();
    assert!(out.starts_with(&format!("00-{TRACE}-")) && out.ends_with("-01"), "{out}");
    assert_eq!(answer.metadata().get("tracestate").unwrap(), "hospital=1");
    end(server).await;
    let spans = receiver.spans();
    let servers: Vec<&Span> = spans.iter().filter(|span| span.kind == 2).collect();
    assert_eq!(servers.len(), 1, "{spans:#?}");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(
        (hex(&servers[0].trace_id), hex(&servers[0].parent_span_id)),
        (TRACE.to_owned(), CALLER.to_owned())
    );
    assert_eq!(out.split('-').nth(2).unwrap(), hex(&servers[0].span_id));
    assert_eq!(spans.len(), 7, "server, its five steps and the batch: {spans:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_collector_the_callers_trace_is_handed_back() {
    let server = ready(config()).await;
    let mut client = server.client().await;
    let answer = client.model_infer(below("01")).await.unwrap();
    let out = answer.metadata().get("traceparent").unwrap();
    assert_eq!(out, &format!("00-{TRACE}-{CALLER}-01"));
    let answer = client.model_infer(request(1, 1)).await.unwrap();
    assert!(answer.metadata().get("traceparent").is_none());
    let refused = client.model_infer(hilum::proto::inference::ModelInferRequest::default()).await;
    assert!(refused.unwrap_err().metadata().get("x-request-id").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_or_silent_collector_costs_spans_and_nothing_else() {
    let absent = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    // Accepts, by the kernel's backlog, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cases = [(absent, "export_failed"), (silent.local_addr().unwrap(), "queue_full")];
    for (collector, reason) in cases {
        let mut config = traced(collector);
        config.telemetry.trace_queue = 16.try_into().unwrap();
        config.telemetry.trace_batch = 8.try_into().unwrap();
        config.telemetry.otlp_timeout = Duration::from_secs(1);
        let bound = config.server.shutdown_timeout;
        let server = ready(config).await;
        let mut client = server.client().await;
        let dropped = format!("hilum_trace_spans_dropped_total{{reason=\"{reason}\"}}");
        until(reason, async || {
            client.model_infer(request(1, 1)).await.unwrap();
            server.metric(&dropped).await > 0.0
        })
        .await;
        assert_eq!(server.metric("hilum_trace_spans_exported_total").await, 0.0);
        assert!(end(server).await < bound, "{reason}: the end took longer than its bound");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_word_of_a_caller_is_in_any_span() {
    const WORD: &str = "roentgen";
    const NAMES: [&str; 14] = [
        "decode",
        "admit",
        "queue",
        "infer",
        "encode",
        "batch",
        "grpc",
        "inference.GRPCInferenceService/ModelInfer",
        "rpc.system",
        "rpc.service",
        "rpc.method",
        "rpc.grpc.status_code",
        "hilum.model",
        "hilum.version",
    ];
    let (receiver, collector) = Receiver::start().await;
    let server = ready(traced(collector)).await;
    let mut client = server.client().await;
    let mut good = request(1, 1);
    good.id = format!("{WORD} id");
    let mut named = Request::new(good.clone());
    named.metadata_mut().insert("x-request-id", format!("{WORD}-1").parse().unwrap());
    client.model_infer(named).await.unwrap();
    let mut unknown = good.clone();
    unknown.model_name = WORD.to_owned();
    assert_eq!(client.model_infer(unknown).await.unwrap_err().code(), Code::NotFound);
    let mut input = good.clone();
    input.inputs[0].name = format!("{WORD}.dcm");
    assert_eq!(client.model_infer(input).await.unwrap_err().code(), Code::InvalidArgument);
    let mut grpc = tonic::client::Grpc::new(server.channel().await);
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::try_from(format!("/{WORD}.Service/{WORD}")).unwrap();
    let codec =
        tonic_prost::ProstCodec::<_, hilum::proto::inference::ModelInferResponse>::default();
    let lost = grpc.unary(Request::new(good), path, codec).await.unwrap_err();
    assert_eq!(lost.code(), Code::Unimplemented);
    end(server).await;
    let spans = receiver.spans();
    assert!(!format!("{:?}", receiver.0.lock().unwrap()).contains(WORD));
    let mut codes: Vec<String> =
        spans.iter().filter_map(|span| attribute(span, "rpc.grpc.status_code")).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["0", "12", "3", "5"]);
    let names: BTreeSet<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert!(names.iter().all(|name| NAMES.contains(name)), "{names:?}");
}

/// Runs the binary with OpenTelemetry's own variables, calls it once below [`TRACE`], ends it, and
/// gives what it logged.
async fn logs_of_a_call(format: &str, collector: SocketAddr) -> Vec<String> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hilum"))
        .arg("serve")
        .current_dir(root())
        .env("HILUM__SERVER__GRPC_ADDRESS", "127.0.0.1:0")
        .env("HILUM__SERVER__HTTP_ADDRESS", "127.0.0.1:0")
        .env("HILUM__SERVER__METRICS_ADDRESS", "127.0.0.1:0")
        .env("HILUM__SERVER__DRAIN_GRACE", "10ms")
        .env("HILUM__AUDIT__SPOOL_DIR", env!("CARGO_TARGET_TMPDIR"))
        .env("HILUM__AUDIT__SHIPPER", "sidecar")
        .env("HILUM__REGISTRY__URL", concat!("sqlite:", env!("CARGO_TARGET_TMPDIR"), "/traces.db"))
        .env("HILUM__TELEMETRY__LOG_FORMAT", format)
        .env("HILUM__TELEMETRY__LOG_FILTER", "info,hilum=debug")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"))
        .env("OTEL_SERVICE_NAME", "chest")
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        stderr.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)))
    });
    let listening = loop {
        let line = lines.recv().await.expect("the process says where it listens");
        if line.contains("listening") {
            break line;
        }
    };
    let address = |key: &str| -> SocketAddr {
        let rest = listening.split(key).nth(1).unwrap().trim_start_matches(['"', ':', '=']);
        rest.split(['"', ' ']).next().unwrap().parse().unwrap()
    };
    until("ready", async || get(address("metrics"), "/readyz").await.0 == 200).await;
    let mut client = GrpcInferenceServiceClient::new(connect(address("grpc")).await);
    client.model_infer(below("01")).await.unwrap();
    drop(client);
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    let mut logged = Vec::new();
    while let Some(line) = lines.recv().await {
        logged.push(line);
    }
    assert!(tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap().success());
    logged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_lines_carry_the_ids_and_the_standard_variables_hold() {
    for format in ["text", "json"] {
        let (receiver, collector) = Receiver::start().await;
        let logged = logs_of_a_call(format, collector).await;
        let line = logged.iter().find(|line| line.contains("answered")).unwrap();
        let spans = receiver.spans();
        let server = spans.iter().find(|span| span.kind == 2).unwrap();
        let id: String = server.span_id.iter().map(|byte| format!("{byte:02x}")).collect();
        match serde_json::from_str::<serde_json::Value>(line) {
            Ok(event) => {
                assert_eq!(format, "json");
                assert_eq!((&event["trace_id"], &event["span_id"]), (&TRACE.into(), &id.into()));
                assert!(event["request_id"].is_string(), "{line}");
            }
            Err(_) => {
                let ids = format!("trace_id={TRACE} span_id={id}");
                assert!(line.contains(&ids) && line.contains("request_id="), "{line}");
            }
        }
        let resource = receiver.resource();
        assert_eq!(resource["service.name"], "chest");
        assert_eq!(resource["deployment.environment.name"], "test");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_over_rest_has_its_route_s_span_with_the_same_steps_below() {
    use crate::http_client::{get, json_request, post};
    let (receiver, collector) = Receiver::start().await;
    let server = ready(traced(collector)).await;
    let body = json_request(2, 1).to_string();
    let answer = post(server.http, "/v2/models/mnist/infer", body).await;
    assert_eq!(answer.status, 200);
    let out = answer.header("traceparent").to_owned();
    get(server.http, "/v2/health/ready").await;
    end(server).await;
    let spans = receiver.spans();
    let servers: Vec<&Span> = spans.iter().filter(|span| span.kind == 2).collect();
    assert_eq!(servers.len(), 1, "{servers:#?}");
    assert_eq!(servers[0].name, "POST /v2/models/{model}/infer");
    let id: String = servers[0].span_id.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(out.split('-').nth(2), Some(id.as_str()));
    let steps: BTreeSet<&str> =
        children(&spans, servers[0]).iter().map(|span| span.name.as_str()).collect();
    assert_eq!(steps, BTreeSet::from(["decode", "admit", "queue", "infer", "encode"]));
}
