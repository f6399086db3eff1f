//! The record as a service keeps it: what is written down by each way, refusals, faults.

mod accounts;
mod commit;
mod commits;
mod faults;

use std::path::Path;
use std::time::{Duration, Instant};

use hilum::audit::{KeyRing, Record, SegmentReader, StoredRow, chains};

use crate::harness::PATIENCE;

/// All rows of a spool that hold, the oldest chain first; of a segment that is written, those that
/// are whole.
pub fn stored(spool: &Path) -> Vec<StoredRow> {
    let segments = chains(spool).unwrap().into_iter().flat_map(|dir| dir.segments().unwrap());
    let rows = segments.filter_map(|path| SegmentReader::open(&path).ok());
    rows.flat_map(|reader| reader.map_while(Result::ok)).collect()
}

pub fn records(spool: &Path) -> Vec<Record> {
    stored(spool).into_iter().map(|stored| stored.row.record).collect()
}

/// The rows of one request, in their order.
pub fn of(spool: &Path, audit_id: &str) -> Vec<Record> {
    let mut rows = records(spool);
    rows.retain(|row| row.audit_id.to_string() == audit_id);
    rows
}

/// Waits until `found` gives something.
pub async fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn keys(spool: &Path) -> KeyRing {
    KeyRing::read(&spool.join("keys.toml")).unwrap()
}
