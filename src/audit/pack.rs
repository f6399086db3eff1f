//! A sealed segment to the files that the store will hold, and the manifest that names them.
//!
//! Rows stream from the segment into one Parquet file for each model and day; the segment is checked on
//! the way. The same segment gives the same bytes, so that a shipper that crashed may begin again.
//! This file must never hold a segment's rows in memory: it may have a hundred thousand.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;
use parquet::errors::ParquetError;

use super::manifest::{MANIFEST_FORMAT, Manifest, ManifestFile, file_folder};
use super::merkle::MerkleTree;
use super::parquet_write::ParquetFile;
use super::record::{NO_HASH, SCHEMA};
use super::segment::{SegmentError, StoredRow};
use super::spool::SealedSegment;
use crate::domain::Digest;
use crate::registry::ChainHead;

/// Where the next manifest of a chain stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    /// Its number.
    pub number: u64,
    /// The digest of the manifest before.
    pub previous: Option<Digest>,
    /// The number of its first row.
    pub first: u64,
    /// The hash of the row before.
    pub prev_hash: Digest,
}

/// What a segment becomes.
pub(super) struct Packed {
    /// The files, in the order of their keys.
    pub files: Vec<PackedFile>,
    /// The manifest that names them.
    pub manifest: Manifest,
}

/// A file that is to be written.
pub(super) struct PackedFile {
    /// Its bytes.
    pub content: Bytes,
    /// The Merkle root over its own rows' hashes: what it holds, however it is packed.
    pub root: Digest,
}

/// A segment that cannot be shipped.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The segment does not hold.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// It has no seal.
    #[error("{0}: it has no seal; it is left where it is")]
    NotSealed(String),
    /// It does not follow on what was shipped.
    #[error(
        "{segment}: it begins with row {found} after hash {found_hash}, but row {expected} after hash \
         {expected_hash} is next; a segment is missing or is not of this chain"
    )]
    Gap {
        /// The segment.
        segment: String,
        /// Its first row.
        found: u64,
        /// What it says came before.
        found_hash: Digest,
        /// The row that is next.
        expected: u64,
        /// The hash of the last row that was shipped.
        expected_hash: Digest,
    },
    /// A file cannot be made.
    #[error("{segment}: {error}")]
    Parquet {
        /// The segment.
        segment: String,
        /// Why.
        error: ParquetError,
    },
}

impl Position {
    /// Behind a head; at the beginning without one.
    pub fn after(head: Option<&ChainHead>) -> Self {
        match head {
            None => Self { number: 0, previous: None, first: 0, prev_hash: NO_HASH },
            Some(head) => Self {
                number: head.manifest + 1,
                previous: Some(head.manifest_sha256),
                first: head.seq + 1,
                prev_hash: head.row_hash,
            },
        }
    }
}

/// The hash of a segment's last row; the segment holds.
///
/// # Errors
/// [`PackError`].
pub(super) fn sealed_hash(segment: &SealedSegment) -> Result<Digest, PackError> {
    let mut reader = segment.read()?;
    reader.by_ref().try_for_each(|row| row.map(drop))?;
    let seal = reader.seal().map(|seal| seal.last_hash);
    seal.ok_or_else(|| PackError::NotSealed(segment.path.display().to_string()))
}

/// Packs a segment that stands at `position`.
///
/// # Errors
/// [`PackError`].
pub(super) fn pack(segment: &SealedSegment, position: &Position) -> Result<Packed, PackError> {
    let name = || segment.path.display().to_string();
    let failed = |error| PackError::Parquet { segment: name(), error };
    let mut reader = segment.read()?;
    let header = reader.header();
    let (chain, first, prev_hash) = (header.chain, header.first, header.prev_hash);
    if (chain, first, prev_hash) != (segment.chain, position.first, position.prev_hash) {
        return Err(PackError::Gap {
            segment: name(),
            found: first,
            found_hash: prev_hash,
            expected: position.first,
            expected_hash: position.prev_hash,
        });
    }
    let mut open: BTreeMap<String, (ParquetFile<Vec<u8>>, MerkleTree)> = BTreeMap::new();
    let mut watermark = i64::MIN;
    for stored in reader.by_ref() {
        let StoredRow { row, hash } = stored?;
        watermark = watermark.max(row.record.ts.0);
        let place = file_folder(&row.record.model, &row.record.ts.date());
        let (file, tree) = match open.entry(place) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => {
                let file = ParquetFile::begin(Vec::new(), Some(chain)).map_err(failed)?;
                free.insert((file, MerkleTree::default()))
            }
        };
        file.push(&row).map_err(failed)?;
        tree.push(&hash);
    }
    let seal = reader.seal().cloned().ok_or_else(|| PackError::NotSealed(name()))?;
    let (mut named, mut files) = (Vec::new(), Vec::new());
    for (folder, (file, tree)) in open {
        let (rows, first, last) = (file.rows, file.first, file.last);
        let content = Bytes::from(file.finish().map_err(failed)?);
        let key = format!("{folder}{chain}-{first}-{last}.parquet");
        let (bytes, sha256) = (content.len() as u64, Digest::of(&content));
        named.push(ManifestFile { bytes, first, key, last, rows, sha256 });
        files.push(PackedFile { content, root: tree.root() });
    }
    let manifest = Manifest {
        chain: chain.to_string(),
        files: named,
        first,
        format: MANIFEST_FORMAT,
        last: seal.last,
        last_hash: seal.last_hash,
        merkle_root: seal.merkle_root,
        number: position.number,
        prev_hash,
        previous: position.previous,
        rows: seal.rows,
        schema: SCHEMA,
        sealed_at: seal.sealed.0,
        signature: None,
        signing_key: None,
        watermark,
    };
    Ok(Packed { files, manifest })
}
