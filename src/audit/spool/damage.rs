//! Tells a torn tail from damage: behind what a crash has torn stands no whole row.
//!
//! Rows are written one behind the other, and what was not acknowledged stands behind what was. Bytes that
//! hold nothing, with whole rows of the same chain behind them, and whole rows that do not continue the chain
//! were therefore changed after they were written, or never reached a disk that had said so.
//! This file must never change a file.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};

use crate::audit::frame::{FRAME_OVERHEAD, FrameKind, read_frame};
use crate::audit::record::{ChainId, Row};
use crate::audit::segment::{SegmentError, SegmentFault};

/// A row takes some hundreds of bytes: a frame that says it is longer than this is not looked for.
const MAX_ROW: u32 = 1 << 20;

/// A segment that does not hold in its middle.
#[derive(Debug, thiserror::Error)]
#[error(
    "{error}; {} whole rows of the chain stand from there on ({} to {}), so that this is damage and no torn tail: the \
     segment is left as it is. Put the file right from a copy, or keep a copy and cut it there: truncate -s {} {}",
    behind.rows, behind.first, behind.last, error.offset, error.path.display()
)]
pub struct Damage {
    /// What does not hold.
    pub error: SegmentError,
    /// What stands behind it.
    pub behind: WholeRows,
}

/// Whole rows of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholeRows {
    /// How many.
    pub rows: u64,
    /// The number of the first.
    pub first: u64,
    /// The number of the last.
    pub last: u64,
}

/// The whole rows of `chain` that stand where `error` is, and behind it. `None` where there is none, and where
/// the frame at fault is whole by now: its writer was at it.
///
/// # Errors
/// The file cannot be read.
pub fn whole_rows_from(error: &SegmentError, chain: ChainId) -> io::Result<Option<WholeRows>> {
    let mut file = File::open(&error.path)?;
    file.seek(io::SeekFrom::Start(error.offset))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let mut payload = Vec::new();
    let is_whole = matches!(read_frame(&mut bytes.as_slice(), &mut payload), Ok(Some(_)));
    if is_whole && matches!(error.fault, SegmentFault::Frame(_)) {
        return Ok(None);
    }
    let mut found: Option<WholeRows> = None;
    let mut at = 0;
    while let Some(rest) = bytes.get(at..) {
        let Some(seq) = row_at(rest, chain, &mut payload) else {
            if rest.len() <= FRAME_OVERHEAD {
                break;
            }
            at += 1;
            continue;
        };
        let before = found.unwrap_or(WholeRows { rows: 0, first: seq, last: seq });
        found = Some(WholeRows { rows: before.rows + 1, last: seq, ..before });
        at += FRAME_OVERHEAD + payload.len();
    }
    Ok(found)
}

/// The number of the row of `chain` whose frame `bytes` begin with.
fn row_at(mut bytes: &[u8], chain: ChainId, payload: &mut Vec<u8>) -> Option<u64> {
    // Most places are told by these alone.
    let &[a, b, c, d, _, _, _, _, kind, ..] = bytes else { return None };
    let length = u32::from_le_bytes([a, b, c, d]);
    if kind != FrameKind::Row as u8 || length == 0 || length > MAX_ROW {
        return None;
    }
    let Ok(Some(FrameKind::Row)) = read_frame(&mut bytes, payload) else { return None };
    let row = Row::from_cbor(payload).ok()?;
    (row.link.chain == chain).then_some(row.link.seq)
}
