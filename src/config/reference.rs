//! The reference of all keys, made from the types: `docs/configuration.md`.
//!
//! Each section of the tree becomes a table of key, default and meaning.
//! This file must never describe a key by hand.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Config, ENVIRONMENT_PREFIX};

/// The JSON Schema of the configuration file.
pub fn json_schema() -> Value {
    schemars::schema_for!(Config).to_value()
}

/// The reference as Markdown.
pub fn markdown() -> String {
    let schema = json_schema();
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let mut page = format!(
        "# Configuration\n\n\
         `hilum serve --config FILE` reads TOML. The environment wins over the file and flags win \
         over both; the environment's name of `section.key` is `{ENVIRONMENT_PREFIX}SECTION__KEY`. \
         Times are written as `\"15s\"`, `\"200ms\"`. Unknown keys are an error, and every problem \
         is reported at once. This page is made from the types: `UPDATE=1 cargo test --test it \
         documents` rewrites it.\n"
    );
    for (section, property) in properties(&schema) {
        let described = resolve(&schema, property);
        let text = one_line(described.get("description").or(property.get("description")));
        let _ =
            write!(page, "\n## {section}\n{text}\n\n| key | default | meaning |\n|---|---|---|\n");
        for (key, property) in properties(described) {
            let default = defaults.get(section).and_then(|section| section.get(key));
            let default = default.map_or_else(|| "–".to_owned(), |value| format!("`{value}`"));
            let text = one_line(property.get("description"));
            let _ = writeln!(page, "| `{section}.{key}` | {default} | {text} |");
        }
    }
    page
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let reference = schema.get("$ref").and_then(Value::as_str);
    reference.and_then(|path| root.pointer(path.trim_start_matches('#'))).unwrap_or(schema)
}

fn one_line(text: Option<&Value>) -> String {
    text.and_then(Value::as_str).unwrap_or_default().replace('\n', " ")
}
