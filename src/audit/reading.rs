//! Rows out of the store and the spool, each once.
//!
//! A file's key says model, day, chain and numbers, so that only files are read that may hold what is wanted.
//! What has been shipped and is still in the spool is read from the store.
//! This file must never hold more than one file of rows.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use super::manifest::FILES;
use super::parquet_read::{self, ParquetReadError};
use super::record::{ChainId, Row};
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

    fn may_hold(&self, filter: &Filter) -> bool {
        filter.since.is_none_or(|since| self.date >= since.date())
            && filter.until.is_none_or(|until| self.date <= until.date())
    }
}

/// Hands every row that is wanted to `each`: those of the store by day and chain, then those of the spool that
/// are not in the store yet. It reads files where it is called, so no request may wait for that thread.
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
    let mut files = match store {
        Some(store) => listed(store, filter).await?,
        None => Vec::new(),
    };
    if let Some(id) = filter.audit_id {
        // The rows of a request lie in one file, of the day that its number says or one nearby.
        let day = id.made().date();
        files.sort_by_key(|file| file.date != day);
    }
    if let Some(store) = store {
        for file in files.iter().filter(|file| file.may_hold(filter)) {
            let bytes = store.get(&file.key, MAX_FILE).await?;
            let mut found = false;
            let mut enough = ControlFlow::Continue(());
            let read = parquet_read::rows(bytes, |row| {
                if enough.is_continue() && filter.admits(&row.record) {
                    found = true;
                    enough = each(row);
                }
                Ok(())
            });
            let failed = |error| ReadError::File { key: file.key.to_string(), error };
            read.map_err(failed)?;
            if enough.is_break() || (found && filter.audit_id.is_some()) {
                return Ok(());
            }
        }
    }
    let mut shipped: BTreeMap<FilePlace<'_>, Vec<(u64, u64)>> = BTreeMap::new();
    for file in &files {
        let place = (file.model.as_str(), file.date.clone(), file.chain);
        shipped.entry(place).or_default().push((file.first, file.last));
    }
    for row in waiting {
        let row = row?;
        let (seq, record) = (row.link.seq, &row.record);
        let place = (record.model.as_str(), record.ts.date(), row.link.chain);
        let known = shipped
            .get(&place)
            .is_some_and(|parts| parts.iter().any(|(first, last)| (*first..=*last).contains(&seq)));
        if !known && filter.admits(record) && each(row).is_break() {
            return Ok(());
        }
    }
    Ok(())
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
