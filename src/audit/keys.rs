//! Keyed hashes: what stands in the record for inputs, studies and callers, and the keys for them.
//!
//! A key is used from the ISO week that its file names until the next one's; retired keys stay in the
//! file, so that a file's records are still found. A hash is HMAC-SHA-256 (RFC 2104) over fields that
//! each begin with their length.
//! This file must never let a key be printed or logged.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;

use super::time::{IsoWeek, Micros};
use crate::domain::{Digest, Tensor};

/// The first field of every hash: another use of the key would begin otherwise.
const DOMAIN: &[u8] = b"hilum1";
/// Who asks where nobody has said who it is.
pub const ANONYMOUS: &str = "anonymous";
/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// The name of a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(Arc<str>);

/// A text that names no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is not a key's id: 1 to 64 of A-Z a-z 0-9 '.' '_' '-' are expected", .0.escape_debug())]
pub struct KeyIdError(String);

impl KeyId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let good = (1..=64).contains(&text.len()) && text.bytes().all(plain);
        match good {
            true => Ok(Self(text.into())),
            false => Err(KeyIdError(text.chars().take(64).collect())),
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error("the audit's keys {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file says something wrong.
    #[error("the audit's keys {}: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What, and what was expected.
        problem: String,
    },
}

/// One key.
#[derive(Clone)]
pub struct HmacKey {
    id: KeyId,
    from: Option<IsoWeek>,
    mac: Hmac<Sha256>,
}

impl fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HmacKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl HmacKey {
    /// A key of 32 bytes.
    pub fn new(id: KeyId, from: Option<IsoWeek>, secret: &[u8; KEY_BYTES]) -> Self {
        // HMAC fills a key up to its block with zeros (RFC 2104, section 2).
        let mut block = [0; 64];
        block[..KEY_BYTES].copy_from_slice(secret);
        Self { id, from, mac: Hmac::new(&block.into()) }
    }

    /// Its name.
    pub const fn id(&self) -> &KeyId {
        &self.id
    }

    fn hash(&self, fields: &[&[u8]]) -> Digest {
        let mut mac = self.mac.clone();
        for field in [DOMAIN].iter().chain(fields) {
            mac.update(&(field.len() as u64).to_le_bytes());
            mac.update(field);
        }
        Digest::from_bytes(mac.finalize().into_bytes().into())
    }

    /// The hash of an image's file: its bytes as they came, the same by every path.
    pub fn file(&self, bytes: &[u8]) -> Digest {
        self.hash(&[b"image", b"", b"", bytes])
    }

    /// The hash of one row of tensors, which stand in the order of the model's inputs; `has_rows` says
    /// whether the first dimension is rows, which is then left out of the shape.
    pub fn tensors(&self, inputs: &[Tensor], has_rows: bool) -> Digest {
        let shapes: Vec<String> = inputs
            .iter()
            .map(|input| {
                let dims = input.shape.iter().skip(usize::from(has_rows));
                dims.map(ToString::to_string).collect::<Vec<_>>().join(",")
            })
            .collect();
        let mut fields: Vec<&[u8]> = vec![b"tensor"];
        for (input, shape) in inputs.iter().zip(&shapes) {
            fields.extend([input.datatype.name().as_bytes(), shape.as_bytes(), &input.data]);
        }
        self.hash(&fields)
    }

    /// The hash of a study's id.
    pub fn study(&self, id: &str) -> Digest {
        self.hash(&[b"study", id.as_bytes()])
    }
}

/// The keys of a file.
#[derive(Debug, Clone)]
pub struct KeyRing {
    /// At least one, each from a later week than the one before.
    keys: Vec<HmacKey>,
    /// Salts of principals, in the order of the names.
    salts: Vec<(String, Vec<u8>)>,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    key: Vec<KeyEntry>,
    #[serde(default)]
    salt: Vec<SaltEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    id: String,
    secret: String,
    from_week: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SaltEntry {
    principal: String,
    salt: String,
}

impl KeyRing {
    /// A ring of one key, for tests and tools.
    pub fn of(key: HmacKey) -> Self {
        Self { keys: vec![key], salts: Vec::new() }
    }

    /// The keys of `path`.
    ///
    /// # Errors
    /// [`KeyError`]; no part of a secret is in its text.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |error| KeyError::File { path: path.to_owned(), error };
        let text = fs::read_to_string(path).map_err(failed)?;
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
        if mode & 0o004 != 0 {
            let path = path.display();
            tracing::warn!(%path, "the audit's keys can be read by every user of this machine: chmod o= FILE");
        }
        let ring = Self::parse(&text);
        ring.map_err(|problem| KeyError::Content { path: path.to_owned(), problem })
    }

    /// The keys of `path`, which is made with a new one where it is not there.
    ///
    /// # Errors
    /// As [`KeyRing::read`], or that the file cannot be made.
    pub fn read_or_make(path: &Path) -> Result<Self, KeyError> {
        let failed = |error| KeyError::File { path: path.to_owned(), error };
        match fs::exists(path) {
            Ok(true) => {}
            Ok(false) => make(path).map_err(failed)?,
            Err(error) => return Err(failed(error)),
        }
        Self::read(path)
    }

    fn parse(text: &str) -> Result<Self, String> {
        // The parser's own message would quote the line, with the secret in it.
        let file: KeyFile = toml::from_str(text).map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
            format!(
                "line {line} or near it is not [[key]] with id, secret and from_week, or [[salt]] \
                 with principal and salt"
            )
        })?;
        let mut keys: Vec<HmacKey> = Vec::with_capacity(file.key.len());
        for KeyEntry { id, secret, from_week } in file.key {
            let id: KeyId = id.parse().map_err(|error: KeyIdError| error.to_string())?;
            let mut bytes = [0; KEY_BYTES];
            hex::decode_to_slice(&secret, &mut bytes)
                .map_err(|_| format!("key {id}: secret is not 64 hexadecimal digits"))?;
            let from = from_week.map(|week| week.parse::<IsoWeek>()).transpose();
            let from = from.map_err(|error| format!("key {id}: from_week: {error}"))?;
            if keys.iter().any(|key| key.id == id) {
                return Err(format!("key {id} is there twice"));
            }
            // `None` is the smallest: only the first may leave its week out.
            if keys.last().is_some_and(|before| before.from >= from) {
                return Err(format!(
                    "key {id}: from_week must be later than that of the key before"
                ));
            }
            keys.push(HmacKey::new(id, from, &bytes));
        }
        if keys.is_empty() {
            return Err("there is no [[key]]".to_owned());
        }
        let salts = file.salt.into_iter().map(|SaltEntry { principal, salt }| {
            let salt = hex::decode(&salt).map_err(|_| "a salt is not hexadecimal".to_owned())?;
            Ok((principal, salt))
        });
        let mut salts = salts.collect::<Result<Vec<_>, String>>()?;
        salts.sort();
        if let Some(pair) = salts.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(format!("principal {} has two salts", pair[0].0));
        }
        Ok(Self { keys, salts })
    }

    /// The key that is used at `now`: that of the last week that has begun, or else the first.
    pub fn at(&self, now: Micros) -> &HmacKey {
        let week = now.week();
        let begun = self.keys.iter().rev().find(|key| key.from.is_none_or(|from| from <= week));
        begun.unwrap_or(&self.keys[0])
    }

    /// All keys, the oldest first.
    pub fn all(&self) -> &[HmacKey] {
        &self.keys
    }

    /// The hash of a principal by `key`. Its salt goes in where the file has one: without the salt the
    /// name leads to no row any more.
    pub fn principal(&self, key: &HmacKey, name: &str) -> Digest {
        let place = self.salts.binary_search_by(|(principal, _)| principal.as_str().cmp(name));
        let salt = place.ok().and_then(|place| self.salts.get(place));
        let salt = salt.map_or(&[][..], |(_, salt)| salt.as_slice());
        key.hash(&[b"principal", salt, name.as_bytes()])
    }
}

/// Writes a file with one new key, readable by its owner alone; another process may be quicker.
fn make(path: &Path) -> io::Result<()> {
    let mut secret = [0; KEY_BYTES];
    getrandom::fill(&mut secret).map_err(io::Error::other)?;
    let text = format!(
        "# Keys of the audit's keyed hashes. Keep them as long as the records: without them no file\n\
         # can be found in the record again. A further [[key]] takes a later from_week, as in\n\
         # \"2026-W49\".\n[[key]]\nid = \"k1\"\nsecret = \"{}\"\n",
        hex::encode(secret)
    );
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let draft = path.with_extension(format!("partial-{:016x}", fastrand::u64(..)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    // A link fails where the name is taken: the first process wins and all read its key.
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    fs::File::open(folder)?.sync_all()?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
