//! What is known of a chain of audit records outside of the record itself.
//!
//! With it a reader sees that the record's end, or a whole chain, is missing.
//! This file must never know what a record holds.

use serde::Serialize;

use crate::domain::Digest;

/// How a chain begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainOpening {
    /// The chain's name.
    pub chain: String,
    /// When, in microseconds since 1970-01-01 UTC.
    pub opened_at: i64,
    /// The release of the program.
    pub software: String,
    /// The public key (ed25519) that its manifests are signed by; `None` = they are not.
    #[serde(serialize_with = "hexadecimal")]
    pub signing_key: Option<[u8; 32]>,
}

/// How far the part of a chain reaches that is in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainHead {
    /// The last manifest's number, from 0.
    pub manifest: u64,
    /// The last manifest's digest.
    pub manifest_sha256: Digest,
    /// The last row's number.
    pub seq: u64,
    /// The last row's hash.
    pub row_hash: Digest,
    /// The latest time of a row, in microseconds since 1970-01-01 UTC: rows up to here are in the store.
    pub watermark: i64,
}

/// Who ended a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClosedBy {
    /// The process that wrote it.
    Owner,
    /// A shipper that took over what a dead process had left.
    Adopter,
}

/// How a chain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ChainClosing {
    /// When, in microseconds since 1970-01-01 UTC.
    pub closed_at: i64,
    /// By whom.
    pub closed_by: ClosedBy,
}

/// All that is known of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// How it began.
    #[serde(flatten)]
    pub opening: ChainOpening,
    /// How far it reaches; `None` = nothing of it is in the store.
    pub head: Option<ChainHead>,
    /// How it ended; `None` = it has not.
    pub closing: Option<ChainClosing>,
}

impl ClosedBy {
    /// As the database has it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Adopter => "adopter",
        }
    }

    pub(super) fn read(word: &str) -> Option<Self> {
        [Self::Owner, Self::Adopter].into_iter().find(|by| by.word() == word)
    }
}

fn hexadecimal<S: serde::Serializer>(key: &Option<[u8; 32]>, to: S) -> Result<S::Ok, S::Error> {
    key.map(hex::encode).serialize(to)
}
