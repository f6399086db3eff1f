//! The record: what was answered, durable before the answer leaves.
//!
//! A row goes from [`Record`] to a frame of a segment in the spool, chained to the row before it by its
//! hash; sealed segments become Parquet files and manifests in the store, which are verified there.
//! `docs/audit.md` describes the format.
//! This room must never store a pixel, a file's name or an identifier: keyed hashes stand for them.

mod cbor;
mod chain_writer;
mod commit;
mod commit_objects;
mod error;
mod export;
mod frame;
mod handle;
mod keys;
mod lock;
mod manifest;
mod merkle;
mod opening;
mod pack;
mod parquet_read;
mod parquet_write;
mod reading;
mod record;
mod refusals;
mod restore;
mod segment;
mod segment_writer;
mod ship;
mod ship_error;
mod ship_thread;
mod shipper;
mod show;
mod signing;
mod spool;
mod store_commit;
mod time;
mod verify;
mod verify_chain;
mod verify_commits;
mod verify_files;
mod verify_rows;

pub use cbor::RowError;
pub use chain_writer::{ChainWriter, Head};
pub use commit_objects::CoverError;
pub use error::{AuditError, AuditStartError};
pub use export::{Export, ExportError, ExportFormat};
pub use frame::{FrameError, FrameKind};
pub use handle::{Audit, AuditSettings, Durability};
pub use keys::{ANONYMOUS, HmacKey, KeyError, KeyId, KeyIdError, KeyRing};
pub use lock::DirLock;
pub use manifest::{MANIFEST_FORMAT, Manifest, ManifestError, ManifestFile};
pub use merkle::MerkleTree;
pub use opening::OpeningSettings;
pub use pack::PackError;
pub use parquet_read::ParquetReadError;
pub use reading::{ReadError, each_row};
pub use record::{
    AuditId, COLUMNS, ChainId, IdError, InputKind, Link, NO_HASH, NO_MODEL, Record, Row, SCHEMA,
    Status,
};
pub use segment::{
    SEGMENT_FORMAT, Seal, SegmentError, SegmentFault, SegmentHeader, SegmentReader, StoredRow,
};
pub use segment_writer::SegmentWriter;
pub use ship::{ShipParts, Shipped, finish_chain, ship_chain};
pub use ship_error::ShipError;
pub use ship_thread::ShipThread;
pub use shipper::{Round, ShipBy, Shipper, ShipperSettings};
pub use show::{Filter, TABLE_HEAD, hashes_of, line, to_json};
pub use signing::{ManifestKey, SigningError};
pub use spool::{
    AdoptedChain, ChainDir, Damage, OWNER_LOCK, Recovery, SHIP_LOCK, SealedSegment, SpoolError,
    WholeRows, chains, used_bytes,
};
pub use time::{IsoWeek, Micros, TimeError};
pub use verify::{Finding, OpenChain, Verification, Verified, VerifyError};
