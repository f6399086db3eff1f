//! The Open Inference Protocol over REST, with binary tensor data both ways.
//!
//! HTTP/1.1 carries one request at a time on a connection, so that there are as many connections as
//! requests in flight; a connection is kept for the next request.
//! This file must never send JSON where the protocol has bytes: its cost would be the client's own.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{Answered, BenchError, ModelInput, Transport};
use crate::domain::TensorSpec;
use crate::pipeline::NamedTensor;

/// The length of the JSON in front of the tensors' bytes.
const JSON_LENGTH: &str = "inference-header-content-length";

/// A server's HTTP port.
#[derive(Debug)]
pub struct RestTransport {
    address: String,
    bound: Duration,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

/// A request that was made beforehand.
#[derive(Debug, Clone)]
pub struct RestMessage {
    path: String,
    /// The JSON without its first brace and without parameters, and the tensors' bytes.
    json: String,
    tensors: Bytes,
    /// The body of a request without a deadline, and the length of its JSON.
    whole: (Bytes, usize),
    rows: Option<i64>,
}

impl RestTransport {
    /// A way to `address` (`host:port`), whose connections each open within `bound`.
    ///
    /// # Errors
    /// [`BenchError::Rest`] when nobody listens.
    pub async fn connect(address: &str, bound: Duration) -> Result<Self, BenchError> {
        let transport = Self { address: address.to_owned(), bound, idle: Mutex::new(Vec::new()) };
        let first = transport.open().await.map_err(|problem| transport.failed(problem))?;
        transport.keep(first);
        Ok(transport)
    }

    fn failed(&self, problem: String) -> BenchError {
        BenchError::Rest { address: self.address.clone(), problem }
    }

    fn keep(&self, connection: SendRequest<Full<Bytes>>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    async fn open(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let opening = async {
            let stream = TcpStream::connect(&self.address).await.map_err(|e| e.to_string())?;
            stream.set_nodelay(true).map_err(|e| e.to_string())?;
            handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())
        };
        let opened = tokio::time::timeout(self.bound, opening).await;
        let (sender, connection) = opened.unwrap_or_else(|_| Err("nothing answered".to_owned()))?;
        // It ends with its sender.
        tokio::spawn(connection);
        Ok(sender)
    }

    /// Sends on a connection that is free, or on a new one, and reads the whole answer.
    async fn call(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, String> {
        let free = || self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match free() {
            Some(connection) if !connection.is_closed() => connection,
            _ => self.open().await?,
        };
        connection.ready().await.map_err(|error| error.to_string())?;
        let response: Response<Incoming> =
            connection.send_request(request).await.map_err(|error| error.to_string())?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        self.keep(connection);
        Ok(Response::from_parts(head, body))
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(path).header(header::HOST, &self.address)
    }
}

fn path(model: &str, version: &str) -> String {
    match version {
        "" => format!("/v2/models/{model}"),
        version => format!("/v2/models/{model}/versions/{version}"),
    }
}

/// The body: JSON with the parameters, then the tensors; and the JSON's length.
fn body(json: &str, tensors: &[u8], timeout: Option<Duration>) -> (Bytes, usize) {
    let timeout = timeout.map_or_else(String::new, |t| format!(",\"timeout\":{}", t.as_micros()));
    let head = format!("{{\"parameters\":{{\"binary_data_output\":true{timeout}}},{json}");
    let length = head.len();
    let mut body = head.into_bytes();
    body.extend_from_slice(tensors);
    (body.into(), length)
}

impl Transport for RestTransport {
    type Message = RestMessage;

    fn name(&self) -> &'static str {
        "rest"
    }

    async fn inputs(&self, model: &str, version: &str) -> Result<Vec<ModelInput>, BenchError> {
        let request = self.request(Method::GET, &path(model, version)).body(Full::default());
        let request = request.map_err(|error| self.failed(error.to_string()))?;
        let response = self.call(request).await.map_err(|problem| self.failed(problem))?;
        let answer: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        if response.status() != StatusCode::OK {
            let text = answer["error"].as_str().unwrap_or("without a text");
            return Err(self.failed(format!("{}: {text}", response.status())));
        }
        let spec = |input: &Value| {
            Some(TensorSpec {
                name: input["name"].as_str()?.to_owned(),
                datatype: input["datatype"].as_str()?.parse().ok()?,
                shape: input["shape"]
                    .as_array()?
                    .iter()
                    .map(Value::as_i64)
                    .collect::<Option<_>>()?,
            })
        };
        let inputs = answer["inputs"].as_array();
        let inputs = inputs.and_then(|inputs| inputs.iter().map(spec).collect());
        inputs.ok_or_else(|| self.failed(format!("the metadata of {model} cannot be read")))
    }

    fn message(
        &self,
        model: &str,
        version: &str,
        inputs: Vec<NamedTensor>,
    ) -> Result<RestMessage, BenchError> {
        let rows = inputs.first().and_then(|input| input.tensor.shape.first());
        let rows = rows.and_then(|rows| i64::try_from(*rows).ok());
        let mut tensors = Vec::new();
        let described: Vec<Value> = inputs
            .iter()
            .map(|NamedTensor { name, tensor }| {
                tensors.extend_from_slice(&tensor.data);
                json!({
                    "name": name,
                    "datatype": tensor.datatype.name(),
                    "shape": tensor.shape,
                    "parameters": {"binary_data_size": tensor.data.len()},
                })
            })
            .collect();
        let json = format!("\"inputs\":{}}}", Value::from(described));
        let whole = body(&json, &tensors, None);
        let path = format!("{}/infer", path(model, version));
        Ok(RestMessage { path, json, tensors: tensors.into(), whole, rows })
    }

    async fn send(&self, _: usize, message: &RestMessage, deadline: Option<Duration>) -> Answered {
        let (body, json_length) = match deadline {
            None => message.whole.clone(),
            Some(_) => body(&message.json, &message.tensors, deadline),
        };
        let request = self
            .request(Method::POST, &message.path)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(JSON_LENGTH, json_length)
            .body(Full::new(body))
            .map_err(|_| Cow::Borrowed("MALFORMED_REQUEST"))?;
        let answer = self.call(request);
        let response = match deadline {
            None => answer.await,
            Some(deadline) => tokio::time::timeout(deadline, answer)
                .await
                .map_err(|_| Cow::Borrowed("DEADLINE_EXCEEDED"))?,
        };
        let response = response.map_err(|_| Cow::Borrowed("UNAVAILABLE"))?;
        match response.status() {
            StatusCode::OK if rows_of(&response) == message.rows => Ok(()),
            StatusCode::OK => Err(Cow::Borrowed("WRONG_NUMBER_OF_ROWS")),
            StatusCode::GATEWAY_TIMEOUT => Err(Cow::Borrowed("DEADLINE_EXCEEDED")),
            status => Err(Cow::Owned(format!("HTTP_{}", status.as_u16()))),
        }
    }
}

/// The first dimension of the first output.
fn rows_of(response: &Response<Bytes>) -> Option<i64> {
    let length = response.headers().get(JSON_LENGTH).and_then(|value| value.to_str().ok());
    let length = length.and_then(|text| text.parse().ok()).unwrap_or(response.body().len());
    let head: Value = serde_json::from_slice(response.body().get(..length)?).ok()?;
    head["outputs"][0]["shape"][0].as_i64()
}
