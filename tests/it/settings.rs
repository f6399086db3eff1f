//! `LogSettings` on the real process, whose log is read, and `TraceSetting`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use hilum::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use hilum::proto::inference::log_settings_request::SettingValue;
use hilum::proto::inference::log_settings_request::setting_value::ParameterChoice;
use hilum::proto::inference::log_settings_response::setting_value::ParameterChoice as Said;
use hilum::proto::inference::*;
use tonic::Code;
use tonic::transport::Channel;

use crate::harness::{PATIENCE, Server, config, connect, root};

/// A process whose log lines are kept.
pub struct Logged {
    child: Child,
    lines: mpsc::Receiver<serde_json::Value>,
    client: GrpcInferenceServiceClient<Channel>,
    pub http: std::net::SocketAddr,
}

impl Logged {
    pub async fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hilum"));
        command.arg("serve").current_dir(root()).stderr(Stdio::piped());
        for key in ["HTTP", "GRPC", "METRICS"] {
            command.env(format!("HILUM__SERVER__{key}_ADDRESS"), "127.0.0.1:0");
        }
        command.env("HILUM__TELEMETRY__LOG_FORMAT", "json");
        command.env("HILUM__AUDIT__SPOOL_DIR", env!("CARGO_TARGET_TMPDIR"));
        command.env("HILUM__AUDIT__SHIPPER", "sidecar");
        let registry = concat!("sqlite:", env!("CARGO_TARGET_TMPDIR"), "/settings.db");
        command.env("HILUM__REGISTRY__URL", registry);
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap_or_default());
            }
        });
        let listening = wait_for(&lines, "listening");
        let address = listening["grpc"].as_str().unwrap().parse().unwrap();
        let client = GrpcInferenceServiceClient::new(connect(address).await);
        let http = listening["http"].as_str().unwrap().parse().unwrap();
        Self { child, lines, client, http }
    }

    async fn set(
        &mut self,
        settings: &[(&str, ParameterChoice)],
    ) -> Result<LogSettingsResponse, tonic::Status> {
        let value =
            |choice: &ParameterChoice| SettingValue { parameter_choice: Some(choice.clone()) };
        let settings = settings.iter().map(|(key, choice)| ((*key).to_owned(), value(choice)));
        let request = LogSettingsRequest { settings: settings.collect() };
        self.client.log_settings(request).await.map(tonic::Response::into_inner)
    }

    /// Levels of the lines that answer one call with this id.
    pub async fn levels_of(&mut self, id: &str) -> Vec<String> {
        let mut request = tonic::Request::new(ServerLiveRequest {});
        request.metadata_mut().insert("x-request-id", id.parse().unwrap());
        self.client.server_live(request).await.unwrap();
        // A line that certainly comes is the mark up to which is read.
        let unknown = ModelConfigRequest { name: "x".repeat(200), version: String::new() };
        self.client.model_config(unknown).await.unwrap_err();
        let deadline = std::time::Instant::now() + std::time::Duration::from_millis(500);
        let mut levels = Vec::new();
        while let Ok(line) =
            self.lines.recv_timeout(deadline.saturating_duration_since(std::time::Instant::now()))
        {
            if line.to_string().contains(id) {
                levels.push(line["level"].as_str().unwrap_or_default().to_owned());
            }
        }
        levels
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for(lines: &mpsc::Receiver<serde_json::Value>, message: &str) -> serde_json::Value {
    loop {
        let line = lines.recv_timeout(PATIENCE).expect(message);
        if line["message"] == message {
            return line;
        }
    }
}

fn said(response: &LogSettingsResponse, key: &str) -> Said {
    response.settings[key].parameter_choice.clone().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_level_really_changes_while_the_service_runs() {
    use ParameterChoice::{BoolParam, StringParam, Uint32Param};
    let mut process = Logged::start().await;
    let there = process.set(&[]).await.unwrap();
    assert_eq!(said(&there, "log_info"), Said::BoolParam(true));
    assert_eq!(said(&there, "log_verbose_level"), Said::Uint32Param(0));
    assert!(process.levels_of("quiet-call").await.is_empty());

    let there = process.set(&[("log_verbose_level", Uint32Param(1))]).await.unwrap();
    assert_eq!(said(&there, "log_verbose_level"), Said::Uint32Param(1));
    wait_for(&process.lines, "the log's level was changed");
    let levels = process.levels_of("loud-call").await;
    assert!(levels.contains(&"DEBUG".to_owned()), "{levels:?}");

    // Down again, below what the service was started with.
    let quiet = [("log_verbose_level", Uint32Param(0)), ("log_info", BoolParam(false))];
    let there = process.set(&quiet).await.unwrap();
    assert_eq!(said(&there, "log_info"), Said::BoolParam(false));
    assert_eq!(said(&there, "log_warning"), Said::BoolParam(true));
    wait_for(&process.lines, "the log's level was changed");
    assert!(process.levels_of("quiet-again").await.is_empty());

    // What cannot be changed is refused by name, and nothing of the message is done.
    type Case<'a> = (&'a [(&'a str, ParameterChoice)], Code, &'a str);
    let cases: [Case<'_>; 8] = [
        (&[("log_file", StringParam("/tmp/x".to_owned()))], Code::FailedPrecondition, "log_file"),
        (
            &[("log_format", StringParam("default".to_owned()))],
            Code::FailedPrecondition,
            "log_format",
        ),
        (
            &[("log_level", StringParam("debug".to_owned()))],
            Code::InvalidArgument,
            "'log_level'; there are",
        ),
        (&[("log_info", StringParam("yes".to_owned()))], Code::InvalidArgument, "a boolean"),
        (&[("log_verbose_level", BoolParam(true))], Code::InvalidArgument, "a whole number"),
        (&[("log_file", Uint32Param(1))], Code::InvalidArgument, "a string"),
        (
            &[("log_warning", BoolParam(false)), ("log_info", BoolParam(true))],
            Code::InvalidArgument,
            "'log_warning' cannot be off",
        ),
        (
            &[("log_info", BoolParam(true)), ("log_file", StringParam("x".to_owned()))],
            Code::FailedPrecondition,
            "log_file",
        ),
    ];
    for (settings, code, words) in cases {
        let status = process.set(settings).await.unwrap_err();
        assert_eq!(status.code(), code, "{settings:?}: {status}");
        assert!(status.message().contains(words), "{}", status.message());
        let there = process.set(&[]).await.unwrap();
        assert_eq!(said(&there, "log_info"), Said::BoolParam(false), "{settings:?}");
    }
    // What is as it is may be "set".
    let same = [
        ("log_file", StringParam(String::new())),
        ("log_format", StringParam("ISO8601".to_owned())),
    ];
    process.set(&same).await.unwrap();
}

fn trace(settings: &[(&str, &[&str])], model: &str) -> TraceSettingRequest {
    let value = |values: &[&str]| trace_setting_request::SettingValue {
        value: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    let settings = settings.iter().map(|(key, values)| ((*key).to_owned(), value(values)));
    TraceSettingRequest { settings: settings.collect(), model_name: model.to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_are_told_and_refused_by_name() {
    let server = Server::ready().await;
    let mut client = server.client().await;
    let told = client.trace_setting(trace(&[], "")).await.unwrap().into_inner().settings;
    assert_eq!(told["trace_level"].value, ["OFF"]);
    assert_eq!(told["trace_mode"].value, ["opentelemetry"]);
    let same: &[(&str, &[&str])] = &[("trace_level", &["OFF"]), ("trace_rate", &[])];
    let again = client.trace_setting(trace(same, "mnist")).await.unwrap().into_inner().settings;
    assert_eq!(again, told);
    type Case<'a> = (&'a [(&'a str, &'a [&'a str])], &'a str, Code, &'a str);
    let cases: [Case<'_>; 4] = [
        (&[("trace_level", &["TENSORS"])], "", Code::FailedPrecondition, "'trace_level' is 'OFF'"),
        (&[("trace_file", &["/tmp/x"])], "", Code::InvalidArgument, "'trace_file'; there are"),
        (&[], "cats", Code::NotFound, "unknown model 'cats'"),
        (&[], "a/b", Code::InvalidArgument, "'a/b' is not a model name"),
    ];
    for (settings, model, code, words) in cases {
        let status = client.trace_setting(trace(settings, model)).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(words), "{}", status.message());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_that_are_sent_are_told_with_their_rate() {
    let mut config = config();
    // Nobody listens there: an absent collector costs nothing.
    config.telemetry.otlp_endpoint = "http://127.0.0.1:9".to_owned();
    config.telemetry.trace_ratio = 0.25;
    let server = Server::start(config);
    let told = server.client().await.trace_setting(trace(&[], "")).await.unwrap();
    let told = told.into_inner().settings;
    assert_eq!(
        (&told["trace_level"].value[0], &told["trace_rate"].value[0]),
        (&"TIMESTAMPS".to_owned(), &"4".to_owned())
    );
}
