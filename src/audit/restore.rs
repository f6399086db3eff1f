//! Rows of a dead process that its spool does not have and that the store has as commits: they are put back
//! into its folder as a sealed segment, to be shipped as any other.
//!
//! That is so where the disk was lost with its process, and `audit.durability = "store"` had brought every
//! answered row to the store.
//! This file must never take a row that does not continue the chain.

use std::path::Path;

use super::commit_objects::{CommitObject, MAX_COMMIT, commit_rows, commits};
use super::frame::{FrameKind, write_frame};
use super::merkle::MerkleTree;
use super::pack::{PackError, Position, sealed_hash};
use super::record::SCHEMA;
use super::segment::{Seal, SegmentHeader, StoredRow};
use super::segment_writer::SegmentWriter;
use super::ship::{ShipParts, catch_up};
use super::ship_error::ShipError;
use super::spool::ChainDir;
use super::time::Micros;
use crate::domain::Digest;
use crate::registry::ChainHead;

/// Bytes at which a segment is sealed, so that none grows without a bound.
const SEAL_BYTES: u64 = 64 << 20;

/// Puts what is missing back into the folder of a dead process, which the caller holds; says how many rows.
///
/// # Errors
/// [`ShipError`]; what was put back until then is good, and the rest comes with the next attempt.
pub(super) async fn restore(
    parts: &ShipParts,
    dir: &ChainDir,
    noted: Option<&ChainHead>,
    now: Micros,
) -> Result<u64, ShipError> {
    let mut beyond = commits(parts.store.as_ref(), Some(dir.chain)).await?;
    if beyond.is_empty() {
        return Ok(0);
    }
    let position = catch_up(parts, dir.chain, Position::after(noted)).await?;
    let (mut next, mut hash) = (position.first, position.prev_hash);
    if let Some(last) = dir.sealed()?.pop().filter(|last| last.last >= next) {
        next = last.last + 1;
        hash = tokio::task::spawn_blocking(move || sealed_hash(&last)).await??;
    }
    beyond.retain(|commit| commit.last >= next);
    let mut restored = Restored { segment: None, next, hash, tree: MerkleTree::default(), rows: 0 };
    for commit in &beyond {
        let content = parts.store.get(&commit.key, MAX_COMMIT).await?;
        let rows = commit_rows(commit, content).map_err(PackError::from)?;
        restored.take(&dir.path, commit, &rows, now)?;
    }
    restored.seal(&dir.path, now)?;
    if restored.rows > 0 {
        let (chain, rows) = (dir.chain, restored.rows);
        tracing::warn!(%chain, rows, "rows that the spool had lost were put back from the store");
    }
    Ok(restored.rows)
}

/// The chain as it is put back.
struct Restored {
    segment: Option<SegmentWriter>,
    next: u64,
    hash: Digest,
    tree: MerkleTree,
    rows: u64,
}

impl Restored {
    fn take(
        &mut self,
        folder: &Path,
        commit: &CommitObject,
        rows: &[StoredRow],
        now: Micros,
    ) -> Result<(), ShipError> {
        let failed = |error| at(folder, error);
        let mut frames = Vec::new();
        let before = (self.next, self.hash);
        for StoredRow { row, hash } in rows.iter().filter(|row| row.row.link.seq >= before.0) {
            if (row.link.seq, row.link.prev_hash) != (self.next, self.hash) {
                let (key, expected) = (commit.key.to_string(), self.next);
                return Err(ShipError::CommitGap { key, expected });
            }
            write_frame(&mut frames, FrameKind::Row, |bytes| row.write_cbor(bytes));
            self.tree.push(hash);
            (self.next, self.hash) = (self.next + 1, *hash);
            self.rows += 1;
        }
        let Some(first) = rows.iter().find(|row| row.row.link.seq == before.0) else {
            return Ok(());
        };
        let segment = match &mut self.segment {
            Some(segment) => segment,
            None => {
                let header = SegmentHeader {
                    schema: SCHEMA,
                    chain: commit.chain,
                    first: before.0,
                    prev_hash: before.1,
                    hmac_key_id: first.row.record.hmac_key_id.clone(),
                    begun: first.row.record.ts,
                };
                self.segment.insert(SegmentWriter::create(folder, header).map_err(failed)?)
            }
        };
        segment.append(&frames, true).map_err(failed)?;
        if segment.durable_bytes() >= SEAL_BYTES {
            self.seal(folder, now)?;
        }
        Ok(())
    }

    fn seal(&mut self, folder: &Path, now: Micros) -> Result<(), ShipError> {
        let Some(mut segment) = self.segment.take() else { return Ok(()) };
        let tree = std::mem::take(&mut self.tree);
        let seal = Seal {
            last: self.next.saturating_sub(1),
            rows: tree.len(),
            last_hash: self.hash,
            merkle_root: tree.root(),
            sealed: now,
            recovered: true,
        };
        segment.seal(&seal).map_err(|error| at(folder, error))?;
        Ok(())
    }
}

fn at(folder: &Path, error: std::io::Error) -> ShipError {
    ShipError::Folder { path: folder.display().to_string(), error }
}
