//! Keys of objects: names in parts, the same in a folder and in a bucket.
//!
//! A text goes in, a key that cannot lead elsewhere comes out.
//! This file must never let a part through that a file system reads as a way up.

use std::fmt;
use std::str::FromStr;

/// Bytes of a key at most, the bound of Amazon S3.
const MAX_BYTES: usize = 1024;
/// Bytes of one part at most, the bound of Linux file systems less what a file in the making adds.
const MAX_PART: usize = 200;

/// The name of an object: parts of letters, digits and `-_.=:`, with `/` between them. No part is empty
/// or begins with a dot. What a store lists may be called otherwise: others may have put it there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

/// A text that is no key.
#[derive(Debug, thiserror::Error)]
#[error(
    "'{}' is no key of an object: parts of letters, digits and -_.=: are expected, with / between them, \
     none empty or with a dot in front, {MAX_PART} bytes a part and {MAX_BYTES} in all",
    .0.escape_debug()
)]
pub struct KeyError(String);

impl ObjectKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name as a store lists it, whoever gave it; `None` where a part is a way up.
    pub(super) fn listed(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && !text.split('/').any(|part| part == "..");
        fits.then(|| Self(text.to_owned()))
    }
}

impl FromStr for ObjectKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |part: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.=:".contains(&byte);
            !part.is_empty()
                && part.len() <= MAX_PART
                && !part.starts_with('.')
                && part.bytes().all(plain)
        };
        if text.len() <= MAX_BYTES && text.split('/').all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(KeyError(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_lead_elsewhere_is_no_key() {
        for key in ["audit/model=mnist/dt=2026-11-28/a-0-9.parquet", "a", "a:b/c"] {
            assert_eq!(key.parse::<ObjectKey>().unwrap().as_str(), key);
        }
        let long = "a/".repeat(600) + "a";
        for text in ["", "/a", "a/", "a//b", "..", "a/../b", ".a", "a b", "a\\b", "ü", "a\0", &long]
        {
            assert!(text.parse::<ObjectKey>().is_err(), "{text:?}");
        }
    }
}
