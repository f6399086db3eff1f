//! Manifests: what of a chain is in the store, sealed by hashes and a signature.
//!
//! A manifest covers consecutive rows and names every file that holds them, with its digest; it names the
//! manifest before it by its digest. It is JSON in one spelling (RFC 8785), so that it can be signed and
//! hashed as it lies there.
//! This file must never believe a manifest that is spelt in another way.

use serde::{Deserialize, Serialize};

use super::record::ChainId;
use super::signing::{ManifestKey, SigningError, verify};
use super::time::Micros;
use crate::domain::Digest;
use crate::store::ObjectKey;

/// The version of the manifest's own format.
pub const MANIFEST_FORMAT: u32 = 1;

/// Bytes of a manifest at most.
pub(super) const MAX_MANIFEST: u64 = 16 << 20;

/// A file of rows.
///
/// Fields stand in the order of their names, as RFC 8785 wants them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// Its length.
    pub bytes: u64,
    /// The number of its first row.
    pub first: u64,
    /// Its key in the store.
    pub key: String,
    /// The number of its last row.
    pub last: u64,
    /// How many rows it has.
    pub rows: u64,
    /// Its digest.
    pub sha256: Digest,
}

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The chain.
    pub chain: String,
    /// The files, in the order of their keys.
    pub files: Vec<ManifestFile>,
    /// The number of the first row.
    pub first: u64,
    /// [`MANIFEST_FORMAT`].
    pub format: u32,
    /// The number of the last row.
    pub last: u64,
    /// The hash of the last row.
    pub last_hash: Digest,
    /// The Merkle root over the rows' hashes (RFC 9162).
    pub merkle_root: Digest,
    /// Its own number, from 0.
    pub number: u64,
    /// The hash of the row before the first; 32 zero bytes where there is none.
    pub prev_hash: Digest,
    /// The digest of the manifest before; `None` of the first.
    pub previous: Option<Digest>,
    /// How many rows there are.
    pub rows: u64,
    /// The version of the rows' schema.
    pub schema: u32,
    /// When the segment was sealed that the rows come from, in µs.
    pub sealed_at: i64,
    /// The signature (Ed25519, RFC 8032) by `signing_key` over the manifest without this member, in
    /// hexadecimal digits; `None` = it is not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The public key, in hexadecimal digits.
    pub signing_key: Option<String>,
    /// The latest time of a row, in µs.
    pub watermark: i64,
}

/// A manifest that cannot be believed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is no manifest.
    #[error("it is no manifest: {0}")]
    Form(#[from] serde_json::Error),
    /// It is spelt in another way than ours.
    #[error("its bytes are not those that its content is written as (RFC 8785)")]
    Spelling,
    /// Another format than this program knows.
    #[error("format {0}; this program reads {MANIFEST_FORMAT}")]
    Format(u32),
    /// The signature does not hold.
    #[error(transparent)]
    Signature(#[from] SigningError),
}

impl Manifest {
    /// The key of manifest `number` of a chain.
    pub fn key(chain: ChainId, number: u64) -> String {
        format!("{}{number}.json", Self::folder(chain))
    }

    /// What the keys of a chain's manifests begin with.
    pub fn folder(chain: ChainId) -> String {
        format!("{MANIFESTS}{chain}/")
    }

    /// The chain and number that a key names.
    pub fn named(key: &ObjectKey) -> Option<(ChainId, u64)> {
        let (chain, file) = key.as_str().strip_prefix(MANIFESTS)?.split_once('/')?;
        let (chain, number) = (chain.parse().ok()?, file.strip_suffix(".json")?.parse().ok()?);
        (Self::key(chain, number) == key.as_str()).then_some((chain, number))
    }

    /// The moment that rows up to it lie in the store.
    pub fn watermark(&self) -> Micros {
        Micros(self.watermark)
    }

    /// Its bytes, signed by `key`.
    ///
    /// # Errors
    /// None that a caller could bring about.
    pub fn write(mut self, key: Option<&ManifestKey>) -> Result<Vec<u8>, serde_json::Error> {
        self.signature = None;
        self.signing_key = key.map(|key| hex::encode(key.public()));
        if let Some(key) = key {
            self.signature = Some(key.sign(&serde_json::to_vec(&self)?));
        }
        serde_json::to_vec(&self)
    }

    /// Reads a manifest; its signature, if it has one, is checked against the key that it names.
    ///
    /// # Errors
    /// Why it cannot be believed.
    pub fn read(bytes: &[u8]) -> Result<Self, ManifestError> {
        match Self::read_on(bytes)? {
            (manifest, None) => Ok(manifest),
            (_, Some(error)) => Err(error),
        }
    }

    /// Reads a manifest for one who looks for what is wrong: where its spelling or signature does not hold it
    /// still says which files it names, and which rows they should have. Beside it why it cannot be believed.
    ///
    /// # Errors
    /// It is no manifest, or of another format.
    pub(super) fn read_on(bytes: &[u8]) -> Result<(Self, Option<ManifestError>), ManifestError> {
        let mut manifest: Self = serde_json::from_slice(bytes)?;
        if manifest.format != MANIFEST_FORMAT {
            return Err(ManifestError::Format(manifest.format));
        }
        let is_spelt = serde_json::to_vec(&manifest)? == bytes;
        let signature = manifest.signature.take();
        let signed = serde_json::to_vec(&manifest)?;
        let holds = verify(manifest.signing_key.as_deref(), signature.as_deref(), &signed);
        manifest.signature = signature;
        let fault = match holds {
            _ if !is_spelt => Some(ManifestError::Spelling),
            Err(error) => Some(error.into()),
            Ok(()) => None,
        };
        Ok((manifest, fault))
    }
}

/// What the keys of all manifests begin with.
pub(super) const MANIFESTS: &str = "audit/_chain/";

/// What the keys of all files of rows begin with.
pub(super) const FILES: &str = "audit/model=";

/// What the keys of a model's and a day's files of rows begin with. Ending with `/`, the order of these is
/// that of the keys.
pub(super) fn file_folder(model: &str, date: &str) -> String {
    format!("{FILES}{model}/dt={date}/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let file = ManifestFile {
            bytes: 9,
            first: 3,
            key: "audit/model=m/dt=2026-11-28/c-3-4.parquet".to_owned(),
            last: 4,
            rows: 2,
            sha256: Digest::of(b"file"),
        };
        Manifest {
            chain: "0193a1b2c3d47e5f8a9b0c1d2e3f4a5b".to_owned(),
            files: vec![file],
            first: 3,
            format: MANIFEST_FORMAT,
            last: 4,
            last_hash: Digest::of(b"last"),
            merkle_root: Digest::of(b"root"),
            number: 1,
            prev_hash: Digest::of(b"before"),
            previous: Some(Digest::of(b"manifest 0")),
            rows: 2,
            schema: 1,
            sealed_at: 1_795_896_530_000_001,
            signature: None,
            signing_key: None,
            watermark: 1_795_896_530_000_000,
        }
    }

    #[test]
    fn members_stand_in_the_order_of_their_names_at_every_depth() {
        let key = ManifestKey::from_seed([7; 32]);
        let bytes = sample().write(Some(&key)).unwrap();
        // A map that sorts its keys writes the very same bytes.
        let sorted: std::collections::BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            String::from_utf8(serde_json::to_vec(&sorted).unwrap()),
            String::from_utf8(bytes)
        );
    }

    #[test]
    fn what_was_changed_is_not_believed() {
        let key = ManifestKey::from_seed([7; 32]);
        for key in [None, Some(&key)] {
            let bytes = sample().write(key).unwrap();
            assert_eq!(Manifest::read(&bytes).unwrap().rows, 2);
            let text = String::from_utf8(bytes.clone()).unwrap();
            assert!(matches!(
                Manifest::read(text.replace("\"rows\"", " \"rows\"").as_bytes()),
                Err(ManifestError::Spelling)
            ));
            assert!(Manifest::read(&bytes[..bytes.len() - 1]).is_err());
            let changed = Manifest::read(text.replace("\"number\":1", "\"number\":2").as_bytes());
            assert_eq!(changed.is_err(), key.is_some(), "{changed:?}");
        }
        let signed = String::from_utf8(sample().write(Some(&key)).unwrap()).unwrap();
        let at = signed.find("\"signature\"").unwrap();
        let end = signed.find("\"signing_key\"").unwrap();
        let stripped = format!("{}{}", &signed[..at], &signed[end..]);
        assert!(Manifest::read(stripped.as_bytes()).is_err(), "a key without a signature");
    }

    #[test]
    fn keys_name_chain_and_number_in_one_spelling() {
        let chain: ChainId = "0193a1b2c3d47e5f8a9b0c1d2e3f4a5b".parse().unwrap();
        let key: ObjectKey = Manifest::key(chain, 12).parse().unwrap();
        assert_eq!(Manifest::named(&key), Some((chain, 12)));
        let other: ObjectKey = format!("{}012.json", Manifest::folder(chain)).parse().unwrap();
        assert_eq!(Manifest::named(&other), None);
    }
}
