//! Group commit: one thread writes what all callers wait for, and answers them together.
//!
//! While one `fdatasync` runs, further records gather; the next one takes them all. With durability "store"
//! the group goes to the store as one object, too, before it is answered. Once a second the thread looks after
//! its directory: the bound, the lock, the age of the segment, refusals to be written.
//! This file must never answer a caller before its rows are durable, unless durability is "best_effort".

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::chain_writer::{ChainWriter, Head};
use super::error::AuditError;
use super::handle::{AuditSettings, Durability, Shared};
use super::keys::{ANONYMOUS, KeyId};
use super::lock::DirLock;
use super::record::{AuditId, NO_MODEL, Record};
use super::refusals::Refused;
use super::spool::{self, ChainDir};
use super::store_commit::{GroupStart, StoreCommits};
use super::time::Micros;

/// How often the thread looks after its directory.
const LOOK: Duration = Duration::from_secs(1);
/// Rows that are written together at most; what comes beyond waits for the next turn.
const MAX_ROWS: usize = 8192;

/// What callers send.
pub enum Command {
    /// Rows of one request.
    Commit(Vec<Record>, Option<oneshot::Sender<Result<(), AuditError>>>),
    /// What came before is written and the segment sealed; then the thread ends.
    End(oneshot::Sender<()>),
}

/// The thread's own.
pub struct Committer {
    pub(super) receiver: Receiver<Command>,
    pub(super) settings: AuditSettings,
    pub(super) shared: Arc<Shared>,
    pub(super) dir: ChainDir,
    pub(super) lock: DirLock,
    pub(super) chain: ChainWriter,
    /// Bytes of the whole spool: as measured, and what was written since.
    pub(super) used: u64,
    pub(super) looked: Instant,
    /// The second in which refusals were written last.
    pub(super) refusals_at: i64,
    pub(super) unsynced: bool,
    /// With durability "store".
    pub(super) commits: Option<StoreCommits>,
    pub(super) sealed: u64,
}

type Waiting = Vec<oneshot::Sender<Result<(), AuditError>>>;

impl Committer {
    /// Works until it is told to end, or nobody is left to tell it.
    pub fn run(mut self) {
        // Whether the store is there is not found out by the first caller.
        if self.commits.is_some() {
            self.look();
        }
        let done = loop {
            let wait = LOOK.saturating_sub(self.since_look());
            match self.receiver.recv_timeout(wait) {
                Ok(Command::Commit(rows, caller)) => {
                    if let Some(done) = self.gather(rows, caller) {
                        break Some(done);
                    }
                }
                Ok(Command::End(done)) => break Some(done),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break None,
            }
            if self.since_look() >= LOOK {
                self.looked = self.shared.clock.now();
                self.look();
            }
        };
        self.end();
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    /// Takes all that waits, and commits it. Gives back who wants the end.
    fn gather(
        &mut self,
        mut rows: Vec<Record>,
        caller: Option<oneshot::Sender<Result<(), AuditError>>>,
    ) -> Option<oneshot::Sender<()>> {
        let mut callers: Waiting = caller.into_iter().collect();
        let mut end = None;
        while rows.len() < MAX_ROWS {
            match self.receiver.try_recv() {
                Ok(Command::Commit(more, caller)) => {
                    rows.extend(more);
                    callers.extend(caller);
                }
                Ok(Command::End(done)) => {
                    end = Some(done);
                    break;
                }
                Err(_) => break,
            }
        }
        let lost = rows.len() as u64;
        let result = self.commit(rows);
        if let (Err(error), Durability::BestEffort) = (result, self.settings.durability) {
            self.shared.metrics.dropped(error.name(), lost);
        }
        for caller in callers {
            // A caller that has left has no use for it.
            let _ = caller.send(result);
        }
        end
    }

    fn since_look(&self) -> Duration {
        self.shared.clock.now().saturating_duration_since(self.looked)
    }

    fn now(&self) -> Micros {
        self.chain.moment(Micros::of(self.shared.clock.utc()))
    }

    fn commit(&mut self, rows: Vec<Record>) -> Result<(), AuditError> {
        if let Some(error) = self.shared.state() {
            return Err(error);
        }
        let count: u64 = rows.iter().map(|row| row.count).sum();
        let ts = self.now();
        let key = self.shared.keys.at(ts).id().clone();
        let room = self.settings.max_bytes.saturating_sub(self.used);
        let before = self.segment_bytes();
        let sync = self.settings.durability != Durability::BestEffort;
        let start = GroupStart { first: self.chain.rows(), prev_hash: self.chain.last_hash() };
        let begun = self.shared.clock.now();
        match self.chain.append(rows.into_iter(), ts, &key, room, sync) {
            Ok(()) => {}
            Err(error) => {
                let error = self.failed(&error);
                if error == AuditError::Full {
                    // Only what is sealed is shipped, and makes room.
                    self.seal(ts);
                }
                return Err(error);
            }
        }
        // Rows in a directory that another may have taken over are nowhere: nobody is answered for them.
        if sync && let Some(error) = self.lost() {
            self.tell_failed(error);
            self.shared.set_state(Some(error));
            return Err(error);
        }
        let stored = self.commit_to_store(start, ts, &key);
        let took = self.shared.clock.now().saturating_duration_since(begun);
        self.shared.metrics.committed(count, took);
        self.unsynced |= !sync;
        self.used += self.segment_bytes().saturating_sub(before);
        self.shared.metrics.spool_bytes(self.used);
        if self.segment_bytes() >= self.settings.seal_bytes {
            self.seal(ts);
        }
        self.tell();
        stored
    }

    /// What was appended since `start` goes to the store, where durability is "store". On failure the rows stay
    /// in the spool and are sent again, but nobody is answered.
    fn commit_to_store(
        &mut self,
        start: GroupStart,
        ts: Micros,
        key: &KeyId,
    ) -> Result<(), AuditError> {
        let Some(commits) = &mut self.commits else { return Ok(()) };
        let begun = self.shared.clock.now();
        let done = commits.commit(&self.chain, self.dir.chain, start, (ts, key), begun);
        let took = self.shared.clock.now().saturating_duration_since(begun);
        self.shared.metrics.committed_to_store(took);
        done.map_err(|_| {
            self.shared.metrics.failed(AuditError::Store.name());
            self.shared.set_state(Some(AuditError::Store));
            AuditError::Store
        })
    }

    fn segment_bytes(&self) -> u64 {
        self.chain.segment().map_or(0, |segment| segment.durable_bytes())
    }

    fn tell(&self) {
        let (rows, hash) = (self.chain.rows(), self.chain.last_hash());
        let head = Head { rows, hash, sealed: self.sealed };
        self.shared.head.send_if_modified(|was| std::mem::replace(was, head) != head);
    }

    /// Nothing is answered from now on until a look finds that it can be.
    fn failed(&mut self, error: &io::Error) -> AuditError {
        let path = self.dir.path.display();
        let state = match error.kind() {
            io::ErrorKind::QuotaExceeded if error.raw_os_error().is_none() => {
                let limit = self.settings.max_bytes;
                tracing::error!(%path, used = self.used, limit, "the audit's spool is full");
                AuditError::Full
            }
            _ => {
                tracing::error!(%path, %error, "audit records cannot be written");
                AuditError::Disk
            }
        };
        self.shared.metrics.failed(state.name());
        self.shared.set_state(Some(state));
        state
    }

    fn seal(&mut self, now: Micros) {
        match self.chain.seal(now) {
            Ok(sealed) => self.sealed += u64::from(sealed.is_some()),
            // The segment is written on, and sealed at another time.
            Err(error) => {
                let path = self.dir.path.display();
                tracing::warn!(%path, %error, "an audit segment cannot be sealed");
            }
        }
        self.tell();
    }

    fn tell_failed(&self, error: AuditError) {
        let path = self.dir.path.display();
        tracing::error!(%path, reason = error.name(), "audit records cannot be written");
        self.shared.metrics.failed(error.name());
    }

    /// Whether the directory is no longer this process's, or cannot be asked.
    fn lost(&self) -> Option<AuditError> {
        let held = self.lock.still_holds().and_then(|held| {
            let there = self.chain.segment().map_or(Ok(true), |segment| segment.is_there())?;
            Ok(held && there)
        });
        match held {
            Ok(true) => None,
            Ok(false) => Some(AuditError::Lost),
            Err(_) => Some(AuditError::Disk),
        }
    }

    /// Looks after the directory.
    fn look(&mut self) {
        let measured = spool::used_bytes(&self.settings.spool_dir);
        let mut state = match measured {
            Ok(used) => {
                self.used = used;
                // A row takes some hundred bytes: what is nearly full is full.
                let full = used.saturating_add(4096) >= self.settings.max_bytes;
                full.then_some(AuditError::Full)
            }
            Err(error) => {
                tracing::error!(%error, "the audit's spool cannot be read");
                Some(AuditError::Disk)
            }
        };
        self.shared.metrics.spool_bytes(self.used);
        if let Some(error) = self.lost() {
            state = Some(error);
        } else if state == Some(AuditError::Full) {
            self.seal(self.now());
        }
        let was = self.shared.state();
        if state.is_none() && was.is_some() {
            // It failed before: is it good again?
            let mended = self.chain.mend().and_then(|()| probe(&self.dir));
            state = mended.is_err().then_some(AuditError::Disk);
        }
        let now = self.shared.clock.now();
        if state.is_none() && self.commits.as_mut().is_some_and(|it| it.look(now).is_err()) {
            state = Some(AuditError::Store);
        }
        match (was, state) {
            (None, Some(state)) => self.tell_failed(state),
            (Some(_), None) => tracing::info!("audit records can be written again"),
            _ => {}
        }
        self.shared.set_state(state);
        self.age();
        if state.is_none() {
            self.write_refusals();
        }
    }

    /// Seals what is old enough, and syncs what was not.
    fn age(&mut self) {
        let now = self.now();
        let begun = self.chain.segment().map(|segment| segment.header().begun);
        if self.unsynced {
            match self.chain.sync() {
                Ok(()) => self.unsynced = false,
                Err(error) => {
                    self.failed(&error);
                }
            }
        }
        if begun.is_some_and(|begun| now.since(begun) >= self.settings.seal_age) {
            self.seal(now);
        }
        let oldest = spool::oldest(&self.settings.spool_dir);
        let age = oldest.map_or(Duration::ZERO, |oldest| now.since(oldest));
        self.shared.metrics.spool_oldest(age);
        // Between two rounds of the shipper, too, and where a sidecar ships.
        let lag = spool::ship_lag(&self.settings.spool_dir, self.shared.clock.utc());
        self.shared.metrics.ship_lag(lag);
    }

    fn write_refusals(&mut self) {
        let now = self.now();
        let second = now.0.div_euclid(1_000_000);
        if second == self.refusals_at {
            return;
        }
        let refused = self.shared.refusals.take();
        if refused.is_empty() {
            return;
        }
        self.refusals_at = second;
        let rows = refused.iter().map(|refused| self.refusal(refused, now)).collect();
        // What waits for the store alone is written already.
        if self.commit(rows).is_err_and(|error| error != AuditError::Store) {
            self.shared.refusals.put_back(&refused);
        }
    }

    fn refusal(&self, refused: &Refused, now: Micros) -> Record {
        let key = self.shared.keys.at(now);
        let principal = self.shared.keys.principal(key, ANONYMOUS);
        Record {
            model: NO_MODEL.to_owned(),
            image_digest: self.settings.image_digest,
            warnings: vec![refused.reason.to_owned()],
            status: refused.status,
            count: refused.count,
            ..Record::empty(AuditId::at(now), principal, key.id().clone())
        }
    }

    /// Writes what is left, seals, and gives the directory back.
    fn end(mut self) {
        self.refusals_at = i64::MIN;
        if self.shared.state().is_none() {
            self.write_refusals();
        }
        let now = self.now();
        self.seal(now);
        self.shared.set_state(Some(AuditError::Ended));
        let nothing = self.dir.is_empty().unwrap_or(false);
        if nothing && let Err(error) = std::fs::remove_dir_all(&self.dir.path) {
            tracing::warn!(path = %self.dir.path.display(), %error, "an empty chain is left behind");
        }
    }
}

/// Whether something can be made durable in the directory.
fn probe(dir: &ChainDir) -> io::Result<()> {
    let path = dir.path.join("probe");
    let probed = std::fs::File::create(&path).and_then(|mut file| {
        io::Write::write_all(&mut file, &[0; 4096])?;
        file.sync_all()
    });
    let _ = std::fs::remove_file(&path);
    probed
}
