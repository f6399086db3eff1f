//! Tables that name their kind by a key, such as `op = "resize"`, with errors that name the field.
//!
//! serde's own tagged enums read the whole table into a buffer first, so that an error says what
//! was expected and not where. Here the key is taken out and the rest read as that variant, by
//! path. This file must never know what a table means.

use serde::de::DeserializeOwned;
use serde::{Deserialize as _, Deserializer, Serialize, Serializer};

/// Reads a table whose `tag` names a variant of `T` and whose other keys are that variant's fields.
///
/// # Errors
/// The path of the field within the table and what is wrong with it.
pub(super) fn read<T: DeserializeOwned>(tag: &str, mut table: toml::Table) -> Result<T, String> {
    let kind = match table.remove(tag) {
        Some(toml::Value::String(kind)) => kind,
        Some(_) => return Err(format!("{tag}: a text is expected")),
        None => return Err(format!("{tag} is missing")),
    };
    let variant: toml::Table = [(kind, toml::Value::Table(table))].into_iter().collect();
    serde_path_to_error::deserialize(variant).map_err(|error| {
        // The path begins with the variant that was made up above.
        let path = error.path().to_string();
        let field = path.split_once('.').map_or("", |(_, field)| field);
        let problem = error.inner().message().to_owned();
        match field {
            "" if problem.starts_with("unknown variant") => format!("{tag}: {problem}"),
            "" => problem,
            field => format!("{field}: {problem}"),
        }
    })
}

/// Reads a field of that kind, with an error in the reader's own words.
pub(super) fn deserialize<'de, T, D>(tag: &str, deserializer: D) -> Result<T, D::Error>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    let toml::Value::Table(table) = toml::Value::deserialize(deserializer)? else {
        return Err(serde::de::Error::custom(format!("a table with {tag} = \"…\" is expected")));
    };
    read(tag, table).map_err(serde::de::Error::custom)
}

/// Writes a variant as a table that names it by `tag`.
pub(super) fn serialize<S: Serializer>(
    tag: &'static str,
    value: &impl Serialize,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    flat(tag, value).map_err(serde::ser::Error::custom)?.serialize(serializer)
}

/// The table of a variant. Through text, so that 0.4 as f32 stays 0.4.
pub(super) fn flat(
    tag: &'static str,
    value: &impl Serialize,
) -> Result<serde_json::Map<String, serde_json::Value>, serde_json::Error> {
    let text = serde_json::to_string(value)?;
    let variant: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text)?;
    let mut table = serde_json::Map::new();
    for (kind, fields) in variant {
        table.insert(tag.to_owned(), kind.into());
        if let serde_json::Value::Object(fields) = fields {
            table.extend(fields);
        }
    }
    Ok(table)
}
