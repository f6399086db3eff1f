//! The record: what was answered, durable before the answer leaves.
//!
//! A row goes from [`Record`] to a frame of a segment in the spool, chained to the row before it by its
//! hash; sealed segments are what is shipped and verified. `docs/audit.md` describes the format.
//! This room must never store a pixel, a file's name or an identifier: keyed hashes stand for them.

mod cbor;
mod chain_writer;
mod commit;
mod error;
mod frame;
mod handle;
mod keys;
mod lock;
mod merkle;
mod record;
mod refusals;
mod segment;
mod segment_writer;
mod show;
mod spool;
mod time;

pub use cbor::RowError;
pub use chain_writer::{ChainWriter, Head};
pub use error::{AuditError, AuditStartError};
pub use frame::{FrameError, FrameKind};
pub use handle::{Audit, AuditSettings, Durability};
pub use keys::{ANONYMOUS, HmacKey, KeyError, KeyId, KeyIdError, KeyRing};
pub use lock::DirLock;
pub use merkle::MerkleTree;
pub use record::{
    AuditId, COLUMNS, ChainId, IdError, InputKind, Link, NO_HASH, NO_MODEL, Record, Row, SCHEMA,
    Status,
};
pub use segment::{
    SEGMENT_FORMAT, Seal, SegmentError, SegmentFault, SegmentHeader, SegmentReader, StoredRow,
};
pub use segment_writer::SegmentWriter;
pub use show::{Filter, TABLE_HEAD, hashes_of, line, to_json};
pub use spool::{
    AdoptedChain, ChainDir, OWNER_LOCK, Recovery, SHIP_LOCK, SealedSegment, SpoolError, chains,
    rows_of, used_bytes,
};
pub use time::{IsoWeek, Micros, TimeError};
