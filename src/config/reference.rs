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
         Times are written as `\"15s\"`, `\"200ms\"`. Unknown keys are an error. What cannot \
         be read is reported first; of what can, every problem at once. This page is made from the types: `UPDATE=1 cargo test --test it \
         documents` rewrites it.\n"
    );
    for (section, property) in properties(&schema) {
        let described = resolve(&schema, property);
        let text = one_line(described.get("description").or(property.get("description")));
        let _ =
            write!(page, "\n## {section}\n{text}\n\n| key | default | meaning |\n|---|---|---|\n");
        let defaults = defaults.get(section);
        keys(&mut page, &schema, section, described, defaults.unwrap_or(&Value::Null));
    }
    page
}

/// A line for each key; a key that is a table of its own has a line for each of its keys.
fn keys(page: &mut String, schema: &Value, path: &str, table: &Value, defaults: &Value) {
    for (key, property) in properties(table) {
        let (path, default) = (format!("{path}.{key}"), defaults.get(key));
        let described = resolve(schema, property);
        if properties(described).next().is_some() && default.is_some_and(Value::is_object) {
            keys(page, schema, &path, described, default.unwrap_or(&Value::Null));
            continue;
        }
        let default = default.map_or_else(|| "–".to_owned(), |value| format!("`{value}`"));
        let text = one_line(property.get("description"));
        let _ = writeln!(page, "| `{path}` | {default} | {text} |");
    }
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
