//! `/openapi.json`: the operations as an OpenAPI 3.1 document.
//!
//! Paths come from the table of operations, schemas from the descriptors of `proto/` and from beside
//! the code that reads and writes JSON.
//! This file must never describe an operation by hand.

use std::collections::BTreeMap;

use axum::Json;
use serde_json::{Map, Value, json};

use super::operations::{OPERATIONS, Operation, Schema};
use super::predict::OPTIONS;
use crate::oip::json::extensions::extension_schemas;
use crate::oip::json::{infer_schemas, message_schemas};

const ABOUT: &str = "The Open Inference Protocol v2 with Triton's extensions. Elements travel as \
                     JSON or, by the binary tensor data extension, as little-endian bytes after the \
                     JSON, whose length the header Inference-Header-Content-Length then states. \
                     Bodies may be compressed by gzip, deflate or zstd. A file of an image is \
                     answered by POST /api/v1/predict, and by the models that end in .image. \
                     gRPC-Web is served on the same port under \
                     /inference.GRPCInferenceService and /hilum.v1.Vision.";

/// Answers with the document.
pub async fn serve() -> Json<Value> {
    Json(openapi())
}

/// The document.
pub fn openapi() -> Value {
    let mut schemas = infer_schemas();
    schemas.extend(extension_schemas());
    schemas.insert(
        "Error".to_owned(),
        json!({
            "type": "object",
            "required": ["error"],
            "properties": { "error": { "type": "string" } },
        }),
    );
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in OPERATIONS {
        for schema in operation.takes.iter().chain([&operation.gives]) {
            if let Schema::Message(message) | Schema::List(message) = schema {
                schemas.extend(message_schemas(message));
            }
        }
        let path = paths.entry(operation.path).or_default();
        path.insert(operation.method.to_owned(), described(operation));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Hilum",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": env!("CARGO_PKG_DESCRIPTION"),
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "servers": [{ "url": "http://127.0.0.1:8000" }],
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

/// What `x-audit-id` is.
const RECORDED: &str = "The request's number in the record, where it has rows there.";

fn described(operation: &Operation) -> Value {
    let mut parameters: Vec<Value> = operation
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
        })
        .collect();
    if matches!(operation.takes, Some(Schema::Infer(_))) {
        parameters.push(json!({
            "name": "Inference-Header-Content-Length", "in": "header",
            "description": "Bytes of the JSON; binary tensor data follows it.",
            "schema": length(),
        }));
    }
    if matches!(operation.takes, Some(Schema::Image)) {
        parameters.extend(OPTIONS.iter().map(|(name, kind, about)| {
            json!({ "name": name, "in": "query", "description": about, "schema": { "type": kind } })
        }));
    }
    if matches!(operation.takes, Some(Schema::Image | Schema::Infer(_))) {
        parameters.push(json!({
            "name": "idempotency-key", "in": "header", "schema": { "type": "string" },
            "description": "A repeat with the same key and body gets the same answer.",
        }));
    }
    let mut answers = json!({
        "200": answer("The answer", &operation.gives),
        "default": {
            "description": "Why there is no answer",
            "content": { "application/json": { "schema": reference("Error") } },
        },
    });
    if matches!(operation.takes, Some(Schema::Image | Schema::Infer(_))) {
        answers["default"]["headers"] = json!({
            "x-audit-id": { "description": RECORDED, "schema": { "type": "string" } },
        });
    }
    if operation.is_probe {
        answers["503"] = answer("Not ready, or why", &operation.gives);
    }
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "responses": answers,
    });
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if let Some(takes) = &operation.takes {
        let required = matches!(takes, Schema::Infer(_) | Schema::Extension(_) | Schema::Image);
        described["requestBody"] = json!({ "required": required, "content": content(takes) });
    }
    described
}

fn answer(description: &str, schema: &Schema) -> Value {
    let mut answer = json!({ "description": description, "content": content(schema) });
    if matches!(schema, Schema::Infer(_)) {
        answer["headers"] = json!({
            "x-model-version": {
                "description": "The version that answered.", "schema": { "type": "string" },
            },
            "x-audit-id": { "description": RECORDED, "schema": { "type": "string" } },
            "server-timing": {
                "description": "Where the time went, in milliseconds.",
                "schema": { "type": "string" },
            },
            "Inference-Header-Content-Length": {
                "description": "Bytes of the JSON, where binary tensor data follows it.",
                "schema": length(),
            },
        });
    }
    answer
}

fn content(schema: &Schema) -> Value {
    let short = |message: &str| {
        let packages = ["inference.", "hilum.v1."];
        let name = packages.iter().find_map(|package| message.strip_prefix(package));
        reference(name.unwrap_or(message))
    };
    let json = match schema {
        Schema::Message(message) => short(message),
        Schema::List(message) => json!({ "type": "array", "items": short(message) }),
        Schema::Infer(name) | Schema::Extension(name) => reference(name),
        Schema::Parameters => json!({
            "type": "object",
            "properties": { "parameters": reference("Parameters") },
        }),
        Schema::Object => json!({ "type": "object" }),
        Schema::Image => return image_content(),
    };
    let mut content = json!({ "application/json": { "schema": json } });
    if matches!(schema, Schema::Infer(_)) {
        content["application/octet-stream"] = json!({});
    }
    content
}

/// A file as it is, or a form with the file and the options.
fn image_content() -> Value {
    let mut fields: Map<String, Value> = OPTIONS
        .iter()
        .map(|(name, kind, about)| {
            ((*name).to_owned(), json!({ "type": kind, "description": about }))
        })
        .collect();
    fields.insert("image".to_owned(), json!({ "type": "string", "format": "binary" }));
    let form = json!({ "type": "object", "required": ["image"], "properties": fields });
    json!({
        "application/octet-stream": {},
        "application/dicom": {},
        "image/jpeg": {},
        "image/png": {},
        "multipart/form-data": { "schema": form },
    })
}

fn length() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}
