//! Commits in the store, for `audit.durability = "store"`: the rows of one group commit as one small object,
//! there before any of them is answered.
//!
//! An object is a sealed segment of the spool's format, so that it can be read, checked and put back into a
//! spool as it is. What the store did not take is kept and sent again, the same bytes under the same key,
//! until it does; nothing is committed meanwhile.
//! This file must never give up on an object whose rows are in the spool.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};

use super::chain_writer::ChainWriter;
use super::frame::{FrameKind, read_frame, write_frame};
use super::keys::KeyId;
use super::merkle::MerkleTree;
use super::record::{ChainId, SCHEMA};
use super::segment::{Seal, SegmentHeader};
use super::time::Micros;
use crate::domain::Digest;
use crate::store::{self, Keep, ObjectKey, ObjectStore, StoreError, StoreSettings};

/// How long nothing may be heard of the store before it is looked whether it is there: a service that nobody
/// asks shall not call itself ready without one.
const SILENCE: Duration = Duration::from_secs(10);

/// Where commits lie in the store.
pub(super) const COMMITS: &str = "audit/_commit/";

/// The store as the committer knows it. It blocks: the committer's thread has nothing else to do.
#[derive(Debug)]
pub(super) struct StoreCommits {
    settings: StoreSettings,
    /// There until this is dropped.
    runtime: Option<Runtime>,
    /// How long a call may take, all in all.
    bound: Duration,
    /// `None` until it was seen to let us in, and again once it refused: credentials are read anew then.
    store: Option<Arc<dyn ObjectStore>>,
    /// When it last did what it was asked.
    heard: Instant,
    /// What the store does not have yet.
    pending: Option<(ObjectKey, Bytes)>,
    /// What was logged last, so that an outage is not told each second.
    told: Option<String>,
}

/// Where a group of rows begins: what was there before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct GroupStart {
    /// The number of its first row.
    pub first: u64,
    /// The hash of the row before.
    pub prev_hash: Digest,
}

impl StoreCommits {
    /// Commits that have not begun; `bound` is how long a call may take.
    ///
    /// # Errors
    /// No timer.
    pub fn new(mut settings: StoreSettings, bound: Duration, now: Instant) -> io::Result<Self> {
        // Nobody waits longer for an answer than `bound`.
        if let StoreSettings::S3(settings) = &mut settings {
            let timing = &mut settings.timing;
            timing.connect = timing.connect.min(bound);
            timing.attempt = timing.attempt.min(bound);
            timing.whole = timing.whole.min(bound);
        }
        // Its own, so that calls go on however busy the service is.
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self {
            settings,
            runtime: Some(runtime),
            bound,
            store: None,
            heard: now,
            pending: None,
            told: None,
        })
    }

    /// Commits the rows that `chain` has appended since `start`.
    ///
    /// # Errors
    /// What the store says; the rows wait for [`StoreCommits::look`].
    pub fn commit(
        &mut self,
        chain: &ChainWriter,
        chain_id: ChainId,
        start: GroupStart,
        (ts, key): (Micros, &KeyId),
        now: Instant,
    ) -> Result<(), StoreError> {
        let header = SegmentHeader {
            schema: SCHEMA,
            chain: chain_id,
            first: start.first,
            prev_hash: start.prev_hash,
            hmac_key_id: key.clone(),
            begun: ts,
        };
        let last = chain.rows().saturating_sub(1);
        let object = object(&header, chain.frames(), last, chain.last_hash());
        let name = commit_key(chain_id, start.first, last);
        match name.parse::<ObjectKey>() {
            Ok(key) => self.pending = Some((key, object)),
            Err(error) => {
                return Err(StoreError::Refused { key: name, reason: error.to_string() });
            }
        }
        self.look(now)
    }

    /// Sends what the store does not have yet; at first, and where nothing was heard of it for long, looks
    /// whether it is there at all.
    ///
    /// # Errors
    /// What it says.
    pub fn look(&mut self, now: Instant) -> Result<(), StoreError> {
        let done = self.try_all(now);
        match &done {
            Ok(()) => self.told = None,
            Err(error) => {
                if !error.is_retryable() {
                    self.store = None;
                }
                let said = error.to_string();
                if self.told.as_ref() != Some(&said) {
                    tracing::error!(%error, "audit records cannot be committed to the store");
                    self.told = Some(said);
                }
            }
        }
        done
    }

    fn try_all(&mut self, now: Instant) -> Result<(), StoreError> {
        let silent = now.saturating_duration_since(self.heard) >= SILENCE;
        let store = match &self.store {
            Some(store) => {
                let store = Arc::clone(store);
                if silent && self.pending.is_none() {
                    // Called within the runtime: a folder's call needs it from its beginning.
                    self.bounded(async { store.check().await })?;
                    self.heard = now;
                }
                store
            }
            None => {
                let settings = self.settings.clone();
                let opened = self.bounded(async move {
                    let store = store::open(settings).await?;
                    store.check().await.map(|()| store)
                })?;
                self.heard = now;
                Arc::clone(self.store.insert(opened))
            }
        };
        let Some((key, content)) = self.pending.clone() else { return Ok(()) };
        self.bounded(async move { store.put_new(&key, content, Keep::UntilDeleted).await })?;
        (self.pending, self.heard) = (None, now);
        Ok(())
    }

    /// Waits for a call, not for ever.
    fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let bound = self.bound;
        let done = self
            .runtime
            .as_ref()
            .map(|runtime| runtime.block_on(async { tokio::time::timeout(bound, call).await }));
        match done {
            Some(Ok(done)) => done,
            Some(Err(_)) | None => {
                let reason = format!("no answer within {bound:?} (audit.commit_timeout)");
                Err(StoreError::Unavailable { key: COMMITS.to_owned(), reason })
            }
        }
    }
}

impl Drop for StoreCommits {
    /// A call to a folder that hangs must not hold the end up.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The key of a commit's object.
pub(super) fn commit_key(chain: ChainId, first: u64, last: u64) -> String {
    format!("{COMMITS}{chain}/{first}-{last}")
}

/// What the commits of `chain` begin with.
pub(super) fn commit_folder(chain: ChainId) -> String {
    format!("{COMMITS}{chain}/")
}

/// A sealed segment of these frames of rows.
fn object(header: &SegmentHeader, rows: &[u8], last: u64, last_hash: Digest) -> Bytes {
    let mut tree = MerkleTree::default();
    let (mut left, mut payload) = (rows, Vec::new());
    // They were written by ours just now: each is whole.
    while let Ok(Some(FrameKind::Row)) = read_frame(&mut left, &mut payload) {
        tree.push(&Digest::of(&payload));
    }
    let seal = Seal {
        last,
        rows: tree.len(),
        last_hash,
        merkle_root: tree.root(),
        sealed: header.begun,
        recovered: false,
    };
    let mut bytes = Vec::with_capacity(rows.len() + 512);
    write_frame(&mut bytes, FrameKind::Header, |bytes| header.write(bytes));
    bytes.extend_from_slice(rows);
    write_frame(&mut bytes, FrameKind::Seal, |bytes| seal.write(bytes));
    bytes.into()
}
