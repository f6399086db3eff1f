//! The threads that decode and prepare images, away from the async runtime and from the engines.
//!
//! Each version that answers images has a queue; a free thread takes the next image of the next
//! queue in turn, so that a burst of one model costs another at most the images that are being
//! decoded at that moment. An image starts once the memory that its header claims is free; what is
//! claimed is held until the pixels are gone. An image that does not fit lets others pass, sixteen
//! at most: then the others wait for it.
//! This file must never decode for a caller who is gone or late, and never queue without a bound.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::domain::{ErrorKind, Fault};
use crate::lifecycle::Clock;
use crate::telemetry::{Metrics, ModelMetrics};

/// How often an image that does not fit is passed over before the others wait for it.
const MOST_PASSED: u32 = 16;

/// The bounds of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeSettings {
    /// Threads, at least 1.
    pub threads: usize,
    /// Images of one version that may wait.
    pub queue_images: usize,
    /// Bytes of files of one version that may wait; one file always may.
    pub queue_bytes: usize,
    /// Bytes that images may take while they are decoded; a larger one is decoded alone.
    pub memory_bytes: u64,
}

/// Why an image was not decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodePoolError {
    /// The queue has no room now.
    #[error(
        "{images} images of {bytes} bytes wait to be decoded for this model, which leaves no room \
         (pipeline.decode_queue, pipeline.decode_queue_bytes); try again"
    )]
    Overloaded {
        /// Images that wait.
        images: usize,
        /// Bytes that their files take.
        bytes: usize,
    },
    /// The deadline passed before the image was decoded.
    #[error("the deadline passed before the image could be decoded")]
    DeadlineExceeded,
    /// The thread that decoded it was lost.
    #[error("the decoding ended without a result")]
    Lost,
}

impl Fault for DecodePoolError {
    fn kind(&self) -> ErrorKind {
        match self {
            DecodePoolError::Overloaded { .. } => ErrorKind::Overloaded,
            DecodePoolError::DeadlineExceeded => ErrorKind::DeadlineExceeded,
            DecodePoolError::Lost => ErrorKind::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            DecodePoolError::Overloaded { .. } => "DECODE_QUEUE_FULL",
            _ => self.kind().name(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        matches!(self, DecodePoolError::Overloaded { .. }).then(|| Duration::from_millis(250))
    }
}

/// What a piece of work asks of the pool.
#[derive(Debug, Clone)]
pub struct DecodeAsk {
    /// The version that it is for, by its own metrics.
    pub metrics: ModelMetrics,
    /// Bytes of the file, while it waits.
    pub file_bytes: usize,
    /// Bytes that decoding takes by the header's word.
    pub claim: u64,
    /// When it is of no use any more.
    pub deadline: Option<Instant>,
}

/// The pool. Cheap to clone; its threads end when the last clone is gone.
#[derive(Clone)]
pub struct DecodePool(Arc<Owner>);

impl std::fmt::Debug for DecodePool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DecodePool").field(&self.0.0.settings).finish()
    }
}

struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

struct Shared {
    settings: DecodeSettings,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// A queue for each version that has images waiting; the front is next in turn.
    turns: VecDeque<VersionQueue>,
    held: u64,
    closed: bool,
}

struct VersionQueue {
    metrics: ModelMetrics,
    jobs: VecDeque<Job>,
    bytes: usize,
}

struct Job {
    task: Box<dyn Task>,
    file_bytes: usize,
    claim: u64,
    passed: u32,
    since: Instant,
}

/// Work with the caller who waits for it.
trait Task: Send {
    fn is_dead(&self, now: Instant) -> bool;
    fn run(self: Box<Self>, started: Started);
}

struct Asked<T, W> {
    reply: oneshot::Sender<T>,
    deadline: Option<Instant>,
    work: W,
}

impl<T: Send, W: FnOnce(Started) -> T + Send> Task for Asked<T, W> {
    fn is_dead(&self, now: Instant) -> bool {
        self.reply.is_closed() || self.deadline.is_some_and(|deadline| deadline <= now)
    }

    fn run(self: Box<Self>, started: Started) {
        let Self { reply, work, .. } = *self;
        // The caller may have gone meanwhile: then nobody misses the result.
        let _ = reply.send(work(started));
    }
}

/// What work is handed when it starts.
#[derive(Debug)]
pub struct Started {
    /// The memory that it holds; keep it as long as the pixels.
    pub memory: MemoryShare,
    /// How long it waited.
    pub waited: Duration,
}

/// Memory that is held until this is dropped.
pub struct MemoryShare {
    bytes: u64,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for MemoryShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.bytes)
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.held = state.held.saturating_sub(self.bytes);
        self.shared.metrics.decode_memory(state.held);
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(self: Arc<Self>) {
        loop {
            let mut state = self.lock();
            let (job, metrics, waiting) = loop {
                if state.closed {
                    return;
                }
                let now = self.clock.now();
                match state.next(now, self.settings.memory_bytes) {
                    Some(next) => break next,
                    None => {
                        state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    }
                }
            };
            self.metrics.decode_memory(state.held);
            drop(state);
            metrics.queue_depth(waiting);
            let memory = MemoryShare { bytes: job.claim, shared: Arc::clone(&self) };
            let waited = self.clock.now().saturating_duration_since(job.since);
            let task = AssertUnwindSafe(|| job.task.run(Started { memory, waited }));
            if catch_unwind(task).is_err() {
                tracing::error!("decoding an image panicked; its caller is told");
            }
        }
    }
}

impl State {
    /// The next job in turn that fits, with its version's metrics and what still waits there.
    fn next(&mut self, now: Instant, memory: u64) -> Option<(Job, ModelMetrics, usize)> {
        for queue in &mut self.turns {
            while queue.jobs.front().is_some_and(|job| job.task.is_dead(now)) {
                queue.take();
            }
        }
        self.turns.retain(|queue| {
            let waits = !queue.jobs.is_empty();
            if !waits {
                queue.metrics.queue_depth(0);
            }
            waits
        });
        let free = memory.saturating_sub(self.held);
        let fits = |queue: &VersionQueue| queue.jobs.front().is_some_and(|job| job.claim <= free);
        let place = self.turns.iter().position(fits)?;
        let heads = self.turns.iter_mut().take(place).filter_map(|queue| queue.jobs.front_mut());
        let mut passed: Vec<&mut Job> = heads.collect();
        if passed.iter().any(|job| job.passed >= MOST_PASSED) {
            return None;
        }
        passed.iter_mut().for_each(|job| job.passed += 1);
        let mut queue = self.turns.remove(place)?;
        let job = queue.take()?;
        self.held += job.claim;
        let (metrics, waiting) = (queue.metrics.clone(), queue.jobs.len());
        if waiting > 0 {
            self.turns.push_back(queue);
        }
        Some((job, metrics, waiting))
    }
}

impl VersionQueue {
    fn take(&mut self) -> Option<Job> {
        let job = self.jobs.pop_front()?;
        self.bytes -= job.file_bytes;
        Some(job)
    }
}

impl DecodePool {
    /// A pool within `settings`.
    ///
    /// # Errors
    /// When the operating system has no thread.
    pub fn start(
        settings: DecodeSettings,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            settings,
            clock,
            metrics,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let pool = Self(Arc::new(Owner(Arc::clone(&shared))));
        for number in 0..settings.threads.max(1) {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("decode/{number}"))
                .spawn(move || shared.work())?;
        }
        Ok(pool)
    }

    /// Runs `work` on a thread of the pool when its turn comes. Dropping the future cancels it,
    /// unless it has begun.
    ///
    /// # Errors
    /// [`DecodePoolError`].
    pub async fn run<T, W>(&self, ask: DecodeAsk, work: W) -> Result<T, DecodePoolError>
    where
        T: Send + 'static,
        W: FnOnce(Started) -> T + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let deadline = ask.deadline;
        self.submit(ask, Box::new(Asked { reply, deadline, work }))?;
        let answer = match deadline {
            None => answer.await,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), answer)
                .await
                .map_err(|_| DecodePoolError::DeadlineExceeded)?,
        };
        // A worker that finds the deadline passed drops the task, and the channel with it.
        answer.map_err(|_| match deadline {
            Some(deadline) if deadline <= self.0.0.clock.now() => DecodePoolError::DeadlineExceeded,
            _ => DecodePoolError::Lost,
        })
    }

    fn submit(&self, ask: DecodeAsk, task: Box<dyn Task>) -> Result<(), DecodePoolError> {
        let shared = &self.0.0;
        let DecodeAsk { metrics, file_bytes, claim, .. } = ask;
        // Alone it may take more than there is for all.
        let claim = claim.min(shared.settings.memory_bytes);
        let job = Job { task, file_bytes, claim, passed: 0, since: shared.clock.now() };
        let mut state = shared.lock();
        let place = state.turns.iter().position(|q| q.metrics.names() == metrics.names());
        let waiting = match place.and_then(|place| state.turns.get_mut(place)) {
            None => {
                let jobs = VecDeque::from([job]);
                state.turns.push_back(VersionQueue {
                    metrics: metrics.clone(),
                    jobs,
                    bytes: file_bytes,
                });
                1
            }
            Some(queue) => {
                let settings = &shared.settings;
                let full = queue.jobs.len() >= settings.queue_images
                    || queue.bytes.saturating_add(file_bytes) > settings.queue_bytes;
                if full {
                    let (images, bytes) = (queue.jobs.len(), queue.bytes);
                    return Err(DecodePoolError::Overloaded { images, bytes });
                }
                queue.bytes += file_bytes;
                queue.jobs.push_back(job);
                queue.jobs.len()
            }
        };
        drop(state);
        metrics.queue_depth(waiting);
        shared.changed.notify_one();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
