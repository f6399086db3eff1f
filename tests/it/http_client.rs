//! A plain HTTP/1.1 client: one connection a request, nothing added that a test did not say.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;

use crate::harness::{bytes_of, pixels};

/// An answer, read to its end.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// What the body says went wrong.
    pub fn error(&self) -> String {
        self.json()["error"].as_str().expect("an error is a text").to_owned()
    }

    /// A header as text; nothing is the empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The JSON and the binary tensor data after it.
    pub fn parts(&self) -> (Value, &[u8]) {
        let length = self.header("inference-header-content-length").parse().unwrap();
        let (json, data) = self.body.split_at(length);
        (serde_json::from_slice(json).unwrap(), data)
    }
}

/// Sends a request and reads the whole answer.
pub async fn send(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = Request::new(Full::new(body.into()));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap();
    request.headers_mut().insert("host", HeaderValue::from_static("test"));
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    drop(sender);
    let _ = connection.await;
    Answer { status: head.status, headers: head.headers, body }
}

/// A GET.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    send(address, Method::GET, path, &[], "").await
}

/// A POST of JSON.
pub async fn post(address: SocketAddr, path: &str, body: impl Into<Bytes>) -> Answer {
    send(address, Method::POST, path, &[("content-type", "application/json")], body).await
}

/// A good request of `rows` rows to `mnist` as JSON, flat.
pub fn json_request(rows: usize, seed: u32) -> Value {
    serde_json::json!({ "inputs": [{
        "name": "image", "datatype": "FP32", "shape": [rows, 1, 28, 28], "data": pixels(rows, seed),
    }]})
}

/// A good request of `rows` rows as JSON and binary tensor data, and the length of the JSON.
pub fn binary_request(rows: usize, seed: u32) -> (Vec<u8>, String) {
    let data = bytes_of(&pixels(rows, seed));
    let json = serde_json::json!({
        "inputs": [{
            "name": "image", "datatype": "FP32", "shape": [rows, 1, 28, 28],
            "parameters": { "binary_data_size": data.len() },
        }],
        "parameters": { "binary_data_output": true },
    });
    let mut body = json.to_string().into_bytes();
    let length = body.len().to_string();
    body.extend(data);
    (body, length)
}
