//! The small messages ↔ JSON, field by field as `proto/` names them.
//!
//! The compiled descriptors say what a message holds, so that a field which is added there is in the
//! JSON too. 64-bit integers are numbers and unset fields are shown, as Triton has it.
//! This file must never carry a tensor: it goes through a tree of values.

use std::sync::OnceLock;

use prost::{Message, Name};
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions,
};
use serde_json::Value;

use super::{JsonError, syntax};
use crate::proto::DESCRIPTORS;

/// The descriptors of `proto/`; empty if they cannot be read, which a test rules out.
pub(super) fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(DESCRIPTORS).unwrap_or_default())
}

fn descriptor<M: Name>() -> Option<MessageDescriptor> {
    pool().get_message_by_name(&M::full_name())
}

/// A message as JSON; `null` only if `proto/` does not have it.
pub fn to_json<M: Message + Name>(message: &M) -> Value {
    let Some(descriptor) = descriptor::<M>() else { return Value::Null };
    let mut dynamic = DynamicMessage::new(descriptor);
    if dynamic.transcode_from(message).is_err() {
        return Value::Null;
    }
    let options = SerializeOptions::new()
        .stringify_64_bit_integers(false)
        .use_proto_field_name(true)
        .skip_default_fields(false);
    dynamic.serialize_with_options(serde_json::value::Serializer, &options).unwrap_or_default()
}

/// The message that `text` says; nothing at all is the empty message. Unknown keys are passed over.
///
/// # Errors
/// [`JsonError::Syntax`].
pub fn from_json<M: Message + Name + Default>(text: &[u8]) -> Result<M, JsonError> {
    let Some(descriptor) = descriptor::<M>().filter(|_| !text.trim_ascii().is_empty()) else {
        return Ok(M::default());
    };
    let mut reader = serde_json::Deserializer::from_slice(text);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let dynamic = DynamicMessage::deserialize_with_options(descriptor, &mut reader, &options)
        .and_then(|message| reader.end().map(|()| message))
        .map_err(|error| syntax(&error, text))?;
    dynamic.transcode_to().map_err(|error| JsonError::Syntax(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::inference::model_metadata_response::TensorMetadata;
    use crate::proto::inference::{ModelMetadataResponse, RepositoryIndexRequest};

    #[test]
    fn messages_are_json_with_the_names_of_proto() {
        let message = ModelMetadataResponse {
            name: "mnist".to_owned(),
            inputs: vec![TensorMetadata {
                name: "image".to_owned(),
                datatype: "FP32".to_owned(),
                shape: vec![-1, 1 << 60],
            }],
            ..Default::default()
        };
        let json = to_json(&message);
        assert_eq!(json["inputs"][0]["shape"], serde_json::json!([-1, 1_i64 << 60]));
        assert_eq!(json["versions"], serde_json::json!([]));
    }

    #[test]
    fn nothing_is_an_empty_message_and_nonsense_is_told() {
        let empty: RepositoryIndexRequest = from_json(b" ").unwrap();
        assert!(!empty.ready);
        let ready: RepositoryIndexRequest =
            from_json(br#"{"ready": true, "more": [[[]]]}"#).unwrap();
        assert!(ready.ready);
        for bad in ["{", "[]", r#"{"ready": 3}"#, "{} {}"] {
            assert!(from_json::<RepositoryIndexRequest>(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
