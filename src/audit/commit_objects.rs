//! What of the record is in the store as commits alone: objects that `audit.durability = "store"` put there
//! before the answer, until files and a manifest hold the same rows.
//!
//! They are listed, read and, once a manifest covers them, taken away.
//! This file must never take away a commit that no manifest covers.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::{Buf as _, Bytes};
use futures::{StreamExt as _, TryStreamExt as _};

use super::manifest::{MAX_MANIFEST, Manifest, ManifestError};
use super::record::ChainId;
use super::segment::{SegmentError, SegmentFault, SegmentReader, StoredRow};
use super::store_commit::{COMMITS, commit_folder, commit_key};
use crate::store::{ObjectKey, ObjectStore, StoreError, list_all};

/// Bytes of a commit's object at most: rows of one group commit.
pub(super) const MAX_COMMIT: u64 = 1 << 30;
/// Commits that are taken away at the same time.
const AT_ONCE: usize = 16;

/// A commit's object, by its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CommitObject {
    pub chain: ChainId,
    pub first: u64,
    pub last: u64,
    pub key: ObjectKey,
}

/// Commits whose coverage cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum CoverError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A manifest that cannot be believed.
    #[error("{key}: {error}; `hilum audit verify` says what else is wrong")]
    Manifest {
        /// The object.
        key: String,
        /// Why.
        error: ManifestError,
    },
}

impl CommitObject {
    /// What a key says; `None` where it is none of a commit.
    pub fn named(key: &ObjectKey) -> Option<Self> {
        let (chain, numbers) = key.as_str().strip_prefix(COMMITS)?.split_once('/')?;
        let (first, last) = numbers.split_once('-')?;
        let (chain, first, last) = (chain.parse().ok()?, first.parse().ok()?, last.parse().ok()?);
        let is = first <= last && commit_key(chain, first, last) == key.as_str();
        is.then(|| Self { chain, first, last, key: key.clone() })
    }
}

/// The commits of a chain, or of all, by chain and number.
///
/// # Errors
/// What kept them from being listed.
pub(super) async fn commits(
    store: &dyn ObjectStore,
    chain: Option<ChainId>,
) -> Result<Vec<CommitObject>, StoreError> {
    let prefix = chain.map_or_else(|| COMMITS.to_owned(), commit_folder);
    let all = list_all(store, &prefix).await?;
    let mut found: Vec<_> = all.iter().filter_map(|it| CommitObject::named(&it.key)).collect();
    found.sort();
    Ok(found)
}

/// The rows of a commit; each holds, and so does the seal.
///
/// # Errors
/// What is wrong with the object.
pub(super) fn commit_rows(
    object: &CommitObject,
    content: Bytes,
) -> Result<Vec<StoredRow>, SegmentError> {
    let path = Path::new(object.key.as_str());
    let mut reader = SegmentReader::begin(content.reader(), path)?;
    let rows = reader.by_ref().collect::<Result<Vec<_>, _>>()?;
    let header = reader.header();
    let is = (header.chain, header.first, reader.seal().map(|seal| seal.last));
    if is == (object.chain, object.first, Some(object.last)) {
        return Ok(rows);
    }
    let fault = SegmentFault::Order("it has no seal, or is not what its key says");
    Err(SegmentError { path: path.to_owned(), offset: reader.good_bytes(), seq: None, fault })
}

/// The number of the row behind the last manifest, for each chain of `commits`.
///
/// # Errors
/// [`CoverError`].
pub(super) async fn covered(
    store: &dyn ObjectStore,
    commits: &[CommitObject],
) -> Result<BTreeMap<ChainId, u64>, CoverError> {
    let mut next = BTreeMap::new();
    for commit in commits {
        if next.contains_key(&commit.chain) {
            continue;
        }
        let all = list_all(store, &Manifest::folder(commit.chain)).await?;
        let numbers = all.iter().filter_map(|it| Manifest::named(&it.key));
        let covers = match numbers.map(|(_, number)| number).max() {
            None => 0,
            Some(number) => {
                let key = Manifest::key(commit.chain, number);
                let failed = |error| CoverError::Manifest { key: key.clone(), error };
                // Named by ours a moment ago: it is a key.
                let Ok(name) = key.parse::<ObjectKey>() else { continue };
                let bytes = store.get(&name, MAX_MANIFEST).await?;
                Manifest::read(&bytes).map_err(failed)?.last.saturating_add(1)
            }
        };
        next.insert(commit.chain, covers);
    }
    Ok(next)
}

/// Takes the commits of a chain away whose rows all lie before `next`: a manifest covers them. A store that
/// does not let go of them keeps them, which costs nothing but room.
///
/// # Errors
/// What the store says and time may mend.
pub(super) async fn clear_commits(
    store: &dyn ObjectStore,
    chain: ChainId,
    next: u64,
) -> Result<(), StoreError> {
    let mut found = commits(store, Some(chain)).await?;
    found.retain(|commit| commit.last < next);
    let deletes = found.into_iter().map(|commit| async move { store.delete(&commit.key).await });
    let cleared = futures::stream::iter(deletes).buffer_unordered(AT_ONCE).try_collect::<()>();
    match cleared.await {
        Err(error) if !error.is_retryable() => {
            tracing::warn!(%chain, %error, "commits in the store that are shipped cannot be removed");
            Ok(())
        }
        done => done,
    }
}
