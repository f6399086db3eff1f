//! The keys: their types, defaults and meaning.
//!
//! The comments below are the reference: `docs/configuration.md` is made from them.
//! This file must never read the environment.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::audit::AuditConfig;
use super::limits::{LimitsConfig, non_zero};
use super::pipeline::PipelineConfig;
use super::registry::RegistryConfig;
use super::store::StoreConfig;
use http::HeaderValue;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::catalog::ModelControl;
use crate::domain::Digest;
use crate::engine::Provider;
use crate::rpc::Compression;
use crate::shared_memory::Callers;
use crate::telemetry::logs::{LogFormat, check_filter};

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Listeners and the end of the process.
    pub server: ServerConfig,
    /// Bounds: nothing waits or grows without one.
    pub limits: LimitsConfig,
    /// Where models are.
    pub models: ModelsConfig,
    /// How models are run.
    pub engine: EngineConfig,
    /// The journey of images.
    pub pipeline: PipelineConfig,
    /// The record of every answer (docs/audit.md).
    pub audit: AuditConfig,
    /// Where objects are kept for good: the audit record's files.
    pub store: StoreConfig,
    /// The database of what all replicas must know and what outlives them: the audit record's chains.
    pub registry: RegistryConfig,
    /// What the service says about itself.
    pub telemetry: TelemetryConfig,
}

/// Listeners and the end of the process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Address and port of the HTTP listener, for REST and gRPC-Web; port 0 takes a free one.
    #[schemars(with = "String")]
    pub http_address: SocketAddr,
    /// Address and port of the gRPC listener; port 0 takes a free one.
    #[schemars(with = "String")]
    pub grpc_address: SocketAddr,
    /// Address and port of the listener for `/metrics` and the probes; port 0 takes a free one.
    #[schemars(with = "String")]
    pub metrics_address: SocketAddr,
    /// Origins whose pages may call the HTTP listener from a browser, such as
    /// `https://app.example`; `*` means any. Empty: no page of another origin may.
    pub cors_allowed_origins: Vec<String>,
    /// How gRPC messages may be packed, `gzip` and `zstd`; an answer is packed the way its request
    /// is. Empty: not at all.
    pub grpc_compression: Vec<Compression>,
    /// Whether callers may register regions of POSIX shared memory (`/dev/shm`) and pass tensors
    /// through them: `auto` = callers on this machine, while `server.grpc_address` and
    /// `server.http_address` are loopback addresses, `on` = all callers, `off` = nobody. A caller
    /// may name any object there that the service's user can open for reading and writing.
    pub system_shared_memory: SharedMemoryPolicy,
    /// Permits clear text beyond the loopback interface, for where TLS ends at a load balancer.
    pub allow_plaintext: bool,
    /// How long requests are still accepted after the service has said that it is not ready:
    /// load balancers need time to notice.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub drain_grace: Duration,
    /// The bound on the whole end, from the signal to the exit; `drain_grace` is part of it. Set it
    /// below the platform's own kill.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub shutdown_timeout: Duration,
    /// The digest of the container image that serves, `sha256:` and 64 hexadecimal digits: each record
    /// names it. Empty: unknown.
    pub image_digest: String,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let local = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self {
            http_address: local(8000),
            grpc_address: local(8001),
            metrics_address: local(8002),
            cors_allowed_origins: Vec::new(),
            grpc_compression: vec![Compression::Gzip, Compression::Zstd],
            system_shared_memory: SharedMemoryPolicy::Auto,
            allow_plaintext: false,
            drain_grace: Duration::from_secs(15),
            shutdown_timeout: Duration::from_secs(28),
            image_digest: String::new(),
        }
    }
}

/// Who may register shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SharedMemoryPolicy {
    /// Callers, while they are all on this machine.
    Auto,
    /// All callers.
    On,
    /// Nobody.
    Off,
}

impl ServerConfig {
    /// `image_digest` as a value.
    pub fn image_digest(&self) -> Option<Digest> {
        self.image_digest.strip_prefix("sha256:")?.parse().ok()
    }

    /// Who may register shared memory.
    pub fn shared_memory_callers(&self) -> Callers {
        let is_local = self.grpc_address.ip().is_loopback() && self.http_address.ip().is_loopback();
        match self.system_shared_memory {
            SharedMemoryPolicy::Auto if is_local => Callers::Local,
            SharedMemoryPolicy::Auto | SharedMemoryPolicy::Off => Callers::None,
            SharedMemoryPolicy::On => Callers::All,
        }
    }
}

/// Where models are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelsConfig {
    /// The folder with `<name>/<version>/`.
    pub directory: PathBuf,
    /// Who decides which models are loaded: `none` = what is in the folder at start, for good;
    /// `explicit` = callers load and unload; `poll` = the folder, looked at again and again.
    pub control: ModelControl,
    /// With `explicit`, the models that are loaded at start; `*` means all.
    pub load: Vec<String>,
    /// With `poll`, the time between two looks.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub poll_interval: Duration,
    /// How long a version that is taken away may still answer what it was asked.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub unload_timeout: Duration,
    /// Bytes that the weights of all loaded versions may take, in all engines; while a version is
    /// replaced both count.
    pub memory_limit: u64,
}

impl Default for ModelsConfig {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("models"),
            control: ModelControl::None,
            load: Vec::new(),
            poll_interval: Duration::from_secs(15),
            unload_timeout: Duration::from_secs(30),
            memory_limit: 4 << 30,
        }
    }
}

/// How models are run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// ONNX Runtime's shared library. Empty: `ORT_DYLIB_PATH`, then beside the binary, then
    /// `.onnxruntime/`, then the system's libraries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onnxruntime: Option<PathBuf>,
    /// Execution providers, the most wanted first: `name` (cpu, cuda, tensorrt, openvino), `mode`
    /// (`require` or `prefer`) and `device`. Empty: the CPU.
    pub providers: Vec<Provider>,
    /// Cores to plan with; 0 = affinity and the control group's quota, whichever is smaller.
    pub cores: usize,
    /// Engines of each version; 0 = the bundle's number, or chosen from the cores.
    pub instances: usize,
    /// Threads of one run; 0 = the bundle's number, or chosen from the cores.
    pub intra_threads: usize,
    /// Runs every row alone, so that an answer does not depend on its neighbours by a single bit.
    pub deterministic: bool,
}

/// What the service says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// How a log line is written.
    pub log_format: LogFormat,
    /// Which events are logged, as in `info,hilum=debug`.
    pub log_filter: String,
    /// The OTLP collector that takes traces over gRPC, as in `http://127.0.0.1:4317`. Empty: no
    /// traces. Where no file or variable of ours names it, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` and
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` do.
    pub otlp_endpoint: String,
    /// How long one export may take, and the flush at the end, which is part of
    /// `server.shutdown_timeout`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub otlp_timeout: Duration,
    /// The share of the requests without a `traceparent` that is traced, 0 to 1. With one, the
    /// caller has decided.
    pub trace_ratio: f64,
    /// Spans that may wait or be under way to the collector; a further one is dropped and counted.
    pub trace_queue: NonZeroUsize,
    /// Spans of one export, at most `trace_queue`.
    pub trace_batch: NonZeroUsize,
    /// The longest time that a span waits for others.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub trace_interval: Duration,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log_format: LogFormat::default(),
            log_filter: "info".to_owned(),
            otlp_endpoint: String::new(),
            otlp_timeout: Duration::from_secs(10),
            trace_ratio: 1.0,
            trace_queue: non_zero(2048),
            trace_batch: non_zero(512),
            trace_interval: Duration::from_secs(5),
        }
    }
}

/// Whether a text is an origin as a browser sends it (RFC 6454, section 7), or `*`.
fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return text == "*" };
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-:[]".contains(c);
    matches!(scheme, "http" | "https") && !authority.is_empty() && authority.chars().all(plain)
}

impl ServerConfig {
    /// `cors_allowed_origins` as the values of a header.
    pub fn cors_origins(&self) -> Vec<HeaderValue> {
        let origins = self.cors_allowed_origins.iter();
        origins.filter_map(|origin| HeaderValue::from_str(origin).ok()).collect()
    }
}

impl Config {
    /// What the types cannot say; every problem at once, each beginning with its key.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let server = &self.server;
        let listeners = [
            ("server.http_address", server.http_address),
            ("server.grpc_address", server.grpc_address),
            ("server.metrics_address", server.metrics_address),
        ];
        for (at, (key, address)) in listeners.into_iter().enumerate() {
            let taken = listeners[..at].iter().find(|(_, other)| *other == address);
            if let (Some((other, _)), true) = (taken, address.port() != 0) {
                problems.push(format!("{key} is the same as {other}"));
            }
            if !address.ip().is_loopback() && !server.allow_plaintext {
                problems.push(format!(
                    "{key} = \"{address}\" would send clear text beyond this machine; set \
                     server.allow_plaintext = true if TLS ends in front of it"
                ));
            }
        }
        for origin in server.cors_allowed_origins.iter().filter(|origin| !is_origin(origin)) {
            problems.push(format!(
                "server.cors_allowed_origins: '{}' is not an origin; scheme, host and, if it is \
                 not the scheme's own, port are expected, as in https://app.example, or *",
                origin.escape_debug()
            ));
        }
        if server.drain_grace >= server.shutdown_timeout {
            problems.push(format!(
                "server.drain_grace = \"{:?}\" must be shorter than server.shutdown_timeout = \
                 \"{:?}\", of which it is a part",
                server.drain_grace, server.shutdown_timeout
            ));
        }
        if !server.image_digest.is_empty() && server.image_digest().is_none() {
            problems.push(format!(
                "server.image_digest = \"{}\" is not sha256: and 64 hexadecimal digits",
                server.image_digest.escape_debug()
            ));
        }
        let limits = &self.limits;
        if limits.body_timeout.is_zero() {
            problems.push("limits.body_timeout: above 0".to_owned());
        }
        if limits.keepalive_interval.is_zero() || limits.keepalive_timeout.is_zero() {
            problems.push("limits.keepalive_interval and keepalive_timeout: above 0".to_owned());
        }
        if self.models.poll_interval.is_zero() {
            problems.push("models.poll_interval: above 0".to_owned());
        }
        if !self.models.load.is_empty() && self.models.control != ModelControl::Explicit {
            problems.push("models.load is for models.control = \"explicit\" only".to_owned());
        }
        if self.models.directory.as_os_str().is_empty() {
            problems.push("models.directory is empty; name a folder".to_owned());
        }
        problems.extend(self.pipeline.problems());
        problems.extend(self.audit.problems());
        problems.extend(self.store.problems());
        problems.extend(self.registry.problems());
        problems.extend(self.telemetry.problems());
        problems
    }
}

impl TelemetryConfig {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Err(error) = check_filter(&self.log_filter) {
            problems.push(error.to_string());
        }
        let endpoint = &self.otlp_endpoint;
        let uri = endpoint.parse::<http::Uri>().ok();
        let usable =
            uri.is_some_and(|uri| uri.scheme_str() == Some("http") && uri.authority().is_some());
        if !endpoint.is_empty() && !usable {
            problems.push(format!(
                "telemetry.otlp_endpoint = \"{endpoint}\" is not http://HOST:PORT, where a \
                 collector takes OTLP over gRPC in clear text"
            ));
        }
        if !(0.0..=1.0).contains(&self.trace_ratio) {
            let ratio = self.trace_ratio;
            problems.push(format!("telemetry.trace_ratio = {ratio} is not between 0 and 1"));
        }
        if self.trace_batch > self.trace_queue {
            problems.push(format!(
                "telemetry.trace_batch = {} is more than telemetry.trace_queue = {}",
                self.trace_batch, self.trace_queue
            ));
        }
        if self.otlp_timeout.is_zero() || self.trace_interval.is_zero() {
            problems.push("telemetry.otlp_timeout and trace_interval: above 0".to_owned());
        }
        problems
    }
}
