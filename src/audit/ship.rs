//! From the spool to the store: sealed segments become files and a manifest, the registry's head moves on,
//! and only then a segment is removed.
//!
//! Every step may be done again: what is in the store already is compared, not replaced. A crash at any
//! point, or a second shipper, costs a repetition and no row.
//! This file must never remove a segment whose rows no manifest in the store covers.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::lock::DirLock;
use super::manifest::{MAX_MANIFEST, Manifest, ManifestError};
use super::merkle::MerkleTree;
use super::pack::{PackError, Packed, PackedFile, Position, pack};
use super::parquet_read::{self, ParquetReadError};
use super::record::ChainId;
use super::signing::ManifestKey;
use super::spool::{ChainDir, OWNER_LOCK, SHIP_LOCK, SealedSegment, SpoolError};
use super::time::Micros;
use crate::domain::Digest;
use crate::registry::{Chain, ChainClosing, ChainHead, ChainOpening, ClosedBy, Registry, RegistryError};
use crate::store::{Keep, ObjectKey, ObjectStore, StoreError, Written};

/// What a shipper works with.
#[derive(Debug, Clone)]
pub struct ShipParts {
    /// Where files and manifests go.
    pub store: Arc<dyn ObjectStore>,
    /// Where heads are noted.
    pub registry: Arc<dyn Registry>,
    /// What manifests are signed by; `None` = they are not.
    pub key: Option<ManifestKey>,
}

/// What was shipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Shipped {
    /// Segments, each with its manifest.
    pub segments: u64,
    /// Their rows.
    pub rows: u64,
    /// Files of rows that were written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Chains of dead processes that are complete now and closed.
    pub closed: u64,
}

/// Why something was not shipped. It is still in the spool.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A segment.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// A key that the store would not take.
    #[error("{0}")]
    Key(#[from] crate::store::KeyError),
    /// Other rows are in the store under the name of ours.
    #[error("{key}: it holds other rows than the segment{}", detail.as_ref().map_or_else(String::new, |d| format!(": {d}")))]
    OtherRows {
        /// The object.
        key: String,
        /// What is wrong with it, if it cannot be read at all.
        detail: Option<ParquetReadError>,
    },
    /// Another manifest is in the store under the number of ours.
    #[error("{key}: it does not continue the chain as the segment does")]
    OtherManifest {
        /// The object.
        key: String,
    },
    /// A manifest in the store that cannot be believed.
    #[error("{key}: {error}")]
    Manifest {
        /// The object.
        key: String,
        /// Why.
        error: ManifestError,
    },
    /// A manifest cannot be written.
    #[error("a manifest cannot be written: {0}")]
    Json(#[from] serde_json::Error),
    /// The work was cut off.
    #[error("the work was cut off: {0}")]
    Cut(#[from] tokio::task::JoinError),
    /// A folder cannot be changed.
    #[error("{path}: {error}")]
    Folder {
        /// Which.
        path: String,
        /// Why.
        error: std::io::Error,
    },
}

impl ShipError {
    /// Whether time alone may mend it.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Registry(error) => error.is_retryable(),
            Self::Spool(_) | Self::Cut(_) | Self::Folder { .. } => true,
            _ => false,
        }
    }
}

/// Ships what is sealed of a chain; one of a dead process is sealed, shipped and closed. `None` where
/// another ships it.
///
/// # Errors
/// [`ShipError`]; what was shipped until then stays shipped.
pub async fn ship_chain(
    parts: &ShipParts,
    dir: &ChainDir,
    now: Micros,
) -> Result<Option<Shipped>, ShipError> {
    let Some(lock) = ship_lock(dir)? else { return Ok(None) };
    let noted = noted(parts, dir.chain).await?;
    let folder = dir.clone();
    let adopted = tokio::task::spawn_blocking(move || folder.try_adopt(now)).await??;
    let shipped = ship_sealed(parts, dir, noted.as_ref()).await?;
    let Some(adopted) = adopted else { return Ok(Some(shipped)) };
    let closed = Shipped { closed: 1, ..shipped };
    let closing = ChainClosing { closed_at: now.0, closed_by: ClosedBy::Adopter };
    parts.registry.close_chain(&dir.chain.to_string(), closing).await?;
    remove_folder(&dir.path)?;
    drop((adopted, lock));
    Ok(Some(closed))
}

/// Ships all of this process's own chain, whose last segment is sealed, and closes it. The folder goes once
/// nothing is in it; the caller still holds its lock.
///
/// # Errors
/// [`ShipError`]; then another process adopts what is left.
pub async fn finish_chain(
    parts: &ShipParts,
    dir: &ChainDir,
    now: Micros,
) -> Result<Option<Shipped>, ShipError> {
    let Some(_lock) = ship_lock(dir)? else { return Ok(None) };
    let noted = noted(parts, dir.chain).await?;
    let shipped = ship_sealed(parts, dir, noted.as_ref()).await?;
    if dir.open_segments()?.is_empty() {
        let closing = ChainClosing { closed_at: now.0, closed_by: ClosedBy::Owner };
        parts.registry.close_chain(&dir.chain.to_string(), closing).await?;
        remove_folder(&dir.path)?;
    }
    Ok(Some(shipped))
}

fn ship_lock(dir: &ChainDir) -> Result<Option<DirLock>, ShipError> {
    match DirLock::try_acquire(&dir.path.join(SHIP_LOCK)) {
        Ok(lock) => Ok(lock),
        // Shipped and removed by another.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ShipError::Folder { path: dir.path.display().to_string(), error }),
    }
}

/// What the registry knows of the chain; its opening is noted if it was not.
async fn noted(parts: &ShipParts, chain: ChainId) -> Result<Option<ChainHead>, ShipError> {
    let name = chain.to_string();
    if let Some(Chain { head, .. }) = parts.registry.chain(&name).await? {
        return Ok(head);
    }
    let opening = ChainOpening {
        chain: name,
        opened_at: opened_at(chain).0,
        software: env!("CARGO_PKG_VERSION").to_owned(),
        signing_key: parts.key.as_ref().map(ManifestKey::public),
    };
    parts.registry.open_chain(&opening).await?;
    Ok(None)
}

/// When a chain was begun: a UUID of version 7 begins with the milliseconds since 1970.
fn opened_at(chain: ChainId) -> Micros {
    let [a, b, c, d, e, f, ..] = *chain.as_bytes();
    Micros(i64::from_be_bytes([0, 0, a, b, c, d, e, f]).saturating_mul(1000))
}

async fn ship_sealed(
    parts: &ShipParts,
    dir: &ChainDir,
    noted: Option<&ChainHead>,
) -> Result<Shipped, ShipError> {
    let mut shipped = Shipped::default();
    let segments = dir.sealed()?;
    if segments.is_empty() {
        return Ok(shipped);
    }
    let mut position = catch_up(parts, dir.chain, Position::after(noted)).await?;
    for segment in segments {
        if segment.last >= position.first {
            position = ship_segment(parts, &segment, position, &mut shipped).await?;
        }
        // A manifest covers it, and the registry says so.
        let removed = fs::remove_file(&segment.path);
        removed.map_err(|error| ShipError::Folder {
            path: segment.path.display().to_string(),
            error,
        })?;
    }
    Ok(shipped)
}

/// Goes past the manifests that are in the store and not noted yet: their shipper died in between, or the
/// registry was put back to an earlier state.
async fn catch_up(
    parts: &ShipParts,
    chain: ChainId,
    mut position: Position,
) -> Result<Position, ShipError> {
    loop {
        let key: ObjectKey = Manifest::key(chain, position.number).parse()?;
        let bytes = match parts.store.get(&key, MAX_MANIFEST).await {
            Ok(bytes) => bytes,
            Err(StoreError::NotFound { .. }) => return Ok(position),
            Err(error) => return Err(error.into()),
        };
        let manifest = read_manifest(&key, &bytes)?;
        if !continues(&manifest, chain, &position) {
            return Err(ShipError::OtherManifest { key: key.to_string() });
        }
        position = advance(parts, chain, &manifest, Digest::of(&bytes)).await?;
    }
}

fn continues(manifest: &Manifest, chain: ChainId, position: &Position) -> bool {
    manifest.chain == chain.to_string()
        && manifest.number == position.number
        && manifest.previous == position.previous
        && manifest.first == position.first
        && manifest.prev_hash == position.prev_hash
}

fn read_manifest(key: &ObjectKey, bytes: &[u8]) -> Result<Manifest, ShipError> {
    Manifest::read(bytes).map_err(|error| ShipError::Manifest { key: key.to_string(), error })
}

/// Notes a manifest that is in the store.
async fn advance(
    parts: &ShipParts,
    chain: ChainId,
    manifest: &Manifest,
    sha256: Digest,
) -> Result<Position, ShipError> {
    let head = ChainHead {
        manifest: manifest.number,
        manifest_sha256: sha256,
        seq: manifest.last,
        row_hash: manifest.last_hash,
        watermark: manifest.watermark,
    };
    parts.registry.advance_chain(&chain.to_string(), &head).await?;
    Ok(Position::after(Some(&head)))
}

async fn ship_segment(
    parts: &ShipParts,
    segment: &SealedSegment,
    position: Position,
    shipped: &mut Shipped,
) -> Result<Position, ShipError> {
    let source = segment.clone();
    let packed = tokio::task::spawn_blocking(move || pack(&source, &position)).await??;
    let Packed { files, mut manifest } = packed;
    for (file, named) in files.into_iter().zip(&mut manifest.files) {
        let key: ObjectKey = named.key.parse()?;
        let PackedFile { content, root } = file;
        shipped.files += 1;
        shipped.bytes += content.len() as u64;
        match parts.store.put_new(&key, content, Keep::ForGood).await {
            Ok(Written::New | Written::Before) => {}
            // Packed by another release, perhaps; what counts are the rows.
            Err(StoreError::Different { .. }) => {
                let there = parts.store.get(&key, u64::MAX).await?;
                (named.bytes, named.sha256) = (there.len() as u64, Digest::of(&there));
                same_rows(&key, there, root).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let (chain, rows) = (segment.chain, manifest.rows);
    let position = put_manifest(parts, chain, manifest).await?;
    shipped.segments += 1;
    shipped.rows += rows;
    Ok(position)
}

/// Whether a file that is there already holds the rows of this root.
async fn same_rows(key: &ObjectKey, there: Bytes, root: Digest) -> Result<(), ShipError> {
    let found = tokio::task::spawn_blocking(move || {
        let mut tree = MerkleTree::default();
        let read = parquet_read::rows(there, |row| {
            tree.push(&row.hash());
            Ok(())
        });
        read.map(|()| tree.root())
    });
    match found.await? {
        Ok(found) if found == root => Ok(()),
        Ok(_) => Err(ShipError::OtherRows { key: key.to_string(), detail: None }),
        Err(error) => Err(ShipError::OtherRows { key: key.to_string(), detail: Some(error) }),
    }
}

async fn put_manifest(
    parts: &ShipParts,
    chain: ChainId,
    manifest: Manifest,
) -> Result<Position, ShipError> {
    let key: ObjectKey = Manifest::key(chain, manifest.number).parse()?;
    let bytes = Bytes::from(manifest.clone().write(parts.key.as_ref())?);
    let mut sha256 = Digest::of(&bytes);
    match parts.store.put_new(&key, bytes, Keep::ForGood).await {
        Ok(Written::New | Written::Before) => {}
        // Signed by another key, or of files that another release packed: fine if it covers the same.
        Err(StoreError::Different { .. }) => {
            let bytes = parts.store.get(&key, MAX_MANIFEST).await?;
            let there = read_manifest(&key, &bytes)?;
            let covers = |m: &Manifest| {
                (m.chain.clone(), m.number, m.previous, m.first, m.last, m.last_hash, m.merkle_root)
            };
            if covers(&there) != covers(&manifest) {
                return Err(ShipError::OtherManifest { key: key.to_string() });
            }
            sha256 = Digest::of(&bytes);
        }
        Err(error) => return Err(error.into()),
    }
    advance(parts, chain, &manifest, sha256).await
}

/// Removes a chain's folder if nothing but locks is in it; what was cut off a segment stays for a person.
fn remove_folder(path: &Path) -> Result<(), ShipError> {
    let failed = |error| ShipError::Folder { path: path.display().to_string(), error };
    let names = fs::read_dir(path)
        .and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<Vec<_>, _>>()
        })
        .map_err(failed)?;
    if names.iter().any(|name| name != OWNER_LOCK && name != SHIP_LOCK) {
        return Ok(());
    }
    fs::remove_dir_all(path).map_err(failed)
}
