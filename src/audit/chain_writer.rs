//! A chain as it is written: numbers, hashes, and one segment after the other.
//!
//! Records become linked rows and frames; state moves on only once they count.
//! This file must never give a number twice, or leave one out.

use std::io;
use std::path::{Path, PathBuf};

use super::frame::{FRAME_OVERHEAD, FrameKind, write_frame};
use super::keys::KeyId;
use super::merkle::MerkleTree;
use super::record::{ChainId, Link, NO_HASH, Record, Row, SCHEMA};
use super::segment::{Seal, SegmentHeader};
use super::segment_writer::SegmentWriter;
use super::time::Micros;
use crate::domain::Digest;

/// A chain that is being written.
#[derive(Debug)]
pub struct ChainWriter {
    folder: PathBuf,
    chain: ChainId,
    /// The number of the next row.
    next: u64,
    last_hash: Digest,
    last_ts: Micros,
    /// Over the rows of the segment that is written.
    tree: MerkleTree,
    segment: Option<SegmentWriter>,
    frames: Vec<u8>,
}

/// How far a chain is: what the registry keeps as its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Rows that are durable.
    pub rows: u64,
    /// The hash of the last of them, or 32 zero bytes.
    pub hash: Digest,
    /// Segments that were sealed.
    pub sealed: u64,
}

impl ChainWriter {
    /// A new chain in `folder`, which is there.
    pub fn new(folder: PathBuf, chain: ChainId) -> Self {
        Self {
            folder,
            chain,
            next: 0,
            last_hash: NO_HASH,
            last_ts: Micros(i64::MIN),
            tree: MerkleTree::default(),
            segment: None,
            frames: Vec::new(),
        }
    }

    /// The number of rows that count.
    pub const fn rows(&self) -> u64 {
        self.next
    }

    /// The hash of the last row that counts.
    pub const fn last_hash(&self) -> Digest {
        self.last_hash
    }

    /// The segment that is written.
    pub const fn segment(&self) -> Option<&SegmentWriter> {
        self.segment.as_ref()
    }

    /// The frames of the rows that were appended last.
    pub fn frames(&self) -> &[u8] {
        &self.frames
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A moment for rows written now: a clock that was set back does not take the chain with it.
    pub fn moment(&self, now: Micros) -> Micros {
        now.max(self.last_ts)
    }

    /// Writes `records` at `ts`, in their order, and, if `sync`, makes them durable. `room` bytes may be
    /// written at most.
    ///
    /// # Errors
    /// What the operating system says, [`io::ErrorKind::QuotaExceeded`] where there is no room; none of
    /// them counts then.
    pub fn append(
        &mut self,
        records: impl Iterator<Item = Record>,
        ts: Micros,
        key: &KeyId,
        room: u64,
        sync: bool,
    ) -> io::Result<()> {
        let (mut next, mut hash) = (self.next, self.last_hash);
        let mut tree = self.tree.clone();
        self.frames.clear();
        for mut record in records {
            record.ts = ts;
            let row = Row { link: Link { chain: self.chain, seq: next, prev_hash: hash }, record };
            let begin = self.frames.len() + FRAME_OVERHEAD;
            write_frame(&mut self.frames, FrameKind::Row, |bytes| row.write_cbor(bytes));
            hash = Digest::of(&self.frames[begin..]);
            tree.push(&hash);
            next += 1;
        }
        if self.frames.len() as u64 > room {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let segment = match &mut self.segment {
            Some(segment) => segment,
            None => {
                let header = SegmentHeader {
                    schema: SCHEMA,
                    chain: self.chain,
                    first: self.next,
                    prev_hash: self.last_hash,
                    hmac_key_id: key.clone(),
                    begun: ts,
                };
                self.segment.insert(SegmentWriter::create(&self.folder, header)?)
            }
        };
        segment.append(&self.frames, sync)?;
        (self.next, self.last_hash, self.tree, self.last_ts) = (next, hash, tree, ts);
        Ok(())
    }

    /// Makes durable what was appended without.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn sync(&self) -> io::Result<()> {
        self.segment.as_ref().map_or(Ok(()), SegmentWriter::sync)
    }

    /// Puts the file right after an append that failed.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn mend(&mut self) -> io::Result<()> {
        self.segment.as_mut().map_or(Ok(()), SegmentWriter::cut)
    }

    /// Seals the segment that is written, if it has rows.
    ///
    /// # Errors
    /// What the operating system says; the segment is written on then.
    pub fn seal(&mut self, now: Micros) -> io::Result<Option<PathBuf>> {
        let Some(segment) = self.segment.as_mut().filter(|_| !self.tree.is_empty()) else {
            return Ok(None);
        };
        let sealed = segment.seal(&Seal {
            last: self.next.saturating_sub(1),
            rows: self.tree.len(),
            last_hash: self.last_hash,
            merkle_root: self.tree.root(),
            sealed: now,
            recovered: false,
        })?;
        self.segment = None;
        self.tree = MerkleTree::default();
        Ok(Some(sealed))
    }
}
