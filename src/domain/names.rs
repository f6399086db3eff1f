//! Names of models and versions, checked once when they come in.
//!
//! A name that exists as a value is safe to put into a path, a metric label and a log line.
//! This file must never resolve a name: that is the catalog's.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The alias that an empty version means.
pub const CHAMPION: &str = "champion";

const MAX_NAME_BYTES: usize = 128;

/// A text that is no name or version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty, too long, or with characters that do not belong in a path.
    #[error(
        "'{}' is not a model name: 1 to {MAX_NAME_BYTES} of A-Z a-z 0-9 '.' '_' '-' are expected, \
         beginning with a letter or digit, without '..'",
        .0.escape_debug()
    )]
    Model(String),
    /// Not an integer as text.
    #[error(
        "'{}' is not a version: an integer as text from 1 to {} is expected, without leading zeros",
        .0.escape_debug(), u64::MAX
    )]
    Version(String),
    /// Neither an integer as text nor an alias.
    #[error(
        "'{}' is not a version: an integer as text (\"2\"), the alias \"{CHAMPION}\", or nothing \
         (which means that alias) is expected",
        .0.escape_debug()
    )]
    Selector(String),
}

/// The name of a model: also the name of its folder, and a label of metrics.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ModelName(Arc<str>);

impl ModelName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ModelName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let good = !text.is_empty()
            && text.len() <= MAX_NAME_BYTES
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(plain)
            && !text.contains("..");
        if good { Ok(Self(text.into())) } else { Err(NameError::Model(shortened(text))) }
    }
}

impl TryFrom<String> for ModelName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ModelName> for String {
    fn from(name: ModelName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl Borrow<str> for ModelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The version of a model: an integer as text, as Triton and MLflow have it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ModelVersion(u64);

impl ModelVersion {
    /// The version as a number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl FromStr for ModelVersion {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.parse::<u64>().ok().filter(|n| *n > 0);
        match number {
            // "07" and "+7" would be second names of one folder.
            Some(n) if n.to_string() == text => Ok(Self(n)),
            _ => Err(NameError::Version(shortened(text))),
        }
    }
}

impl TryFrom<String> for ModelVersion {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ModelVersion> for String {
    fn from(version: ModelVersion) -> Self {
        version.to_string()
    }
}

impl fmt::Display for ModelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which version a caller asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionSelector {
    /// The version that the alias `champion` points to; an empty text means it too.
    Champion,
    /// Exactly this version.
    Exact(ModelVersion),
}

impl FromStr for VersionSelector {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" | CHAMPION => Ok(Self::Champion),
            other => {
                other.parse().map(Self::Exact).map_err(|_| NameError::Selector(shortened(other)))
            }
        }
    }
}

/// By which way a request came to its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    /// The alias `champion`.
    Champion,
    /// A share of the champion's requests that a candidate answers.
    Canary,
    /// A copy of a request, whose answer is not returned.
    Shadow,
    /// A canary's request asked of the champion too, whose answer is not returned.
    Mirror,
    /// The caller named the version.
    Pinned,
}

impl Route {
    /// Every route.
    pub const ALL: [Route; 5] =
        [Route::Champion, Route::Canary, Route::Shadow, Route::Mirror, Route::Pinned];

    /// The label of metrics and records.
    pub const fn name(self) -> &'static str {
        match self {
            Route::Champion => "champion",
            Route::Canary => "canary",
            Route::Shadow => "shadow",
            Route::Mirror => "mirror",
            Route::Pinned => "pinned",
        }
    }
}

/// Keeps an error's text small whatever a caller sent.
fn shortened(text: &str) -> String {
    if text.chars().count() <= MAX_NAME_BYTES {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(MAX_NAME_BYTES).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_what_would_leave_the_folder() {
        for bad in ["", "..", "../x", "a/b", "a\\b", ".hidden", "-x", "a..b", "ü", "a b", "a\0"] {
            assert!(bad.parse::<ModelName>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(129).parse::<ModelName>().is_err());
        assert!("mnist-2_b.image".parse::<ModelName>().is_ok());
    }

    #[test]
    fn versions_have_one_spelling() {
        for bad in ["0", "01", "+1", "-1", "1.0", " 1", "99999999999999999999"] {
            assert!(bad.parse::<ModelVersion>().is_err(), "{bad:?}");
        }
        assert_eq!("2".parse::<ModelVersion>().unwrap().number(), 2);
        assert_eq!("".parse(), Ok(VersionSelector::Champion));
        assert_eq!("champion".parse(), Ok(VersionSelector::Champion));
    }

    proptest! {
        #[test]
        fn a_name_is_a_single_path_component(text in ".{0,40}") {
            if let Ok(name) = text.parse::<ModelName>() {
                let path = std::path::Path::new(name.as_str());
                prop_assert_eq!(path.components().count(), 1);
                prop_assert_eq!(path.file_name().and_then(|n| n.to_str()), Some(name.as_str()));
            }
        }
    }
}
