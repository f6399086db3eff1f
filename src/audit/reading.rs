//! Rows out of the store and the spool, each once, the oldest first.
//!
//! A file's key says model, day, chain and numbers, so that only files are read that may hold what is wanted.
//! Time never goes back within a chain: its files, then its commits of which there are no files yet, then what
//! is still in the spool are in their order, and chains are merged by time. What has been shipped and is still
//! in the spool is read from the store.
//! This file must never hold more of a chain than the files of one segment.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::ops::ControlFlow;
use std::path::Path;

use super::commit_objects::{CommitObject, CoverError, MAX_COMMIT, commit_rows, commits, covered};
use super::manifest::FILES;
use super::parquet_read::{self, ParquetReadError};
use super::record::{ChainId, Row};
use super::segment::SegmentError;
use super::show::Filter;
use super::spool::{SpoolError, chains};
use super::time::Micros;
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

    /// Its rows that are wanted and `fresh`.
    async fn rows(
        &self,
        store: &dyn ObjectStore,
        filter: &Filter,
        fresh: impl Fn(&Row) -> bool,
    ) -> Result<Vec<Row>, ReadError> {
        let bytes = store.get(&self.key, MAX_FILE).await?;
        let mut rows = Vec::new();
        let read = parquet_read::rows(bytes, |row| {
            if filter.admits(&row.record) && fresh(&row) {
                rows.push(row);
            }
            Ok(())
        });
        let failed = |error| ReadError::File { key: self.key.to_string(), error };
        read.map_err(failed)?;
        Ok(rows)
    }

    /// No row of it is older.
    fn begins(&self) -> Micros {
        self.date.parse().unwrap_or(Micros(i64::MIN))
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

/// Hands every row that is wanted to `each`, the oldest first: of the store, then those of the spool that are
/// not in the store. It reads files where it is called, so no request may wait for that thread.
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
    let mut all: BTreeMap<ChainId, ChainRows> = BTreeMap::new();
    for dir in chains(spool)? {
        all.entry(dir.chain).or_default().spool = Some(Box::new(dir.rows()?));
    }
    let (mut files, mut committed) = (Vec::new(), Parts::default());
    if let Some(store) = store {
        // Commits before files: one that goes away in between is in a file then.
        let mut waits = commits(store, None).await?;
        let next = covered(store, &waits).await?;
        waits.retain(|it| it.last >= next.get(&it.chain).copied().unwrap_or_default());
        files = listed(store, filter).await?;
        for commit in waits {
            committed.add(&commit);
            all.entry(commit.chain).or_default().commits.push_back(commit);
        }
    }
    let shipped = Shipped::of(&files);
    let mut wanted: Vec<&RowFile> = files.iter().filter(|file| file.may_hold(filter)).collect();
    if let (Some(store), Some(id)) = (store, filter.audit_id) {
        // The rows of a request lie in one file, of the day that its number says or one nearby.
        let day = id.made().date();
        wanted.sort_by_key(|file| file.date != day);
        for file in wanted.drain(..) {
            let rows = file.rows(store, filter, |_| true).await?;
            if !rows.is_empty() {
                let _ = rows.into_iter().try_for_each(each);
                return Ok(());
            }
        }
    }
    wanted.sort_by_key(|file| (file.chain, file.first));
    for file in wanted {
        let of = all.entry(file.chain).or_default();
        match of.segments.back_mut() {
            Some((last, files)) if file.first <= *last => {
                *last = file.last.max(*last);
                files.push(file.clone());
            }
            _ => of.segments.push_back((file.last, vec![file.clone()])),
        }
    }
    Merge { store, filter, shipped, committed }.run(all, each).await
}

/// What is still to be read of a chain.
#[derive(Default)]
struct ChainRows {
    /// Files whose numbers overlap, with the last of these: those of one segment, by rising number.
    segments: VecDeque<(u64, Vec<RowFile>)>,
    commits: VecDeque<CommitObject>,
    spool: Option<Box<dyn Iterator<Item = Result<Row, SpoolError>>>>,
    /// What was read and is wanted.
    ready: VecDeque<Row>,
}

impl ChainRows {
    /// No row of it is older.
    fn begins(&self) -> Micros {
        let first = self.segments.front().map(|(_, files)| files.iter().map(RowFile::begins).min());
        first.flatten().unwrap_or(Micros(i64::MIN))
    }
}

/// Chains that are merged by time.
struct Merge<'a> {
    store: Option<&'a dyn ObjectStore>,
    filter: &'a Filter,
    shipped: Shipped<'a>,
    committed: Parts,
}

impl Merge<'_> {
    async fn run(
        &self,
        chains: BTreeMap<ChainId, ChainRows>,
        each: Each<'_>,
    ) -> Result<(), ReadError> {
        let mut later: Vec<ChainRows> = chains.into_values().collect();
        later.sort_by_key(|chain| Reverse(chain.begins()));
        let mut open: Vec<ChainRows> = Vec::new();
        let mut next: BinaryHeap<Reverse<(Micros, ChainId, u64, usize)>> = BinaryHeap::new();
        let place =
            |row: &Row, at: usize| Reverse((row.record.ts, row.link.chain, row.link.seq, at));
        loop {
            // A chain is begun when it may have the next row, not before.
            let now = next.peek().map(|Reverse((ts, ..))| *ts);
            if let Some(mut chain) =
                later.pop_if(|chain| now.is_none_or(|now: Micros| chain.begins() <= now))
            {
                self.fill(&mut chain).await?;
                next.extend(chain.ready.front().map(|row| place(row, open.len())));
                open.push(chain);
                continue;
            }
            let Some(Reverse((.., at))) = next.pop() else { return Ok(()) };
            let Some(chain) = open.get_mut(at) else { return Ok(()) };
            if let Some(row) = chain.ready.pop_front()
                && each(row).is_break()
            {
                return Ok(());
            }
            self.fill(chain).await?;
            next.extend(chain.ready.front().map(|row| place(row, at)));
        }
    }

    /// Reads on in a chain until something is wanted, or to its end.
    async fn fill(&self, chain: &mut ChainRows) -> Result<(), ReadError> {
        while chain.ready.is_empty() {
            if let Some(store) = self.store
                && let Some((_, files)) = chain.segments.pop_front()
            {
                let mut rows = Vec::new();
                for file in files {
                    rows.append(&mut file.rows(store, self.filter, |_| true).await?);
                }
                rows.sort_by_key(|row| (row.record.ts, row.link.chain, row.link.seq));
                chain.ready = rows.into();
            } else if let Some(store) = self.store
                && let Some(commit) = chain.commits.pop_front()
            {
                chain.ready = self.committed(store, commit, &mut chain.commits).await?.into();
            } else if let Some(row) = chain.spool.as_mut().and_then(Iterator::next) {
                let row = row?;
                let (of, seq) = (row.link.chain, row.link.seq);
                let known = self.shipped.has(&row) || self.committed.overlaps(of, seq, seq);
                chain
                    .ready
                    .extend(Some(row).filter(|row| !known && self.filter.admits(&row.record)));
            } else {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The rows of a commit that are in no file; where it was shipped and removed meanwhile, those of the files
    /// that it and the `others` which went the same way have become.
    async fn committed(
        &self,
        store: &dyn ObjectStore,
        commit: CommitObject,
        others: &mut VecDeque<CommitObject>,
    ) -> Result<Vec<Row>, ReadError> {
        let (mut gone, mut rows) = (Parts::default(), Vec::new());
        let mut next = Some(commit);
        while let Some(commit) = next {
            let content = match store.get(&commit.key, MAX_COMMIT).await {
                Err(StoreError::NotFound { .. }) => {
                    gone.add(&commit);
                    next = others.pop_front();
                    continue;
                }
                content => content?,
            };
            let read = commit_rows(&commit, content).map_err(ReadError::Commit)?;
            let fresh = |row: &Row| !self.shipped.has(row) && self.filter.admits(&row.record);
            rows.extend(read.into_iter().map(|stored| stored.row).filter(fresh));
            break;
        }
        if !gone.0.is_empty() {
            let later = listed(store, self.filter).await?;
            for file in later.iter().filter(|file| gone.overlaps(file.chain, file.first, file.last))
            {
                let fresh = |row: &Row| {
                    let seq = row.link.seq;
                    gone.overlaps(row.link.chain, seq, seq) && !self.shipped.has(row)
                };
                rows.append(&mut file.rows(store, self.filter, fresh).await?);
            }
            rows.sort_by_key(|row| (row.record.ts, row.link.seq));
        }
        Ok(rows)
    }
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
