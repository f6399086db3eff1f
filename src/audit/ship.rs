//! From the spool to the store: sealed segments become files and a manifest, the registry's head moves on,
//! and only then a segment is removed.
//!
//! Every step may be done again: what is in the store already is compared, not replaced. A crash at any
//! point, or a second shipper, costs a repetition and no row.
//! This file must never remove a segment whose rows no manifest in the store covers.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::commit_objects::clear_commits;
use super::lock::DirLock;
use super::manifest::{MAX_MANIFEST, Manifest};
use super::merkle::MerkleTree;
use super::opening::opening;
use super::pack::{Packed, PackedFile, Position, pack, sealed_hash};
use super::parquet_read;
use super::record::ChainId;
use super::restore::restore;
use super::ship_error::ShipError;
use super::signing::ManifestKey;
use super::spool::{ChainDir, SHIP_LOCK, SealedSegment};
use super::time::Micros;
use crate::domain::Digest;
use crate::registry::{Chain, ChainClosing, ChainHead, ClosedBy, Registry};
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
    let mut shipped = Shipped::default();
    let is_held = ship_on(parts, dir, now, &mut shipped).await?;
    Ok(is_held.then_some(shipped))
}

/// As [`ship_chain`]; adds what was shipped to `shipped`, also of what failed then. Says whether it was
/// this one that shipped.
///
/// # Errors
/// As [`ship_chain`].
pub(super) async fn ship_on(
    parts: &ShipParts,
    dir: &ChainDir,
    now: Micros,
    shipped: &mut Shipped,
) -> Result<bool, ShipError> {
    let Some(_lock) = ship_lock(dir)? else { return Ok(false) };
    let noted = noted(parts, dir.chain).await?;
    let folder = dir.clone();
    let adopted = tokio::task::spawn_blocking(move || folder.try_adopt(now)).await?;
    if matches!(adopted, Ok(Some(_))) && noted.closing.is_none() {
        restore(parts, dir, noted.head.as_ref(), now).await?;
    }
    ship_sealed(parts, dir, noted.head.as_ref(), shipped).await?;
    // What of a damaged chain is sealed does not wait for a person.
    let adopted = adopted?;
    if let Some(_adopted) = adopted {
        close(parts, dir, &noted, now, ClosedBy::Adopter).await?;
        shipped.closed += u64::from(noted.closing.is_none());
    }
    Ok(true)
}

/// Ships all of this process's own chain, whose last segment is sealed and which nobody writes any more, and
/// closes it. The folder goes once nothing is in it.
///
/// # Errors
/// [`ShipError`]; then another process adopts what is left.
pub async fn finish_chain(
    parts: &ShipParts,
    dir: &ChainDir,
    now: Micros,
) -> Result<Option<Shipped>, ShipError> {
    let Some(_lock) = ship_lock(dir)? else {
        // A chain without a row has no folder any more, but it may have been noted.
        let name = dir.chain.to_string();
        let open = parts.registry.chain(&name).await?.is_some_and(|it| it.closing.is_none());
        if open && !dir.path.exists() {
            parts.registry.close_chain(&name, closing(now, ClosedBy::Owner)).await?;
        }
        return Ok(None);
    };
    let noted = noted(parts, dir.chain).await?;
    let mut shipped = Shipped::default();
    ship_sealed(parts, dir, noted.head.as_ref(), &mut shipped).await?;
    if dir.open_segments()?.is_empty() {
        close(parts, dir, &noted, now, ClosedBy::Owner).await?;
        shipped.closed += u64::from(noted.closing.is_none());
    }
    Ok(Some(shipped))
}

/// Notes the end of a chain whose every segment was shipped, and removes its folder.
async fn close(
    parts: &ShipParts,
    dir: &ChainDir,
    noted: &Chain,
    now: Micros,
    by: ClosedBy,
) -> Result<(), ShipError> {
    // What could not be cleared before is cleared now.
    let head = parts.registry.chain(&dir.chain.to_string()).await?.and_then(|chain| chain.head);
    let covered = Position::after(head.as_ref()).first;
    clear_commits(parts.store.as_ref(), dir.chain, covered).await?;
    if noted.closing.is_none() {
        parts.registry.close_chain(&dir.chain.to_string(), closing(now, by)).await?;
    }
    remove_folder(dir)
}

const fn closing(now: Micros, closed_by: ClosedBy) -> ChainClosing {
    ChainClosing { closed_at: now.0, closed_by }
}

fn ship_lock(dir: &ChainDir) -> Result<Option<DirLock>, ShipError> {
    match DirLock::try_acquire(&dir.path.join(SHIP_LOCK)) {
        Ok(lock) => Ok(lock),
        // Shipped and removed by another.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(&dir.path, error)),
    }
}

/// What the registry knows of the chain; its opening is noted if it was not. A chain that is to be signed is
/// signed by its own key alone: by another, or by none, it would never verify again.
async fn noted(parts: &ShipParts, chain: ChainId) -> Result<Chain, ShipError> {
    let name = chain.to_string();
    let opening = opening(chain, parts.key.as_ref());
    let mut noted = parts.registry.chain(&name).await?;
    // A service that does not ship knows no key, perhaps: it is noted before the first manifest.
    if noted.as_ref().is_none_or(|it| it.opening.signing_key.is_none() && it.head.is_none()) {
        parts.registry.open_chain(&opening).await?;
        noted = parts.registry.chain(&name).await?;
    }
    let noted = noted.unwrap_or(Chain { opening: opening.clone(), head: None, closing: None });
    match noted.opening.signing_key {
        Some(key) if noted.closing.is_none() && opening.signing_key != Some(key) => {
            let ours = opening.signing_key.map(hex::encode);
            Err(ShipError::OtherKey { noted: hex::encode(key), ours })
        }
        _ => Ok(noted),
    }
}

async fn ship_sealed(
    parts: &ShipParts,
    dir: &ChainDir,
    noted: Option<&ChainHead>,
    shipped: &mut Shipped,
) -> Result<(), ShipError> {
    let segments = dir.sealed()?;
    if segments.is_empty() {
        return Ok(());
    }
    let mut position = catch_up(parts, dir.chain, Position::after(noted)).await?;
    for segment in segments {
        if segment.last >= position.first {
            position = ship_segment(parts, &segment, position, shipped).await?;
        } else {
            look_covered(parts, &segment, &position).await?;
        }
        // A manifest covers it, and the registry says so.
        let removed = fs::remove_file(&segment.path);
        removed.map_err(|error| failed(&segment.path, error))?;
    }
    clear_commits(parts.store.as_ref(), dir.chain, position.first).await?;
    Ok(())
}

/// Goes past the manifests that are in the store and not noted yet: their shipper died in between, or the
/// registry was put back to an earlier state.
pub(super) async fn catch_up(
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

/// Looks that a segment which is left over after its shipping is in the store indeed.
async fn look_covered(
    parts: &ShipParts,
    segment: &SealedSegment,
    position: &Position,
) -> Result<(), ShipError> {
    let source = segment.clone();
    let last_hash = tokio::task::spawn_blocking(move || sealed_hash(&source)).await??;
    for number in (0..position.number).rev() {
        let key: ObjectKey = Manifest::key(segment.chain, number).parse()?;
        let manifest = read_manifest(&key, &parts.store.get(&key, MAX_MANIFEST).await?)?;
        if manifest.last <= segment.last {
            let same = (manifest.first, manifest.last, manifest.last_hash)
                == (segment.first, segment.last, last_hash);
            return if same {
                Ok(())
            } else {
                Err(ShipError::OtherManifest { key: key.to_string() })
            };
        }
    }
    Err(ShipError::OtherManifest { key: Manifest::folder(segment.chain) })
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
fn remove_folder(dir: &ChainDir) -> Result<(), ShipError> {
    if !dir.is_empty()? {
        return Ok(());
    }
    match fs::remove_dir_all(&dir.path) {
        // Another has removed it, or looks for something to ship in it and will remove it.
        Err(error)
            if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) =>
        {
            Err(failed(&dir.path, error))
        }
        _ => Ok(()),
    }
}

fn failed(path: &Path, error: std::io::Error) -> ShipError {
    ShipError::Folder { path: path.display().to_string(), error }
}
