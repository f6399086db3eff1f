//! Triton's extensions over REST: shared-memory regions, log settings, trace settings; also asked for
//! in the wrong way, and by a page of another origin.

use hilum::config::SharedMemoryPolicy;
use hilum::proto::inference::SystemSharedMemoryStatusRequest;
use http::{Method, StatusCode};
use prost::Message as _;
use serde_json::{Value, json};

use crate::harness::{Server, bytes_of, config, floats, pixels, request, scores};
use crate::http_client::{Answer, get, post, send};
use crate::settings::Logged;
use crate::shared_memory::Object;

const ROWS: usize = 3;
const IN: usize = ROWS * 784 * 4;
const OUT: usize = ROWS * 10 * 4;
const INFER: &str = "/v2/models/mnist/infer";

fn region(name: &str, call: &str) -> String {
    format!("/v2/systemsharedmemory/region/{name}/{call}")
}

fn place(region: &str, bytes: usize) -> Value {
    json!({ "shared_memory_region": region, "shared_memory_byte_size": bytes })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tensors_pass_through_regions_that_rest_registers() {
    let server = Server::ready().await;
    let (http, object) = (server.http, Object::new(20_000));
    let image = bytes_of(&pixels(ROWS, 1));
    std::os::unix::fs::FileExt::write_all_at(&object.file, &image, 100).unwrap();
    let input = json!({ "key": object.key, "offset": 100, "byte_size": 15_000 });
    let output = json!({ "key": format!("/{}", object.key), "byte_size": 90, "offset": 16_000 });
    for (name, body) in [("in", &input), ("out", &output)] {
        let answer = post(http, &region(name, "register"), body.to_string()).await;
        assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({})));
    }
    let told = |name: &str, body: &Value| {
        let (key, offset, size) = (&body["key"], &body["offset"], &body["byte_size"]);
        json!({ "name": name, "key": key, "offset": offset, "byte_size": size })
    };
    let all = get(http, "/v2/systemsharedmemory/status").await.json();
    assert_eq!(all, json!([told("in", &input), told("out", &output)]));
    let one = get(http, &region("out", "status")).await.json();
    assert_eq!(one, json!([told("out", &output)]));

    // 90 bytes hold no three rows; the region is made anew by the other edge's rules.
    let body = json!({
        "inputs": [{ "name": "image", "datatype": "FP32", "shape": [ROWS, 1, 28, 28],
                     "parameters": place("in", IN) }],
        "outputs": [{ "name": "probabilities", "parameters": place("out", OUT) }],
    });
    let answer = post(http, INFER, body.to_string()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.error().contains("reach beyond"), "{}", answer.error());
    let answer = post(http, &region("out", "unregister"), "").await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({})));
    let output = json!({ "key": object.key, "offset": 16_000, "byte_size": OUT });
    post(http, &region("out", "register"), output.to_string()).await.json();

    let answer = post(http, INFER, body.to_string()).await.json();
    let mut client = server.client().await;
    let expected = client.model_infer(request(ROWS, 1)).await.unwrap().into_inner();
    let written = floats(&object.read(16_000, OUT));
    assert_eq!(written.chunks(10).map(<[f32]>::to_vec).collect::<Vec<_>>(), scores(&expected));
    let output = &answer["outputs"][0];
    let told = json!({ "name": "probabilities", "datatype": "FP32", "shape": [ROWS, 10] });
    assert_eq!(*output, told);

    // Both edges have the same regions.
    let regions = client
        .system_shared_memory_status(SystemSharedMemoryStatusRequest::default())
        .await
        .unwrap();
    assert_eq!(regions.into_inner().regions.len(), 2);
    assert_eq!(post(http, &region("never", "unregister"), "").await.status, 200);
    assert_eq!(post(http, "/v2/systemsharedmemory/unregister", "").await.status, 200);
    assert_eq!(get(http, "/v2/systemsharedmemory/status").await.json(), json!([]));
    assert_eq!(get(http, &region("in", "status")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regions_that_cannot_be_are_refused() {
    let server = Server::ready().await;
    let object = Object::new(100);
    let key = object.key.as_str();
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let good = |key: &str| json!({ "key": key, "offset": 0, "byte_size": 1 }).to_string();
    let cases: Vec<(&str, String, u16, &str)> = vec![
        ("r", String::new(), 400, "EOF while parsing"),
        ("r", "{".to_owned(), 400, "EOF while parsing"),
        ("r", "[]".to_owned(), 400, "the JSON cannot be read"),
        ("r", "7".to_owned(), 400, "a region's key and byte_size"),
        ("r", deep.clone(), 400, "the JSON cannot be read"),
        ("r", format!(r#"{{"key":{deep}}}"#), 400, "the JSON cannot be read"),
        ("r", json!({ "key": key }).to_string(), 400, "missing field `byte_size`"),
        ("r", json!({ "byte_size": 1 }).to_string(), 400, "missing field `key`"),
        ("r", json!({ "key": 7, "byte_size": 1 }).to_string(), 400, "invalid type: integer `7`"),
        ("r", json!({ "key": key, "byte_size": "1" }).to_string(), 400, "expected u64"),
        ("r", json!({ "key": key, "byte_size": -1 }).to_string(), 400, "integer `-1`"),
        ("r", json!({ "key": key, "byte_size": 1.5 }).to_string(), 400, "floating point `1.5`"),
        ("r", r#"{"key":"x","byte_size":NaN}"#.to_owned(), 400, "JSON has no NaN"),
        ("r", r#"{"key":"x","key":"y","byte_size":1}"#.to_owned(), 400, "duplicate field `key`"),
        ("r", format!("{} x", good(key)), 400, "trailing characters"),
        ("r", json!({ "key": key, "byte_size": 0 }).to_string(), 400, "0 bytes holds nothing"),
        ("r", json!({ "key": key, "byte_size": 101 }).to_string(), 400, "which has 100"),
        (
            "r",
            json!({ "key": key, "byte_size": u64::MAX, "offset": u64::MAX }).to_string(),
            400,
            "which has 100",
        ),
        ("r", good("../etc/passwd"), 400, "'../etc/passwd' is not a shared memory key"),
        ("r", good("/dev/shm/x"), 400, "'/dev/shm/x' is not"),
        ("r", good("never-there"), 400, "'never-there' cannot be opened"),
        ("r%2Fs", good(key), 400, "'r/s' is not a region's name"),
        ("r%00", good(key), 400, "is not a region's name"),
        ("%C3%A4", good(key), 400, "is not a region's name"),
        ("r%FF", good(key), 400, "not UTF-8"),
    ];
    for (name, body, status, words) in cases {
        let answer = post(server.http, &region(name, "register"), body.clone()).await;
        let shown: String = body.chars().take(80).collect();
        assert_eq!(answer.status, status, "{name} {shown}: {}", answer.error());
        assert!(answer.error().contains(words), "{name} {shown}: {}", answer.error());
    }
    let image = [("content-type", "image/png")];
    let answer = send(server.http, Method::POST, &region("r", "register"), &image, good(key)).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(get(server.http, &region("r", "register")).await.status, 405);
    assert_eq!(get(server.http, &region("r%FF", "status")).await.status, 400);
    assert_eq!(get(server.http, "/v2/systemsharedmemory/status").await.json(), json!([]));
    assert_eq!(post(server.http, &region("r", "register"), good(key)).await.status, 200);
    let again = post(server.http, &region("r", "register"), good(key)).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.error());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cuda_regions_are_declined_and_tidied_up() {
    let server = Server::ready().await;
    assert_eq!(get(server.http, "/v2/cudasharedmemory/status").await.json(), json!([]));
    let one = get(server.http, "/v2/cudasharedmemory/region/r/status").await;
    assert_eq!(one.status, StatusCode::NOT_FOUND, "{}", one.error());
    let body = json!({ "raw_handle": { "b64": "AAAA" }, "device_id": 0, "byte_size": 4 });
    let path = "/v2/cudasharedmemory/region/r/register";
    let answer = post(server.http, path, body.to_string()).await;
    assert_eq!(answer.status, StatusCode::NOT_IMPLEMENTED);
    assert!(answer.error().contains("CUDA shared memory is not served"), "{}", answer.error());
    for path in ["/v2/cudasharedmemory/region/r/unregister", "/v2/cudasharedmemory/unregister"] {
        assert_eq!(post(server.http, path, "").await.json(), json!({}));
    }
}

/// Asks as a page of another origin does by a browser on this machine.
async fn as_page(server: &Server, path: &str, body: &Value) -> Answer {
    let origin = [("origin", "https://elsewhere.example")];
    send(server.http, Method::POST, path, &origin, body.to_string()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_on_this_machine_changes_nothing() {
    let server = Server::ready().await;
    let object = Object::new(100);
    let here = json!({ "key": object.key, "byte_size": 100 });
    let quiet = json!({ "log_info": false });
    let cases = [
        ("/v2/logging", &quiet),
        (&region("r", "register"), &here),
        (&region("r", "unregister"), &Value::Null),
        ("/v2/systemsharedmemory/unregister", &Value::Null),
        ("/v2/repository/models/mnist/unload", &json!({})),
    ];
    for (path, body) in cases {
        let answer = as_page(&server, path, body).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}: {}", answer.error());
        assert!(answer.error().contains("own machine only"), "{path}: {}", answer.error());
    }
    // The same by gRPC-Web, which shares the port and the rule.
    use hilum::proto::inference::log_settings_request::SettingValue;
    use hilum::proto::inference::log_settings_request::setting_value::ParameterChoice;
    let choice = Some(ParameterChoice::BoolParam(false));
    let settings = [("log_info".to_owned(), SettingValue { parameter_choice: choice })];
    let change = hilum::proto::inference::LogSettingsRequest { settings: settings.into() };
    let message = change.encode_to_vec();
    let frame = [&[0, 0, 0, 0, u8::try_from(message.len()).unwrap()], &message[..]].concat();
    let headers =
        [("origin", "https://elsewhere.example"), ("content-type", "application/grpc-web+proto")];
    let path = "/inference.GRPCInferenceService/LogSettings";
    let answer = send(server.http, Method::POST, path, &headers, frame).await;
    assert_eq!(answer.header("grpc-status"), "7", "{:?}", answer.headers);
    // From this machine it is another matter: these services have no log of their own.
    let answer = post(server.http, "/v2/logging", quiet.to_string()).await;
    assert_eq!(answer.status, StatusCode::PRECONDITION_FAILED, "{}", answer.error());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_memory_is_for_all_where_it_is_on_and_for_nobody_where_it_is_off() {
    let object = Object::new(100);
    let here = json!({ "key": object.key, "byte_size": 100 });
    for (policy, status) in [(SharedMemoryPolicy::On, 200), (SharedMemoryPolicy::Off, 412)] {
        let mut config = config();
        config.server.system_shared_memory = policy;
        let server = Server::start(config);
        let answer = as_page(&server, &region("r", "register"), &here).await;
        assert_eq!(answer.status, status, "{policy:?}");
        // The tidying up of clients succeeds.
        let answer = as_page(&server, "/v2/systemsharedmemory/unregister", &Value::Null).await;
        assert_eq!(answer.status, 200, "{policy:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_level_really_changes_over_rest() {
    let mut process = Logged::start().await;
    let there = get(process.http, "/v2/logging").await.json();
    assert_eq!(
        there,
        json!({
            "log_error": true, "log_warning": true, "log_info": true, "log_verbose_level": 0,
            "log_file": "", "log_format": "ISO8601",
        })
    );
    assert!(process.levels_of("quiet-call").await.is_empty());
    let same = post(process.http, "/v2/logging", r#"{"log_info":null,"log_file":""}"#).await;
    assert_eq!((same.status, same.json()), (StatusCode::OK, there.clone()));
    let loud = post(process.http, "/v2/logging", r#"{"log_verbose_level":1}"#).await.json();
    assert_eq!(loud["log_verbose_level"], 1);
    let levels = process.levels_of("loud-call").await;
    assert!(levels.contains(&"DEBUG".to_owned()), "{levels:?}");

    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let cases = [
        ("", 400, "EOF while parsing"),
        ("[]", 400, "an object of settings"),
        (&*deep, 400, "the JSON cannot be read"),
        (&format!(r#"{{"log_info":{deep}}}"#), 400, "setting 'log_info': recursion limit"),
        (r#"{"log_info":[true]}"#, 400, "setting 'log_info': a text, a whole number"),
        (r#"{"log_info":{"bool_param":true}}"#, 400, "setting 'log_info': a text"),
        (r#"{"log_verbose_level":-1}"#, 400, "setting 'log_verbose_level': a text, a whole"),
        (r#"{"log_verbose_level":4294967296}"#, 400, "32 bits"),
        (r#"{"log_verbose_level":1.5}"#, 400, "'log_verbose_level'"),
        (r#"{"log_verbose_level":NaN}"#, 400, "JSON has no NaN"),
        (r#"{"log_info":true,"log_info":false}"#, 400, "duplicate setting `log_info`"),
        (r#"{"log_info":"yes"}"#, 400, "'log_info': a boolean is expected"),
        (r#"{"log_level":"debug"}"#, 400, "no setting 'log_level'; there are log_error"),
        (r#"{"log_warning":false,"log_info":true}"#, 400, "'log_warning' cannot be off"),
        (r#"{"log_verbose_level":0,"log_file":"/tmp/x"}"#, 412, "log_file"),
    ];
    for (body, status, words) in cases {
        let shown: String = body.chars().take(80).collect();
        let answer = post(process.http, "/v2/logging", body.to_owned()).await;
        assert_eq!(answer.status, status, "{shown}: {}", answer.error());
        assert!(answer.error().contains(words), "{shown}: {}", answer.error());
        assert_eq!(get(process.http, "/v2/logging").await.json(), loud, "{shown}");
    }
    let quiet = post(process.http, "/v2/logging", r#"{"log_verbose_level":0}"#).await.json();
    assert_eq!(quiet, there);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_are_told_and_refused_by_name() {
    let mut config = config();
    // Nobody listens there: an absent collector costs nothing.
    config.telemetry.otlp_endpoint = "http://127.0.0.1:9".to_owned();
    config.telemetry.trace_ratio = 0.25;
    let server = Server::start(config);
    server.wait_ready().await;
    let told = json!({
        "trace_level": ["TIMESTAMPS"], "trace_rate": "4", "trace_count": "-1",
        "log_frequency": "0", "trace_mode": "opentelemetry",
    });
    let same =
        r#"{"trace_rate":4,"trace_count":"-1","trace_level":["TIMESTAMPS"],"trace_mode":null}"#;
    for path in ["/v2/trace/setting", "/v2/models/mnist/trace/setting"] {
        assert_eq!(get(server.http, path).await.json(), told);
        assert_eq!(post(server.http, path, same).await.json(), told);
        let answer = post(server.http, path, r#"{"trace_level":["OFF"]}"#).await;
        assert_eq!(answer.status, StatusCode::PRECONDITION_FAILED, "{}", answer.error());
    }
    let cases = [
        (r#"{"trace_level":[["OFF"]]}"#, "setting 'trace_level': a text, a whole number"),
        (r#"{"trace_level":[7]}"#, "setting 'trace_level': a text"),
        (r#"{"trace_rate":0.5}"#, "setting 'trace_rate'"),
        (r#"{"trace_rate":true}"#, "setting 'trace_rate'"),
        (r#"{"trace_rate":"4","trace_rate":"4"}"#, "duplicate setting `trace_rate`"),
        (r#"{"trace_file":"/tmp/x"}"#, "no setting 'trace_file'; there are trace_level"),
        ("null", "an object of settings"),
    ];
    for (body, words) in cases {
        let answer = post(server.http, "/v2/trace/setting", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}: {}", answer.error());
        assert!(answer.error().contains(words), "{body}: {}", answer.error());
    }
    let answer = get(server.http, "/v2/models/cats/trace/setting").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let answer = get(server.http, "/v2/models/a%2Fb/trace/setting").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.error());
}
