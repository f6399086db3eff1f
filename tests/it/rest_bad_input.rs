//! Malformed requests over REST: each gets a status and a text that says what came and what was
//! expected, and the next request is answered as if nothing had happened.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Server, config};
use crate::http_client::{binary_request, get, json_request, post, send};

const INFER: &str = "/v2/models/mnist/infer";

type Change = fn(&mut Value);

/// What is done to a good request's JSON, and words of the answer to it.
const CHANGES: &[(&str, Change, u16, &[&str])] = &[
    ("no inputs", |r| *r = json!({}), 400, &["missing field `inputs`"]),
    ("an array", |r| *r = json!([]), 400, &["the JSON cannot be read"]),
    ("a number", |r| *r = json!(7), 400, &["invalid type: integer `7`"]),
    ("null inputs", |r| r["inputs"] = json!(null), 400, &["invalid type: null"]),
    ("inputs of text", |r| r["inputs"] = json!(["image"]), 400, &["invalid type: string"]),
    ("an id that is a number", |r| r["id"] = json!(7), 400, &["invalid type: integer `7`"]),
    ("no name", |r| drop(input(r).remove("name")), 400, &["missing field `name`"]),
    ("no shape", |r| drop(input(r).remove("shape")), 400, &["missing field `shape`"]),
    ("no data", |r| drop(input(r).remove("data")), 400, &["neither data nor binary_data_size"]),
    ("data that is text", |r| r["inputs"][0]["data"] = json!("AAAA"), 400, &["not an array"]),
    ("a null in data", |r| r["inputs"][0]["data"][3] = json!(null), 400, &["null", "no NaN"]),
    ("a text in data", |r| r["inputs"][0]["data"][3] = json!("3"), 400, &["string \"3\""]),
    ("a number too large", |r| r["inputs"][0]["data"][0] = json!(1e39), 400, &["out of range"]),
    ("too few elements", |r| r["inputs"][0]["data"] = json!([1, 2]), 400, &["2 elements", "1568"]),
    (
        "nesting that is not the shape's",
        |r| r["inputs"][0]["data"] = json!([[1, 2], [3, 4]]),
        400,
        &["nested 2 deep", "nested 4 deep"],
    ),
    (
        "a shape with a fraction",
        |r| r["inputs"][0]["shape"][0] = json!(1.5),
        400,
        &["floating point `1.5`"],
    ),
    ("a negative dimension", |r| r["inputs"][0]["shape"][0] = json!(-2), 400, &["negative"]),
    (
        "overflowing dimensions",
        |r| r["inputs"][0]["shape"] = json!([i64::MAX, i64::MAX]),
        400,
        &["more elements than can be addressed"],
    ),
    (
        "a huge shape without elements",
        |r| r["inputs"][0]["shape"][0] = json!(1_u64 << 40),
        400,
        &["1568 elements came"],
    ),
    ("an unknown type", |r| r["inputs"][0]["datatype"] = json!("FP8"), 400, &["'FP8' is not"]),
    (
        "a wrong type",
        |r| r["inputs"][0]["datatype"] = json!("FP64"),
        400,
        &["'image' is FP32", "FP64 came"],
    ),
    ("an unknown input", |r| r["inputs"][0]["name"] = json!("x"), 400, &["unknown input 'x'"]),
    (
        "an unknown output",
        |r| r["outputs"] = json!([{ "name": "x" }]),
        400,
        &["unknown output 'x'"],
    ),
    (
        "data and binary data",
        |r| r["inputs"][0]["parameters"] = json!({ "binary_data_size": 4 }),
        400,
        &["one way or the other"],
    ),
    (
        "a nested parameter",
        |r| r["parameters"] = json!({ "a": { "b": 1 } }),
        400,
        &["a text, a number, true or false"],
    ),
    (
        "a flag that is none",
        |r| r["parameters"] = json!({ "binary_data_output": 1 }),
        400,
        &["'binary_data_output' is not true or false"],
    ),
];

fn input(request: &mut Value) -> &mut serde_json::Map<String, Value> {
    request["inputs"][0].as_object_mut().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_malformed_message_is_told_what_is_wrong_and_harms_nobody() {
    let server = Server::ready().await;
    let good = post(server.http, INFER, json_request(2, 1).to_string()).await.json();
    for (case, change, status, words) in CHANGES {
        let mut message = json_request(2, 1);
        change(&mut message);
        let answer = post(server.http, INFER, message.to_string()).await;
        assert_eq!(answer.status, *status, "{case}: {}", answer.error());
        for word in *words {
            assert!(answer.error().contains(word), "{case}: {}", answer.error());
        }
        let again = post(server.http, INFER, json_request(2, 1).to_string()).await.json();
        assert_eq!(again, good, "after: {case}");
    }
    let refused = r#"{protocol="http",model="_none",version="_none",code="INVALID_ARGUMENT"}"#;
    assert!(server.metric(&format!("hilum_requests_total{refused}")).await >= 20.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_that_is_no_json_or_not_good_json_is_told_where() {
    let server = Server::ready().await;
    let with = |data: &str| {
        let input = r#""name":"image","datatype":"FP32","shape":[1,1,28,28]"#;
        format!(r#"{{"inputs":[{{{input},"data":{data}}}]}}"#)
    };
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let deep_objects = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    let twice = r#"{"inputs":[],"inputs":[]}"#.to_owned();
    let parameter_twice = r#"{"inputs":[],"parameters":{"a":1,"a":2}}"#.to_owned();
    let cases: Vec<(&str, Bytes, &str)> = vec![
        ("nothing", "".into(), "EOF while parsing"),
        ("half of it", with("[1, 2").into(), "the JSON cannot be read"),
        ("more after it", (with("[1]") + "x").into(), "trailing characters"),
        ("NaN", with("[1, NaN]").into(), "JSON has no NaN"),
        ("NaN at the beginning", with("[NaN]").into(), "JSON has no NaN"),
        ("-Infinity", with("[1, -Infinity, 2]").into(), "JSON has no NaN"),
        ("Infinity", with("[\n1,\nInfinity\n]").into(), "JSON has no NaN"),
        ("10,000 deep data", with(&deep(10_000)).into(), "nested 10000 deep"),
        ("10,000 deep unknown key", format!(r#"{{"x":{}}}"#, deep(10_000)).into(), "missing field"),
        ("10,000 deep objects", deep_objects.into(), "missing field `inputs`"),
        ("10,000 deep whole", deep(10_000).into(), "the JSON cannot be read"),
        ("a key twice", twice.into(), "duplicate field `inputs`"),
        ("a parameter twice", parameter_twice.into(), "duplicate parameter `a`"),
        ("bytes that are no text", Bytes::from_static(b"{\"id\":\"\xff\"}"), "cannot be read"),
        ("a lone surrogate", r#"{"id":"\ud800"}"#.into(), "the JSON cannot be read"),
    ];
    for (case, body, word) in cases {
        let answer = post(server.http, INFER, body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{case}");
        assert!(answer.error().contains(word), "{case}: {}", answer.error());
    }
    assert_eq!(post(server.http, INFER, json_request(1, 1).to_string()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lengths_that_do_not_add_up_are_told() {
    let server = Server::ready().await;
    let (body, length) = binary_request(1, 1);
    let json: usize = length.parse().unwrap();
    let bytes = |n: usize| body[..n].to_vec();
    let more = [&body[..], b"x"].concat();
    let size = "binary_data_size";
    let (longer, shorter) = ((json + 1).to_string(), (json - 1).to_string());
    let cases = [
        ("no length", None, body.clone(), "the JSON cannot be read"),
        ("not a number", Some("ten"), body.clone(), "'ten' is not a number of bytes"),
        ("a sign", Some("+10"), body.clone(), "'+10' is not a number of bytes"),
        ("negative", Some("-1"), body.clone(), "'-1' is not a number of bytes"),
        ("no end", Some("99999999999999999999"), body.clone(), "is not a number of bytes"),
        ("past the end", Some("999999"), body.clone(), "said to take 999999 bytes, the body has"),
        ("none of it", Some("0"), body.clone(), "EOF while parsing"),
        ("one too many", Some(&longer), body.clone(), "the JSON cannot be read"),
        ("one too few", Some(&shorter), body.clone(), "EOF while parsing"),
        ("a byte missing", Some(&length), bytes(body.len() - 1), "is 3136, the body has 3135"),
        ("a byte too many", Some(&length), more, "1 of the 3137 bytes after the JSON"),
    ];
    for (case, length, body, word) in cases {
        let headers: Vec<_> =
            length.iter().map(|n| ("inference-header-content-length", *n)).collect();
        let answer = send(server.http, Method::POST, INFER, &headers, body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{case}");
        assert!(answer.error().contains(word), "{case}: {}", answer.error());
    }
    for (wrong, word) in [
        (json!(-4), "binary_data_size is -4"),
        (json!(4.5), "not a whole number"),
        (json!("4"), "not a whole number"),
        (json!(1_u64 << 63), "not a whole number"),
        (json!(i64::MAX), "the body has 0 bytes left"),
    ] {
        let mut message = json_request(1, 1);
        input(&mut message).remove("data");
        message["inputs"][0]["parameters"] = json!({ size: wrong });
        let answer = post(server.http, INFER, message.to_string()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong}");
        assert!(answer.error().contains(word), "{wrong}: {}", answer.error());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_methods_and_content_types_are_told() {
    let server = Server::ready().await;
    for path in ["/", "/v1", "/v2/", "/v2/models", "/v2/models/mnist/predict", "/v3/models/mnist"] {
        let answer = get(server.http, path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer.error().contains(path), "{path}: {}", answer.error());
    }
    let answer = get(server.http, INFER).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!((answer.header("allow"), answer.error().is_empty()), ("POST", false));
    let body = json_request(1, 1).to_string();
    for (kind, status) in [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("APPLICATION/JSON", 200),
        ("application/octet-stream", 200),
        ("application/x-www-form-urlencoded", 200),
        ("text/plain", 415),
        ("image/png", 415),
        ("multipart/form-data; boundary=x", 415),
        (";;;", 415),
        ("", 415),
        ("\u{e4}", 400),
    ] {
        let headers = [("content-type", kind)];
        let answer = send(server.http, Method::POST, INFER, &headers, body.clone()).await;
        assert_eq!(answer.status, status, "{kind:?}");
        assert!(status == 200 || !answer.error().is_empty());
    }
    for path in ["/v2/models/cats/infer", "/v2/models/mnist/versions/9/infer"] {
        let answer = post(server.http, path, body.clone()).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {}", answer.error());
    }
    let answer = post(server.http, "/v2/models/..%2Fmnist/infer", body.clone()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.error());
    let answer = post(server.http, "/v2/models/mnist/versions/newest/infer", body).await;
    assert!(answer.error().contains("'newest' is not a version"), "{}", answer.error());
    let answer = post(server.http, "/v2/repository/models/mnist/load", "").await;
    assert_eq!(answer.status, StatusCode::PRECONDITION_FAILED, "{}", answer.error());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_and_headers_over_the_limits_are_refused_whether_compressed_or_not() {
    let mut config = config();
    config.limits.max_message_bytes = (1 << 20).try_into().unwrap();
    config.limits.body_timeout = std::time::Duration::from_millis(300);
    let server = Server::start(config);
    server.wait_ready().await;
    let address = server.http;
    let spaces = vec![b' '; (1 << 20) + 1];
    let answer = post(address, INFER, spaces.clone()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.error().contains("at most 1048576 bytes"), "{}", answer.error());
    // 1,000 times larger once it is decompressed.
    let bomb = compressed(&spaces);
    assert!(bomb.len() < 2000, "{}", bomb.len());
    let gzip = |body: Vec<u8>| async move {
        send(address, Method::POST, INFER, &[("content-encoding", "gzip")], body).await
    };
    let answer = gzip(bomb).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let answer = gzip(compressed(json_request(1, 1).to_string().as_bytes())).await;
    assert_eq!(answer.status, StatusCode::OK);
    let answer = gzip(b"this is not gzip".to_vec()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.error().contains("the body cannot be read"), "{}", answer.error());
    for encoding in ["br", "gzip, gzip", "nonsense"] {
        let headers = [("content-encoding", encoding)];
        let answer = send(address, Method::POST, INFER, &headers, "x").await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{encoding}");
        assert!(answer.error().contains(encoding), "{}", answer.error());
    }
    let long = "x".repeat(20 << 10);
    let answer = send(address, Method::GET, "/v2", &[("x-long", &long)], "").await;
    assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert!(answer.error().contains("at most 16384"), "{}", answer.error());
    let slow = slow_body(address).await;
    assert!(slow.starts_with("HTTP/1.1 504") && slow.contains("did not arrive within"), "{slow}");
    assert_eq!(post(address, INFER, json_request(1, 1).to_string()).await.status, 200);
}

/// States a length and sends nothing of it.
async fn slow_body(address: std::net::SocketAddr) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!("POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(crate::harness::PATIENCE, stream.read(&mut answer)).await;
    String::from_utf8_lossy(&answer[..read.unwrap().unwrap()]).into_owned()
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
