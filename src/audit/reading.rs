//! Rows out of the store and the spool, each once.
//!
//! A file's key says model, day, chain and numbers, so that only files are read that may hold what is wanted.
//! What has been shipped and is still in the spool is read from the store; between the two come commits of
//! which there are no files yet.
//! This file must never hold more than one file of rows.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use super::commit_objects::{CommitObject, CoverError, MAX_COMMIT, commit_rows, commits, covered};
use super::manifest::FILES;
use super::parquet_read::{self, ParquetReadError};
use super::record::{ChainId, Row};
use super::segment::SegmentError;
use super::show::Filter;
use super::spool::{SpoolError, rows_of};
use crate::store::{ObjectKey, ObjectStore, StoreError, list_all};

/// Bytes of a file of rows at most.
pub(super) const MAX_FILE: u64 = 4 << 30;

/// Rows that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the store.
    #[error("{key}: {error}; `hilum audit verify` says what else is wrong")]
    File {
        /// Which.
        key: String,
        /// Why.
        error: ParquetReadError,
    },
    /// A commit of the store.
    #[error("the store's commit {0}")]
    Commit(SegmentError),
    /// What manifests cover.
    #[error(transparent)]
    Cover(#[from] CoverError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// What is read, and how far: everything that is wanted, or until someone has enough.
pub type Each<'a> = &'a mut dyn FnMut(Row) -> ControlFlow<()>;

/// Model, day and chain: what all rows of a file share.
type FilePlace<'a> = (&'a str, String, ChainId);

/// A file of rows, by its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct RowFile {
    date: String,
    chain: ChainId,
    first: u64,
    last: u64,
    model: String,
    key: ObjectKey,
}

impl RowFile {
    /// What a key says; `None` where it is none of a file of rows.
    fn named(key: &ObjectKey) -> Option<Self> {
        let (model, rest) = key.as_str().strip_prefix(FILES)?.split_once("/dt=")?;
        let (date, file) = rest.split_once('/')?;
        let mut parts = file.strip_suffix(".parquet")?.split('-');
        let (chain, first, last) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            date: date.to_owned(),
            chain: chain.parse().ok()?,
            first: first.parse().ok()?,
            last: last.parse().ok()?,
            model: model.to_owned(),
            key: key.clone(),
        })
    }

    /// Hands its rows that are wanted to `each`; says whether there was one, and whether it has enough.
    async fn rows(
        &self,
        store: &dyn ObjectStore,
        filter: &Filter,
        fresh: impl Fn(&Row) -> bool,
        each: Each<'_>,
    ) -> Result<(bool, ControlFlow<()>), ReadError> {
        let bytes = store.get(&self.key, MAX_FILE).await?;
        let (mut found, mut enough) = (false, ControlFlow::Continue(()));
        let read = parquet_read::rows(bytes, |row| {
            if enough.is_continue() && filter.admits(&row.record) && fresh(&row) {
                found = true;
                enough = each(row);
            }
            Ok(())
        });
        let failed = |error| ReadError::File { key: self.key.to_string(), error };
        read.map_err(failed)?;
        Ok((found, enough))
    }

    fn may_hold(&self, filter: &Filter) -> bool {
        filter.since.is_none_or(|since| self.date >= since.date())
            && filter.until.is_none_or(|until| self.date <= until.date())
    }
}

/// Numbers of rows by chain: parts that do not overlap, by rising number.
#[derive(Debug, Default)]
struct Parts(BTreeMap<ChainId, Vec<(u64, u64)>>);

impl Parts {
    fn add(&mut self, commit: &CommitObject) {
        self.0.entry(commit.chain).or_default().push((commit.first, commit.last));
    }

    fn overlaps(&self, chain: ChainId, first: u64, last: u64) -> bool {
        self.0.get(&chain).is_some_and(|parts| {
            let at = parts.partition_point(|(_, end)| *end < first);
            parts.get(at).is_some_and(|(begin, _)| *begin <= last)
        })
    }
}

/// Hands every row that is wanted to `each`: those of the store by day and chain, first out of files, then out
/// of commits that have no file yet, then those of the spool that are not in the store. It reads files where it
/// is called, so no request may wait for that thread.
///
/// # Errors
/// [`ReadError`]; what was handed out before it holds.
pub async fn each_row(
    store: Option<&dyn ObjectStore>,
    spool: &Path,
    filter: &Filter,
    each: Each<'_>,
) -> Result<(), ReadError> {
    // Its files are opened before the store is listed: what is shipped meanwhile is still read.
    let waiting = rows_of(spool)?;
    let (mut files, mut waits, mut committed) = (Vec::new(), Vec::new(), Parts::default());
    if let Some(store) = store {
        // Commits before files: one that goes away in between is in a file then.
        waits = commits(store, None).await?;
        let next = covered(store, &waits).await?;
        waits.retain(|it| it.last >= next.get(&it.chain).copied().unwrap_or_default());
        files = listed(store, filter).await?;
    }
    if let Some(id) = filter.audit_id {
        // The rows of a request lie in one file, of the day that its number says or one nearby.
        let day = id.made().date();
        files.sort_by_key(|file| file.date != day);
    }
    let shipped = Shipped::of(&files);
    if let Some(store) = store {
        for file in files.iter().filter(|file| file.may_hold(filter)) {
            let (found, enough) = file.rows(store, filter, |_| true, each).await?;
            if enough.is_break() || (found && filter.audit_id.is_some()) {
                return Ok(());
            }
        }
        let mut gone = Parts::default();
        for commit in &waits {
            committed.add(commit);
            let content = match store.get(&commit.key, MAX_COMMIT).await {
                Err(StoreError::NotFound { .. }) => {
                    gone.add(commit);
                    continue;
                }
                content => content?,
            };
            for stored in commit_rows(commit, content).map_err(ReadError::Commit)? {
                let wanted = !shipped.has(&stored.row) && filter.admits(&stored.row.record);
                if wanted && each(stored.row).is_break() {
                    return Ok(());
                }
            }
        }
        // What was shipped while we read.
        let later = if gone.0.is_empty() { Vec::new() } else { listed(store, filter).await? };
        for file in later.iter().filter(|file| gone.overlaps(file.chain, file.first, file.last)) {
            let fresh = |row: &Row| {
                let seq = row.link.seq;
                gone.overlaps(row.link.chain, seq, seq) && !shipped.has(row)
            };
            if file.rows(store, filter, fresh, each).await?.1.is_break() {
                return Ok(());
            }
        }
    }
    for row in waiting {
        let row = row?;
        let seq = row.link.seq;
        let known = shipped.has(&row) || committed.overlaps(row.link.chain, seq, seq);
        if !known && filter.admits(&row.record) && each(row).is_break() {
            return Ok(());
        }
    }
    Ok(())
}

/// The numbers that files of rows hold, by model, day and chain.
struct Shipped<'a>(BTreeMap<FilePlace<'a>, Vec<(u64, u64)>>);

impl<'a> Shipped<'a> {
    fn of(files: &'a [RowFile]) -> Self {
        let mut places: BTreeMap<FilePlace<'_>, Vec<(u64, u64)>> = BTreeMap::new();
        for file in files {
            let place = (file.model.as_str(), file.date.clone(), file.chain);
            places.entry(place).or_default().push((file.first, file.last));
        }
        Self(places)
    }

    fn has(&self, row: &Row) -> bool {
        let (seq, record) = (row.link.seq, &row.record);
        let place = (record.model.as_str(), record.ts.date(), row.link.chain);
        let parts = self.0.get(&place);
        parts.is_some_and(|parts| parts.iter().any(|(first, last)| (*first..=*last).contains(&seq)))
    }
}

/// The files of rows by day, chain and numbers; of one model where only that is wanted.
async fn listed(store: &dyn ObjectStore, filter: &Filter) -> Result<Vec<RowFile>, StoreError> {
    let prefix = match &filter.model {
        Some(model) => format!("{FILES}{model}/dt="),
        None => FILES.to_owned(),
    };
    let all = list_all(store, &prefix).await?;
    let mut files: Vec<RowFile> = all.iter().filter_map(|it| RowFile::named(&it.key)).collect();
    files.sort();
    Ok(files)
}
