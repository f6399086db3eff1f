//! Triton's JSON of shared-memory regions, log settings and trace settings ↔ the messages.
//!
//! It is not the messages' own: lists instead of maps of regions, settings without their wrappers.
//! This file must never accept a value in the place of another type.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Value, json};

use super::{JsonError, syntax, to_json};
use crate::oip::shown;
use crate::proto::inference::log_settings_request::SettingValue as GivenLog;
use crate::proto::inference::log_settings_request::setting_value::ParameterChoice as Given;
use crate::proto::inference::log_settings_response::setting_value::ParameterChoice as Said;
use crate::proto::inference::trace_setting_request::SettingValue as GivenTrace;
use crate::proto::inference::{
    CudaSharedMemoryStatusResponse, LogSettingsRequest, LogSettingsResponse,
    SystemSharedMemoryRegisterRequest, SystemSharedMemoryStatusResponse, TraceSettingRequest,
    TraceSettingResponse,
};

/// The name of the schema of a region to register.
pub const REGION: &str = "RegionRegistration";
/// The name of the schema of a CUDA region to register.
pub const CUDA_REGION: &str = "CudaRegionRegistration";
/// The name of the log settings' schema.
pub const LOG_SETTINGS: &str = "LogSettings";
/// The name of the trace settings' schema.
pub const TRACE_SETTINGS: &str = "TraceSettings";

/// The one setting that Triton says as a list.
const TRACE_LEVEL: &str = "trace_level";

fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonError> {
    serde_json::from_slice(text).map_err(|error| syntax(&error, text))
}

/// A body that registers the region `name`: its `key`, its `byte_size`, and its `offset` (0 if there
/// is none), both in bytes.
///
/// # Errors
/// [`JsonError::Syntax`].
pub fn region_from_json(
    text: &[u8],
    name: &str,
) -> Result<SystemSharedMemoryRegisterRequest, JsonError> {
    #[derive(Deserialize)]
    #[serde(expecting = "an object with a region's key and byte_size")]
    struct Registration {
        key: String,
        #[serde(default)]
        offset: u64,
        byte_size: u64,
    }
    let Registration { key, offset, byte_size } = read(text)?;
    Ok(SystemSharedMemoryRegisterRequest { name: name.to_owned(), key, offset, byte_size })
}

/// Regions as a list in the order of their names.
pub fn regions_to_json(status: &SystemSharedMemoryStatusResponse) -> Value {
    let regions: BTreeMap<_, _> = status.regions.iter().collect();
    regions.values().map(|region| to_json(*region)).collect()
}

/// The same of CUDA's regions.
pub fn cuda_regions_to_json(status: &CudaSharedMemoryStatusResponse) -> Value {
    let regions: BTreeMap<_, _> = status.regions.iter().collect();
    regions.values().map(|region| to_json(*region)).collect()
}

/// A body of log settings; `null` and what is not named stay as they are.
///
/// # Errors
/// [`JsonError::Syntax`].
pub fn log_settings_from_json(text: &[u8]) -> Result<LogSettingsRequest, JsonError> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "a text, a whole number of 32 bits, true, false or null is expected"
    )]
    enum Setting {
        Switch(bool),
        Number(u32),
        Text(String),
    }
    let settings: Settings<Option<Setting>> = read(text)?;
    let message = |setting: Option<Setting>| GivenLog {
        parameter_choice: setting.map(|setting| match setting {
            Setting::Switch(switch) => Given::BoolParam(switch),
            Setting::Number(number) => Given::Uint32Param(number),
            Setting::Text(text) => Given::StringParam(text),
        }),
    };
    let settings = settings.0.into_iter().map(|(name, setting)| (name, message(setting)));
    Ok(LogSettingsRequest { settings: settings.collect() })
}

/// Log settings, each a text, a number or a switch.
pub fn log_settings_to_json(settings: &LogSettingsResponse) -> Value {
    let value = |choice: &Option<Said>| match choice {
        Some(Said::BoolParam(switch)) => json!(switch),
        Some(Said::Uint32Param(number)) => json!(number),
        Some(Said::StringParam(text)) => json!(text),
        None => Value::Null,
    };
    let settings = settings.settings.iter();
    settings.map(|(name, setting)| (name.clone(), value(&setting.parameter_choice))).collect()
}

/// A body of trace settings of a model, or of all with an empty name; `null` is the setting that the
/// service was started with.
///
/// # Errors
/// [`JsonError::Syntax`].
pub fn trace_settings_from_json(
    text: &[u8],
    model: &str,
) -> Result<TraceSettingRequest, JsonError> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a text, a whole number, a list of texts or null is expected")]
    enum Setting {
        Text(String),
        Number(i64),
        List(Vec<String>),
    }
    let settings: Settings<Option<Setting>> = read(text)?;
    let message = |setting: Option<Setting>| GivenTrace {
        value: match setting {
            None => Vec::new(),
            Some(Setting::Text(text)) => vec![text],
            Some(Setting::Number(number)) => vec![number.to_string()],
            Some(Setting::List(texts)) => texts,
        },
    };
    let settings = settings.0.into_iter().map(|(name, setting)| (name, message(setting)));
    Ok(TraceSettingRequest { settings: settings.collect(), model_name: model.to_owned() })
}

/// Trace settings: the level a list of texts, the others a text each.
pub fn trace_settings_to_json(settings: &TraceSettingResponse) -> Value {
    let value = |name: &str, value: &[String]| match value {
        [one] if name != TRACE_LEVEL => json!(one),
        list => json!(list),
    };
    let settings = settings.settings.iter();
    settings.map(|(name, setting)| (name.clone(), value(name, &setting.value))).collect()
}

/// An object of settings. A name that comes twice is refused, and a wrong value says its name.
struct Settings<V>(BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Settings<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SettingsVisitor(PhantomData))
    }
}

struct SettingsVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for SettingsVisitor<V> {
    type Value = Settings<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Settings<V>, A::Error> {
        let mut settings = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value();
            let value = value.map_err(|error| {
                A::Error::custom(format!("setting '{}': {error}", shown(&name)))
            })?;
            if settings.contains_key(&name) {
                return Err(A::Error::custom(format!("duplicate setting `{}`", shown(&name))));
            }
            settings.insert(name, value);
        }
        Ok(Settings(settings))
    }
}

/// The schemas of these bodies and answers, by their names.
pub fn extension_schemas() -> BTreeMap<String, Value> {
    let bytes = json!({ "type": "integer", "minimum": 0 });
    let text = json!({ "type": ["string", "null"] });
    let switch = json!({ "type": ["boolean", "null"] });
    let traces = json!({ "type": ["string", "integer", "null"] });
    let schemas = [
        (
            REGION,
            json!({
                "type": "object",
                "required": ["key", "byte_size"],
                "properties": {
                    "key": { "type": "string", "description": "As given to shm_open." },
                    "offset": bytes,
                    "byte_size": { "type": "integer", "minimum": 1 },
                },
            }),
        ),
        (
            CUDA_REGION,
            json!({
                "type": "object",
                "required": ["raw_handle", "byte_size"],
                "properties": {
                    "raw_handle": {
                        "type": "object",
                        "required": ["b64"],
                        "properties": { "b64": { "type": "string", "contentEncoding": "base64" } },
                    },
                    "device_id": { "type": "integer" },
                    "byte_size": bytes,
                },
            }),
        ),
        (
            LOG_SETTINGS,
            json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "log_error": switch,
                    "log_warning": switch,
                    "log_info": switch,
                    "log_verbose_level": {
                        "type": ["integer", "null"], "minimum": 0,
                        "description": "1: debug, 2 or more: trace.",
                    },
                    "log_file": text,
                    "log_format": text,
                },
            }),
        ),
        (
            TRACE_SETTINGS,
            json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    TRACE_LEVEL: {
                        "type": ["array", "string", "null"], "items": { "type": "string" },
                    },
                    "trace_rate": traces,
                    "trace_count": traces,
                    "log_frequency": traces,
                    "trace_mode": text,
                },
            }),
        ),
    ];
    schemas.map(|(name, schema)| (name.to_owned(), schema)).into()
}
