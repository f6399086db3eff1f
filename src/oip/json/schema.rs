//! JSON Schemas (draft 2020-12, as OpenAPI 3.1 has them) of what this room reads and writes.
//!
//! Those of the small messages are made from the descriptors; the two of an inference, whose JSON is
//! not the messages' own, stand beside the code that reads and writes them.
//! This file must never promise what the code beside it does not do.

use std::collections::BTreeMap;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::reflect::pool;
use crate::domain::DataType;

/// The name of an inference request's schema.
pub const INFER_REQUEST: &str = "InferenceRequest";
/// The name of an inference answer's schema.
pub const INFER_RESPONSE: &str = "InferenceResponse";

/// A reference to a schema among the components.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// The schemas of a message of `proto/` and of all that it holds, by their short names.
pub fn message_schemas(message: &str) -> BTreeMap<String, Value> {
    let mut schemas = BTreeMap::new();
    if let Some(descriptor) = pool().get_message_by_name(message) {
        add(&descriptor, &mut schemas);
    }
    schemas
}

/// `inference.ModelMetadataResponse.TensorMetadata` → `ModelMetadataResponse.TensorMetadata`.
fn short(descriptor: &MessageDescriptor) -> String {
    let package = descriptor.package_name();
    descriptor.full_name().trim_start_matches(package).trim_start_matches('.').to_owned()
}

fn add(descriptor: &MessageDescriptor, schemas: &mut BTreeMap<String, Value>) {
    let name = short(descriptor);
    if schemas.contains_key(&name) {
        return;
    }
    // In its place before its fields are, so that a message that holds itself ends.
    schemas.insert(name.clone(), Value::Null);
    let properties: Map<String, Value> = descriptor
        .fields()
        .map(|field| (field.name().to_owned(), field_schema(&field, schemas)))
        .collect();
    schemas.insert(name, json!({ "type": "object", "properties": properties }));
}

fn field_schema(field: &FieldDescriptor, schemas: &mut BTreeMap<String, Value>) -> Value {
    if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
        let value = kind_schema(&entry.map_entry_value_field().kind(), schemas);
        return json!({ "type": "object", "additionalProperties": value });
    }
    let kind = kind_schema(&field.kind(), schemas);
    if field.is_list() {
        return json!({ "type": "array", "items": kind });
    }
    match field.kind() {
        // A message that is not set is null.
        Kind::Message(_) => json!({ "anyOf": [kind, { "type": "null" }] }),
        _ => kind,
    }
}

fn kind_schema(kind: &Kind, schemas: &mut BTreeMap<String, Value>) -> Value {
    match kind {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Double | Kind::Float => json!({ "type": "number" }),
        Kind::String => json!({ "type": "string" }),
        Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
        Kind::Enum(values) => {
            let names: Vec<String> = values.values().map(|value| value.name().to_owned()).collect();
            json!({ "enum": names })
        }
        Kind::Message(message) => {
            add(message, schemas);
            reference(&short(message))
        }
        _ => json!({ "type": "integer" }),
    }
}

/// The schemas of a request and an answer of `infer`, and of what they share.
pub fn infer_schemas() -> BTreeMap<String, Value> {
    let datatypes: Vec<&str> = DataType::ALL.iter().map(|datatype| datatype.name()).collect();
    let shape = json!({ "type": "array", "items": { "type": "integer", "minimum": 0 } });
    let tensor = |parameters: &str, required: &[&str]| {
        json!({
            "type": "object",
            "required": required,
            "properties": {
                "name": { "type": "string" },
                "datatype": { "enum": datatypes },
                "shape": shape,
                "parameters": { "allOf": [reference("Parameters")], "description": parameters },
                "data": reference("TensorData"),
            },
        })
    };
    let output = json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": { "type": "string" },
            "parameters": {
                "allOf": [reference("Parameters")],
                "description": "`binary_data`: answer this output's elements as bytes after the JSON.",
            },
        },
    });
    let schemas = [
        (
            "Parameters",
            json!({
                "type": "object",
                "additionalProperties": { "type": ["string", "number", "boolean", "null"] },
            }),
        ),
        (
            "TensorData",
            json!({
                "type": "array",
                "description": "The elements, flat and row-major, or nested as the shape is: \
                    numbers, for BOOL true and false, for BYTES texts. An answer is flat; a NaN or \
                    an infinity is null there and is refused in a request.",
                "items": {},
            }),
        ),
        (
            "RequestInput",
            tensor(
                "`binary_data_size`: how many of the bytes after the JSON are this input's \
                 elements, instead of `data`. `content_type: base64`: the texts of a BYTES tensor \
                 are base64.",
                &["name", "datatype", "shape"],
            ),
        ),
        ("RequestOutput", output),
        (
            "ResponseOutput",
            tensor(
                "`binary_data_size`: how many of the bytes after the JSON are this output's \
                 elements, instead of `data`. `content_type: base64`: the elements of a BYTES \
                 tensor are not all UTF-8, and are all base64.",
                &["name", "datatype", "shape"],
            ),
        ),
        (
            INFER_REQUEST,
            json!({
                "type": "object",
                "required": ["inputs"],
                "properties": {
                    "id": { "type": ["string", "null"] },
                    "parameters": {
                        "allOf": [reference("Parameters")],
                        "description": "`timeout`: microseconds within which the answer is of use. \
                            `binary_data_output`: answer outputs as bytes unless they say otherwise.",
                    },
                    "inputs": { "type": "array", "items": reference("RequestInput") },
                    "outputs": {
                        "type": ["array", "null"],
                        "items": reference("RequestOutput"),
                        "description": "The outputs wanted, in this order; none means all.",
                    },
                },
            }),
        ),
        (
            INFER_RESPONSE,
            json!({
                "type": "object",
                "required": ["model_name", "model_version", "outputs"],
                "properties": {
                    "model_name": { "type": "string" },
                    "model_version": { "type": "string" },
                    "id": { "type": "string" },
                    "parameters": reference("Parameters"),
                    "outputs": { "type": "array", "items": reference("ResponseOutput") },
                },
            }),
        ),
    ];
    schemas.map(|(name, schema)| (name.to_owned(), schema)).into()
}
