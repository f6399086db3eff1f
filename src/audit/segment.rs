//! A segment: a file of consecutive rows of one chain, and what is read of it.
//!
//! Header, rows, and once it is sealed a seal that sums it up. Reading checks checksums, numbers and
//! the hash chain, and gives the rows with their hashes.
//! This file must never write: a segment is written by `segment_writer` alone.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use minicbor::{Decoder, Encoder};

use super::cbor::{RowError, Writer, Written, read_digest};
use super::frame::{FRAME_OVERHEAD, FrameError, FrameKind, read_frame};
use super::keys::KeyId;
use super::merkle::MerkleTree;
use super::record::{ChainId, Row, SCHEMA};
use super::time::Micros;
use crate::domain::Digest;

/// The version of the segment's own format.
pub const SEGMENT_FORMAT: u32 = 1;

/// What a segment says of itself at its beginning: the CBOR array of these, after [`SEGMENT_FORMAT`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The version of the rows' schema.
    pub schema: u32,
    /// The chain.
    pub chain: ChainId,
    /// The number of the first row.
    pub first: u64,
    /// The hash of the row before the first; 32 zero bytes where there is none.
    pub prev_hash: Digest,
    /// The key of keyed hashes when the segment was begun.
    pub hmac_key_id: KeyId,
    /// When it was begun.
    pub begun: Micros,
}

/// What a segment says of itself at its end: the CBOR array of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The number of the last row.
    pub last: u64,
    /// How many rows there are, at least 1.
    pub rows: u64,
    /// The hash of the last row.
    pub last_hash: Digest,
    /// The Merkle root over the rows' hashes (RFC 9162).
    pub merkle_root: Digest,
    /// When it was sealed.
    pub sealed: Micros,
    /// Whether the writer's successor sealed it, after a crash.
    pub recovered: bool,
}

/// A segment that does not hold.
#[derive(Debug, thiserror::Error)]
#[error("{}, byte {offset}{}: {fault}", path.display(), seq.map_or_else(String::new, |seq| format!(", row {seq}")))]
pub struct SegmentError {
    /// The file.
    pub path: PathBuf,
    /// Where the frame at fault begins.
    pub offset: u64,
    /// The number of the row at fault, or of the one that was expected.
    pub seq: Option<u64>,
    /// What is wrong.
    pub fault: SegmentFault,
}

/// What can be wrong with a segment.
#[derive(Debug, thiserror::Error)]
pub enum SegmentFault {
    /// The bytes are no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame that does not belong here.
    #[error("{0}")]
    Order(&'static str),
    /// A header or seal that cannot be read.
    #[error("{0}")]
    Content(#[from] minicbor::decode::Error),
    /// Another format than this program knows.
    #[error(
        "format {format} and schema {schema}; this program reads {SEGMENT_FORMAT} and {SCHEMA}"
    )]
    Version {
        /// The segment's.
        format: u32,
        /// The rows'.
        schema: u32,
    },
    /// A row that cannot be read.
    #[error(transparent)]
    Row(#[from] RowError),
    /// A row of another chain.
    #[error("the row is of chain {0}")]
    Chain(ChainId),
    /// A row out of its turn.
    #[error("the row has the number {0}")]
    Seq(u64),
    /// The chain is broken.
    #[error("prev_hash is {found}, the row before has {expected}")]
    PrevHash {
        /// What the row says.
        found: Digest,
        /// The hash of the row before.
        expected: Digest,
    },
    /// The seal does not hold.
    #[error("the seal says {said}, the rows give {found}")]
    Seal {
        /// What it says.
        said: String,
        /// What is so.
        found: String,
    },
}

impl SegmentFault {
    /// Whether the file could not be read, rather than being wrong.
    pub const fn is_io(&self) -> bool {
        matches!(self, Self::Frame(FrameError::Read(_)))
    }
}

/// A row that was read, with its hash.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRow {
    /// The row.
    pub row: Row,
    /// The hash of its bytes.
    pub hash: Digest,
}

impl SegmentHeader {
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        // Writing to memory has no error.
        let _ = self.encode(&mut Encoder::new(bytes));
    }

    fn encode(&self, e: &mut Writer<'_>) -> Written {
        e.array(7)?.u32(SEGMENT_FORMAT)?.u32(self.schema)?;
        e.str(&self.chain.to_string())?.u64(self.first)?;
        e.bytes(self.prev_hash.as_bytes())?.str(self.hmac_key_id.as_str())?;
        e.i64(self.begun.0)?;
        Ok(())
    }

    fn read(bytes: &[u8]) -> Result<Self, SegmentFault> {
        let mut d = Decoder::new(bytes);
        let (length, format) = (d.array()?, d.u32()?);
        let schema = d.u32()?;
        if length != Some(7) || format != SEGMENT_FORMAT || schema != SCHEMA {
            return Err(SegmentFault::Version { format, schema });
        }
        let wrong = SegmentFault::Order("the header has no good chain or key id");
        let (chain, first) = (d.str()?.parse::<ChainId>(), d.u64()?);
        let (prev_hash, key) = (read_digest(&mut d)?, d.str()?.parse::<KeyId>());
        let (Ok(chain), Ok(hmac_key_id)) = (chain, key) else { return Err(wrong) };
        Ok(Self { schema, chain, first, prev_hash, hmac_key_id, begun: Micros(d.i64()?) })
    }
}

impl Seal {
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        let _ = self.encode(&mut Encoder::new(bytes));
    }

    fn encode(&self, e: &mut Writer<'_>) -> Written {
        e.array(6)?.u64(self.last)?.u64(self.rows)?.bytes(self.last_hash.as_bytes())?;
        e.bytes(self.merkle_root.as_bytes())?.i64(self.sealed.0)?.bool(self.recovered)?;
        Ok(())
    }

    fn read(bytes: &[u8]) -> Result<Self, SegmentFault> {
        let mut d = Decoder::new(bytes);
        if d.array()? != Some(6) {
            return Err(SegmentFault::Order("the seal has not six fields"));
        }
        Ok(Self {
            last: d.u64()?,
            rows: d.u64()?,
            last_hash: read_digest(&mut d)?,
            merkle_root: read_digest(&mut d)?,
            sealed: Micros(d.i64()?),
            recovered: d.bool()?,
        })
    }
}

/// Reads a segment from its beginning, row by row; it ends after the last good row of a segment that
/// is still written, and at the seal of another. What is wrong is the last item.
#[derive(Debug)]
pub struct SegmentReader<R = BufReader<File>> {
    file: R,
    path: PathBuf,
    header: SegmentHeader,
    payload: Vec<u8>,
    next: u64,
    hash: Digest,
    tree: MerkleTree,
    seal: Option<Seal>,
    /// Where the next frame begins; up to here all is good.
    offset: u64,
    /// Where the last row ends.
    rows_end: u64,
    ended: bool,
}

fn at_start(path: &Path, fault: SegmentFault) -> SegmentError {
    SegmentError { path: path.to_owned(), offset: 0, seq: None, fault }
}

impl SegmentReader {
    /// Opens the segment at `path` and reads its header.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn open(path: &Path) -> Result<Self, SegmentError> {
        let read = |error| at_start(path, FrameError::Read(error).into());
        let file = BufReader::with_capacity(256 << 10, File::open(path).map_err(read)?);
        Self::begin(file, path)
    }
}

impl<R: Read> SegmentReader<R> {
    /// Reads the header of the segment that `file` gives; errors call it `path`.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn begin(mut file: R, path: &Path) -> Result<Self, SegmentError> {
        let failed = |fault: SegmentFault| at_start(path, fault);
        let mut payload = Vec::new();
        let kind = read_frame(&mut file, &mut payload).map_err(|error| failed(error.into()))?;
        match kind {
            Some(FrameKind::Header) => {}
            None => return Err(failed(FrameError::Torn.into())),
            Some(_) => return Err(failed(SegmentFault::Order("the first frame is no header"))),
        }
        let header = SegmentHeader::read(&payload).map_err(failed)?;
        Ok(Self {
            file,
            path: path.to_owned(),
            next: header.first,
            hash: header.prev_hash,
            offset: (FRAME_OVERHEAD + payload.len()) as u64,
            rows_end: (FRAME_OVERHEAD + payload.len()) as u64,
            header,
            payload,
            tree: MerkleTree::default(),
            seal: None,
            ended: false,
        })
    }

    /// What the segment says of itself.
    pub const fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// The seal, once all rows were read; it holds. `None` of a segment that is still written.
    pub const fn seal(&self) -> Option<&Seal> {
        self.seal.as_ref()
    }

    /// Where the good part ends that was read so far, in bytes.
    pub const fn good_bytes(&self) -> u64 {
        self.offset
    }

    /// Where the last row ends that was read so far, in bytes.
    pub const fn rows_end(&self) -> u64 {
        self.rows_end
    }

    /// The number that the next row has.
    pub const fn next_seq(&self) -> u64 {
        self.next
    }

    /// The hash of the last row that was read, or the header's.
    pub const fn last_hash(&self) -> Digest {
        self.hash
    }

    /// The tree over the rows that were read so far.
    pub const fn tree(&self) -> &MerkleTree {
        &self.tree
    }

    fn step(&mut self) -> Result<Option<StoredRow>, SegmentFault> {
        let row = match read_frame(&mut self.file, &mut self.payload)? {
            None => return Ok(None),
            Some(FrameKind::Header) => return Err(SegmentFault::Order("a second header")),
            Some(FrameKind::Row) => Some(self.row()?),
            Some(FrameKind::Seal) => {
                self.seal = Some(self.checked_seal()?);
                None
            }
        };
        self.offset += (FRAME_OVERHEAD + self.payload.len()) as u64;
        if row.is_some() {
            self.rows_end = self.offset;
        }
        if row.is_none() && read_frame(&mut self.file, &mut self.payload)?.is_some() {
            return Err(SegmentFault::Order("a frame after the seal"));
        }
        Ok(row)
    }

    fn row(&mut self) -> Result<StoredRow, SegmentFault> {
        let (row, hash) = (Row::from_cbor(&self.payload)?, Digest::of(&self.payload));
        if row.link.chain != self.header.chain {
            return Err(SegmentFault::Chain(row.link.chain));
        }
        if row.link.seq != self.next {
            return Err(SegmentFault::Seq(row.link.seq));
        }
        if row.link.prev_hash != self.hash {
            let found = row.link.prev_hash;
            return Err(SegmentFault::PrevHash { found, expected: self.hash });
        }
        self.next += 1;
        self.hash = hash;
        self.tree.push(&hash);
        Ok(StoredRow { row, hash })
    }

    fn checked_seal(&self) -> Result<Seal, SegmentFault> {
        let seal = Seal::read(&self.payload)?;
        let rows = self.tree.len();
        let told = |last: u64, rows: u64, hash: Digest, root: Digest| {
            format!("{rows} rows up to {last}, the last {hash}, root {root}")
        };
        let last = self.next.wrapping_sub(1);
        let found = (last, rows, self.hash, self.tree.root());
        if rows == 0 || (seal.last, seal.rows, seal.last_hash, seal.merkle_root) != found {
            let said = told(seal.last, seal.rows, seal.last_hash, seal.merkle_root);
            let found = told(found.0, found.1, found.2, found.3);
            return Err(SegmentFault::Seal { said, found });
        }
        Ok(seal)
    }
}

impl<R: Read> Iterator for SegmentReader<R> {
    type Item = Result<StoredRow, SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step();
        self.ended = !matches!(step, Ok(Some(_)));
        step.transpose().map(|step| {
            step.map_err(|fault| SegmentError {
                path: self.path.clone(),
                offset: self.offset,
                seq: Some(self.next),
                fault,
            })
        })
    }
}
