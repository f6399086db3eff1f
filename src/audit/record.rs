//! One row of the record: what was answered to whom by what, and where it stands in its chain.
//!
//! A [`Record`] is filled by who answered, a [`Link`] by who writes it down; together they are a [`Row`].
//! This file must never hold a pixel, a file's name or an identifier: keyed hashes stand for them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

use super::keys::KeyId;
use super::time::Micros;
use crate::domain::{Decision, Digest, ErrorKind, ModelVersion, Route};
use crate::imaging::{Format, ImageStatistics};

/// The version of the schema, for Parquet metadata and segment headers.
pub const SCHEMA: u32 = 1;

/// The model of rows that belong to none: refusals and unknown models. No model can be called so.
pub const NO_MODEL: &str = "_none";

/// The columns, in the order of the schema: that of the CBOR array and of every table.
pub const COLUMNS: [&str; 40] = [
    "audit_id",
    "ts",
    "chain",
    "seq",
    "prev_hash",
    "request_id",
    "trace_id",
    "principal",
    "model",
    "version",
    "bundle_sha256",
    "image_digest",
    "route",
    "input_hmac",
    "study_hmac",
    "hmac_key_id",
    "input_kind",
    "scores",
    "calibrated",
    "label",
    "decision",
    "warnings",
    "mean",
    "std",
    "p1",
    "p99",
    "entropy",
    "sharpness",
    "aspect",
    "bits",
    "ood_score",
    "embedding",
    "queue_us",
    "decode_us",
    "infer_us",
    "total_us",
    "batch_size",
    "status",
    "row",
    "count",
];

/// A row as it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Where it stands.
    pub link: Link,
    /// What it says.
    pub record: Record,
}

/// A row's place in its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The chain: one run of one process.
    pub chain: ChainId,
    /// The row's number in the chain, from 0 without a gap.
    pub seq: u64,
    /// The hash of the row before it; of the first, 32 zero bytes.
    pub prev_hash: Digest,
}

/// The `prev_hash` of a chain's first row.
pub const NO_HASH: Digest = Digest::from_bytes([0; 32]);

/// What a row says. (`audit_id`, `row`) is unique.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The request's number; `x-audit-id` names it.
    pub audit_id: AuditId,
    /// When it was written down; it never goes back within a chain.
    pub ts: Micros,
    /// The caller's id of the request, or one made here.
    pub request_id: Arc<str>,
    /// The trace that it belongs to: 32 lower-case hexadecimal digits.
    pub trace_id: Option<String>,
    /// The keyed hash of who asked.
    pub principal: Digest,
    /// The model, without `.image`; [`NO_MODEL`] for refusals.
    pub model: String,
    /// The version that answered.
    pub version: Option<ModelVersion>,
    /// The digest of its bundle.
    pub bundle_sha256: Option<Digest>,
    /// The digest of the container image that serves.
    pub image_digest: Option<Digest>,
    /// By which way the request came to the version.
    pub route: Option<Route>,
    /// The keyed hash of the file or of the tensors' row.
    pub input_hmac: Option<Digest>,
    /// The keyed hash of the study's id, where the caller named one.
    pub study_hmac: Option<Digest>,
    /// The key of the hashes of this row.
    pub hmac_key_id: KeyId,
    /// What came.
    pub input_kind: Option<InputKind>,
    /// The model's own scores, in the order of its labels.
    pub scores: Vec<f32>,
    /// The calibrated ones.
    pub calibrated: Vec<f32>,
    /// The label; also of a rejected image, whose answer does not show it.
    pub label: Option<String>,
    /// The decision.
    pub decision: Option<Decision>,
    /// Codes of warnings; where there was no answer, the error's reason.
    pub warnings: Vec<String>,
    /// Statistics of the image as it is shown: eight columns.
    pub statistics: Option<ImageStatistics>,
    /// How far the image lies from what the model knows.
    pub ood_score: Option<f64>,
    /// Projections of the model's features, where the bundle has them.
    pub embedding: Vec<f32>,
    /// Waiting for a thread that decodes and for an engine, in µs.
    pub queue_us: u64,
    /// Decoding and preparing, in µs.
    pub decode_us: u64,
    /// The model's run, in µs.
    pub infer_us: u64,
    /// All, from admission to the answer, in µs.
    pub total_us: u64,
    /// Rows of the run that this one was part of; 0 where there was none.
    pub batch_size: u32,
    /// What became of it.
    pub status: Status,
    /// The row's place in its request, from 0.
    pub row: u32,
    /// 1; of aggregated refusals, how many they are.
    pub count: u64,
}

impl Record {
    /// A row about nothing yet: one row, `OK`, of no model.
    pub fn empty(audit_id: AuditId, principal: Digest, hmac_key_id: KeyId) -> Self {
        Self {
            audit_id,
            ts: Micros::default(),
            request_id: "".into(),
            trace_id: None,
            principal,
            model: NO_MODEL.to_owned(),
            version: None,
            bundle_sha256: None,
            image_digest: None,
            route: None,
            input_hmac: None,
            study_hmac: None,
            hmac_key_id,
            input_kind: None,
            scores: Vec::new(),
            calibrated: Vec::new(),
            label: None,
            decision: None,
            warnings: Vec::new(),
            statistics: None,
            ood_score: None,
            embedding: Vec::new(),
            queue_us: 0,
            decode_us: 0,
            infer_us: 0,
            total_us: 0,
            batch_size: 0,
            status: Status::Ok,
            row: 0,
            count: 1,
        }
    }
}

/// A name for a run of a process, as files are called: 32 hexadecimal digits, later ones larger.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChainId(Uuid);

/// The number of a request, UUID version 7 (RFC 9562).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AuditId(Uuid);

/// A text that is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is not a UUID of the form {form}", text.escape_debug())]
pub struct IdError {
    text: String,
    form: &'static str,
}

macro_rules! id {
    ($name:ident, $shown:ident, $length:literal, $form:literal) => {
        impl $name {
            /// A new one, of this moment.
            pub fn at(now: Micros) -> Self {
                let since = now.since_epoch();
                let stamp = uuid::NoContext;
                let stamp =
                    uuid::Timestamp::from_unix(stamp, since.as_secs(), since.subsec_nanos());
                Self(Uuid::new_v7(stamp))
            }

            /// When it was made, to the millisecond: a UUID of version 7 begins with it.
            pub const fn made(&self) -> Micros {
                let [a, b, c, d, e, f, ..] = *self.0.as_bytes();
                Micros(i64::from_be_bytes([0, 0, a, b, c, d, e, f]).saturating_mul(1000))
            }

            /// The 16 bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.$shown().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let wrong = || IdError { text: text.chars().take(64).collect(), form: $form };
                let id = Uuid::try_parse(text).map_err(|_| wrong())?;
                // One spelling: it is a file's name and a key.
                let good = text.len() == $length && !text.bytes().any(|b| b.is_ascii_uppercase());
                good.then_some(Self(id)).ok_or_else(wrong)
            }
        }
    };
}

id!(ChainId, simple, 32, "0193a1b2c3d47e5f8a9b0c1d2e3f4a5b");
id!(AuditId, hyphenated, 36, "0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b");

/// What came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InputKind {
    /// A row of tensors.
    Tensor,
    /// A PNG file.
    Png,
    /// A JPEG file.
    Jpeg,
    /// A DICOM file.
    Dicom,
    /// A file of no known format.
    File,
}

impl InputKind {
    /// Every kind.
    pub const ALL: [InputKind; 5] =
        [InputKind::Tensor, InputKind::Png, InputKind::Jpeg, InputKind::Dicom, InputKind::File];

    /// The kind of a file by its first bytes.
    pub fn of_file(bytes: &[u8]) -> Self {
        match Format::sniff(bytes) {
            Ok(Format::Png) => Self::Png,
            Ok(Format::Jpeg) => Self::Jpeg,
            Ok(Format::Dicom) => Self::Dicom,
            Err(_) => Self::File,
        }
    }

    /// The word of the column.
    pub const fn name(self) -> &'static str {
        match self {
            InputKind::Tensor => "tensor",
            InputKind::Png => "png",
            InputKind::Jpeg => "jpeg",
            InputKind::Dicom => "dicom",
            InputKind::File => "file",
        }
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It was answered.
    Ok,
    /// It was not.
    Failed(ErrorKind),
}

impl Status {
    /// The word of the column: `OK` or the name of the error's kind.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::Failed(kind) => kind.name(),
        }
    }

    /// The status of this name.
    pub fn named(name: &str) -> Option<Self> {
        let failed = ErrorKind::ALL.into_iter().find(|kind| kind.name() == name);
        (name == "OK").then_some(Self::Ok).or(failed.map(Self::Failed))
    }
}
