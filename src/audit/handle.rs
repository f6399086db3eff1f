//! The audit as those see it who answer: keys, a check before work begins, and a record that is durable
//! when `record` returns.
//!
//! This file must never block: who waits here waits on a channel.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use super::chain_writer::{ChainWriter, Head};
use super::commit::{Command, Committer};
use super::error::{AuditError, AuditStartError};
use super::keys::KeyRing;
use super::lock::DirLock;
use super::record::{ChainId, NO_HASH, Record};
use super::refusals::Refusals;
use super::spool::{self, ChainDir, OWNER_LOCK, Recovery};
use super::store_commit::StoreCommits;
use super::time::Micros;
use crate::domain::{Digest, Fault};
use crate::lifecycle::{Clock, Readiness, ReadinessPart};
use crate::store::StoreSettings;
use crate::telemetry::{AuditMetrics, Metrics};

/// When an answer may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Once its record is on the spool's disk.
    Spool,
    /// Once its record was handed over; it may be lost.
    BestEffort,
    /// Once the object store has its record.
    Store,
}

/// How the audit works.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditSettings {
    /// The spool.
    pub spool_dir: PathBuf,
    /// The keys' file; `None` for one in the spool, which is made.
    pub keys_file: Option<PathBuf>,
    /// When an answer may leave.
    pub durability: Durability,
    /// Where commits go with [`Durability::Store`], which needs it; the others pass it over.
    pub store: Option<StoreSettings>,
    /// Bytes that all chains of the spool may take.
    pub max_bytes: u64,
    /// Bytes at which a segment is sealed.
    pub seal_bytes: u64,
    /// The age at which a segment is sealed.
    pub seal_age: Duration,
    /// How long a caller waits for its record.
    pub commit_timeout: Duration,
    /// Requests whose records may wait.
    pub queue: usize,
    /// The digest of the container image that serves.
    pub image_digest: Option<Digest>,
}

/// The audit of a service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Audit(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    sender: SyncSender<Command>,
    shared: Arc<Shared>,
    chain: ChainId,
    durability: Durability,
    commit_timeout: Duration,
    image_digest: Option<Digest>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What callers and the thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub keys: KeyRing,
    pub clock: Arc<dyn Clock>,
    pub metrics: AuditMetrics,
    pub refusals: Refusals,
    pub head: watch::Sender<Head>,
    readiness: ReadinessPart,
    /// 0 = good, else 1 + the place in [`AuditError::ALL`].
    state: AtomicU8,
    best_effort: bool,
}

impl Shared {
    pub fn state(&self) -> Option<AuditError> {
        let state = usize::from(self.state.load(Ordering::Acquire));
        state.checked_sub(1).and_then(|place| AuditError::ALL.get(place).copied())
    }

    pub fn set_state(&self, state: Option<AuditError>) {
        let place = |error| AuditError::ALL.iter().position(|one| *one == error).unwrap_or(0) + 1;
        let number = u8::try_from(state.map_or(0, place)).unwrap_or(1);
        self.state.store(number, Ordering::Release);
        self.metrics.unavailable(state.is_some_and(|state| state != AuditError::Ended));
        match state {
            // With "best_effort" the service goes on without its record.
            Some(error) if !self.best_effort => self.readiness.refuse(error.to_string()),
            _ => self.readiness.release(),
        }
    }
}

impl Audit {
    /// None: for answers that nobody serves, at a terminal.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Opens the spool, mends what dead processes left in it, and begins a chain.
    ///
    /// # Errors
    /// [`AuditStartError`].
    pub fn start(
        settings: &AuditSettings,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
        readiness: &Readiness,
    ) -> Result<Self, AuditStartError> {
        let failed = |path: &PathBuf| {
            let path = path.clone();
            move |error| AuditStartError::Spool { path, error }
        };
        let spool = &settings.spool_dir;
        std::fs::create_dir_all(spool).map_err(failed(spool))?;
        let keys = match &settings.keys_file {
            Some(path) => KeyRing::read(path)?,
            None => KeyRing::read_or_make(&spool.join("keys.toml"))?,
        };
        let commits = match (settings.durability, &settings.store) {
            (Durability::Store, None) => return Err(AuditStartError::NoStore),
            (Durability::Store, Some(store)) => {
                let commits =
                    StoreCommits::new(store.clone(), settings.commit_timeout, clock.now());
                Some(commits.map_err(AuditStartError::Thread)?)
            }
            (Durability::Spool | Durability::BestEffort, _) => None,
        };
        let now = Micros::of(clock.utc());
        adopt_dead(spool, now);
        let dir = ChainDir::of(spool, ChainId::at(now));
        std::fs::create_dir(&dir.path).map_err(failed(&dir.path))?;
        let lock = dir.path.join(OWNER_LOCK);
        let lock = DirLock::try_acquire(&lock).and_then(|held| {
            held.ok_or_else(|| std::io::Error::other("another process took the new folder's lock"))
        });
        let lock = lock.map_err(failed(&dir.path))?;
        let (sender, receiver) = sync_channel(settings.queue.max(1));
        let head = Head { rows: 0, hash: NO_HASH, sealed: 0 };
        let shared = Arc::new(Shared {
            keys,
            clock: Arc::clone(clock),
            metrics: metrics.audit(),
            refusals: Refusals::default(),
            head: watch::Sender::new(head),
            readiness: readiness.hold("audit"),
            state: AtomicU8::new(0),
            best_effort: settings.durability == Durability::BestEffort,
        });
        shared.metrics.reasons(AuditError::ALL.iter().map(|error| error.name()));
        // Not ready until the store was seen to be there.
        shared.set_state(commits.as_ref().map(|_| AuditError::Store));
        let committer = Committer {
            receiver,
            settings: settings.clone(),
            shared: Arc::clone(&shared),
            chain: ChainWriter::new(dir.path.clone(), dir.chain),
            used: spool::used_bytes(spool).unwrap_or(0),
            looked: clock.now(),
            refusals_at: i64::MIN,
            unsynced: false,
            commits,
            sealed: 0,
            lock,
            dir: dir.clone(),
        };
        let thread = std::thread::Builder::new().name("audit".to_owned());
        let thread = thread.spawn(move || committer.run()).map_err(AuditStartError::Thread)?;
        Ok(Self(Some(Arc::new(Inner {
            sender,
            shared,
            chain: dir.chain,
            durability: settings.durability,
            commit_timeout: settings.commit_timeout,
            image_digest: settings.image_digest,
            thread: Mutex::new(Some(thread)),
        }))))
    }

    /// Whether answers are written down.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The keys; `None` where nothing is written down.
    pub fn keys(&self) -> Option<&KeyRing> {
        self.0.as_ref().map(|inner| &inner.shared.keys)
    }

    /// The digest of the container image that serves.
    pub fn image_digest(&self) -> Option<Digest> {
        self.0.as_ref()?.image_digest
    }

    /// The chain that is written.
    pub fn chain(&self) -> Option<ChainId> {
        self.0.as_ref().map(|inner| inner.chain)
    }

    /// How far the chain is: changes with each commit and each seal.
    pub fn head(&self) -> Option<watch::Receiver<Head>> {
        self.0.as_ref().map(|inner| inner.shared.head.subscribe())
    }

    /// Whether a request may begin: what could not be written down is not worked on.
    ///
    /// # Errors
    /// [`AuditError`]: why not.
    pub fn check(&self) -> Result<(), AuditError> {
        let Some(inner) = &self.0 else { return Ok(()) };
        match inner.shared.state() {
            Some(error) if inner.durability != Durability::BestEffort => Err(error),
            _ => Ok(()),
        }
    }

    /// Counts a refusal before admission.
    pub fn refused(&self, fault: &dyn Fault) {
        if let Some(inner) = &self.0 {
            inner.shared.refusals.count(fault);
        }
    }

    /// Writes the rows of a request down. When this returns they are durable, unless durability is
    /// "best_effort", which never fails.
    ///
    /// # Errors
    /// [`AuditError`]: the request must not be answered.
    pub async fn record(&self, rows: Vec<Record>) -> Result<(), AuditError> {
        let Some(inner) = &self.0 else { return Ok(()) };
        if inner.durability == Durability::BestEffort {
            inner.send(rows, None);
            return Ok(());
        }
        let (caller, done) = oneshot::channel();
        if let Some(error) = inner.send(rows, Some(caller)) {
            return Err(error);
        }
        match tokio::time::timeout(inner.commit_timeout, done).await {
            Ok(done) => done.unwrap_or(Err(AuditError::Ended)),
            Err(_) => Err(AuditError::Slow),
        }
    }

    /// Hands rows over that nobody waits for: those of a caller that has left.
    pub fn record_left(&self, rows: Vec<Record>) {
        if let Some(inner) = &self.0 {
            inner.send(rows, None);
        }
    }

    /// Writes what waits, seals the segment and ends; blocks. What comes later is refused.
    pub fn end(&self) {
        let Some(inner) = &self.0 else { return };
        let thread = inner.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        let (done, ended) = oneshot::channel();
        if inner.sender.send(Command::End(done)).is_ok() {
            let _ = ended.blocking_recv();
        }
        let _ = thread.join();
    }
}

impl Inner {
    fn send(
        &self,
        rows: Vec<Record>,
        caller: Option<oneshot::Sender<Result<(), AuditError>>>,
    ) -> Option<AuditError> {
        let count = rows.len() as u64;
        let error = match self.sender.try_send(Command::Commit(rows, caller)) {
            Ok(()) => return None,
            Err(TrySendError::Full(_)) => AuditError::Behind,
            Err(TrySendError::Disconnected(_)) => AuditError::Ended,
        };
        if self.durability == Durability::BestEffort {
            self.shared.metrics.dropped(error.name(), count);
        }
        Some(error)
    }
}

/// Cuts and seals what dead processes left; what cannot be mended is told and left as it is.
fn adopt_dead(spool: &std::path::Path, now: Micros) {
    let chains = match spool::chains(spool) {
        Ok(chains) => chains,
        Err(error) => {
            tracing::warn!(%error, "the spool's chains cannot be listed");
            return;
        }
    };
    for dir in chains {
        let chain = dir.chain;
        match dir.try_adopt(now) {
            Ok(Some(adopted)) if adopted.recovery.sealed > 0 || adopted.recovery.cut_bytes > 0 => {
                let Recovery { sealed, cut_bytes, kept } = adopted.recovery;
                if kept.is_empty() {
                    tracing::info!(%chain, sealed, cut_bytes, "a dead process's chain was mended");
                } else {
                    tracing::warn!(%chain, sealed, cut_bytes, ?kept, "a dead process's chain had a torn tail");
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(%chain, %error, "a dead process's chain cannot be mended")
            }
        }
    }
}
