//! Queue → batch → engine: one batcher for each loaded version.
//!
//! A request goes into a bounded queue; a free worker takes all that is queued, up to the row
//! limit, runs it once and gives each request its own rows back. Nothing waits on a timer.
//! This room must never know a name, a message or a file: rows in, rows out.

mod cost;
mod packing;
mod queue;
mod ticket;
mod waiting;
mod worker;

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::domain::{ErrorKind, Fault, Tensor};
use crate::engine::{Engine, EngineError, EngineFactory, OutputSet, Signature};
use crate::lifecycle::{Clock, Permit, Permits};
use crate::telemetry::statistics::ComputeTimes;
use crate::telemetry::{ModelMetrics, TraceContext};

use queue::Queue;
use worker::{Bench, Station, Worker};

/// The bounds of a batcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Rows of a run, at least 1.
    pub max_batch: usize,
    /// How long a run may take by the measured cost of a row; one row always runs.
    pub max_run: Duration,
    /// Rows that may wait.
    pub queue_rows: usize,
    /// Bytes of inputs that may wait.
    pub queue_bytes: usize,
}

/// How a batcher works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatcherOptions {
    /// Its bounds.
    pub limits: BatchLimits,
    /// Core permits that a run takes: the threads that work on it.
    pub threads_per_run: usize,
    /// What the first dimension of the tensors means.
    pub shape: BatchShape,
}

/// What the first dimension of a model's tensors means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchShape {
    /// Rows, any number of them.
    Free,
    /// Rows, always this many: a smaller batch is filled up with zeros and the answer cut.
    Fixed(usize),
    /// Nothing of the kind: requests run one by one.
    None,
}

impl BatchShape {
    /// Rows that a run of `rows` real rows has.
    pub const fn run_rows(self, rows: usize) -> usize {
        match self {
            BatchShape::Fixed(fixed) => fixed,
            BatchShape::Free | BatchShape::None => rows,
        }
    }

    /// Whether requests are made of rows.
    pub const fn has_rows(self) -> bool {
        !matches!(self, BatchShape::None)
    }
}

/// What is asked of a model.
#[derive(Debug, Clone)]
pub struct BatchRequest {
    /// Inputs in the order of the signature, each with the same number of rows, at least 1.
    pub inputs: Vec<Tensor>,
    /// The outputs wanted.
    pub outputs: OutputSet,
    /// When the answer is of no use any more.
    pub deadline: Option<Instant>,
    /// How urgent it is.
    pub priority: Priority,
    /// Where it stands in its trace.
    pub trace: TraceContext,
    /// Whether no other caller is about: then it may be run at once, on the caller's thread.
    pub alone: bool,
}

/// How urgent a request is: 1 is run before 2, 2 before 3; within one level the order is that of
/// arrival. Triton's request parameter `priority` has the same order, and 0 for the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(u8);

impl Priority {
    /// How many levels there are.
    pub const LEVELS: u8 = 3;

    /// The level of a number; `None` when there is no such level.
    pub const fn of(level: u64) -> Option<Self> {
        match level {
            0 => Some(Self(2)),
            1..=3 => Some(Self(level as u8)),
            _ => None,
        }
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(2)
    }
}

/// A model's answer to one request.
#[derive(Debug, Clone)]
pub struct BatchAnswer {
    /// The outputs wanted, in the order of the signature, with the request's rows.
    pub outputs: Vec<Tensor>,
    /// The longest wait of one of its rows.
    pub queue: Duration,
    /// The time of its runs, summed.
    pub compute: ComputeTimes,
    /// Rows of the largest run that it was part of, those of others included.
    pub batch_rows: usize,
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The queue has no room now.
    #[error(
        "the model's queue is full ({limit} rows or {byte_limit} bytes may wait); try again in \
         {} ms", retry_after.as_millis()
    )]
    Overloaded {
        /// Rows that may wait.
        limit: usize,
        /// Bytes that may wait.
        byte_limit: usize,
        /// How long the queue takes to empty, by the measured cost of a row.
        retry_after: Duration,
    },
    /// The queue ahead of it takes longer than the request may wait.
    #[error(
        "the queue ahead takes about {} ms, longer than the deadline allows; try again later",
        expected.as_millis()
    )]
    Unreachable {
        /// How long the queue takes, by the measured cost of a row.
        expected: Duration,
    },
    /// The request would not fit into an empty queue.
    #[error(
        "the request has {rows} rows of {bytes} bytes in all; at most {limit} rows and \
         {byte_limit} bytes are queued for a model: send it in parts"
    )]
    TooLarge {
        /// Rows that came.
        rows: usize,
        /// Bytes that came.
        bytes: usize,
        /// Rows that may wait.
        limit: usize,
        /// Bytes that may wait.
        byte_limit: usize,
    },
    /// The deadline passed before the run began.
    #[error("the deadline passed before the model could run")]
    DeadlineExceeded,
    /// The version is being unloaded or its engine is lost.
    #[error("the model version is not running any more")]
    Closed,
    /// The run failed.
    #[error("{0}")]
    Failed(EngineError),
    /// The engine panicked.
    #[error("the engine stopped in the middle of the run")]
    Panicked,
}

impl Fault for BatchError {
    fn kind(&self) -> ErrorKind {
        match self {
            BatchError::Overloaded { .. } | BatchError::Unreachable { .. } => ErrorKind::Overloaded,
            BatchError::TooLarge { .. } => ErrorKind::TooLarge,
            BatchError::DeadlineExceeded => ErrorKind::DeadlineExceeded,
            BatchError::Closed => ErrorKind::Unavailable,
            BatchError::Failed(_) | BatchError::Panicked => ErrorKind::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            BatchError::Overloaded { .. } => "QUEUE_FULL",
            BatchError::Unreachable { .. } => "DEADLINE_UNREACHABLE",
            BatchError::TooLarge { .. } => "TOO_MANY_ROWS",
            BatchError::Failed(_) => "RUN_FAILED",
            BatchError::Panicked => "ENGINE_PANICKED",
            _ => self.kind().name(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            BatchError::Overloaded { retry_after, .. } => Some(*retry_after),
            BatchError::Unreachable { expected } => Some(*expected),
            _ => None,
        }
    }
}

/// A request that waits or runs. Dropping it cancels the request.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Result<BatchAnswer, BatchError>>);

impl Pending {
    /// Waits on a thread that may block.
    ///
    /// # Errors
    /// As the future.
    pub fn wait(self) -> Result<BatchAnswer, BatchError> {
        self.0.blocking_recv().unwrap_or(Err(BatchError::Closed))
    }
}

impl Future for Pending {
    type Output = Result<BatchAnswer, BatchError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|reply| reply.unwrap_or(Err(BatchError::Closed)))
    }
}

/// The queue and the workers of one version. Dropping it closes the queue; what is queued still
/// runs, then the workers end.
#[derive(Debug)]
pub struct Batcher {
    queue: Arc<Queue>,
    stations: Vec<Arc<Station>>,
    permits: Permits,
    signature: Signature,
    provider: &'static str,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

impl Batcher {
    /// Gives each engine a thread of its own, named after `name`. `factory` makes the engine that
    /// takes the place of one that panicked.
    ///
    /// # Errors
    /// [`EngineError::Load`] when there is no engine or a thread cannot be made.
    pub fn start(
        name: &str,
        engines: Vec<Box<dyn Engine>>,
        factory: &EngineFactory,
        options: BatcherOptions,
        permits: &Permits,
        clock: Arc<dyn Clock>,
        metrics: ModelMetrics,
    ) -> Result<Self, EngineError> {
        let first = engines.first().map(|engine| (engine.signature().clone(), engine.provider()));
        let (signature, provider) =
            first.ok_or_else(|| EngineError::Load("there is no engine to run".to_owned()))?;
        let queue = Arc::new(Queue::new(options, engines.len(), clock, metrics));
        let stations: Vec<_> = engines
            .into_iter()
            .map(|engine| Arc::new(Station::new(Arc::clone(&queue), engine, Arc::clone(factory))))
            .collect();
        let mut workers = Vec::with_capacity(stations.len());
        for (instance, station) in stations.iter().enumerate() {
            let worker = Worker::new(Arc::clone(station), permits.clone());
            let thread = std::thread::Builder::new().name(format!("{name}#{instance}"));
            match thread.spawn(move || worker.work()) {
                Ok(thread) => workers.push(thread),
                Err(error) => {
                    queue.close();
                    return Err(EngineError::Load(format!("no thread for the engine: {error}")));
                }
            }
        }
        let (permits, workers) = (permits.clone(), Mutex::new(workers));
        Ok(Self { queue, stations, permits, signature, provider, workers })
    }

    /// What the model takes and gives.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The execution provider that runs the model.
    pub fn provider(&self) -> &'static str {
        self.provider
    }

    /// Queues a request; or runs it here and now, where it is alone, its run is measured to be quick,
    /// nothing waits, and an engine and its cores are free.
    ///
    /// # Errors
    /// [`BatchError::Overloaded`], [`BatchError::TooLarge`], [`BatchError::DeadlineExceeded`] or
    /// [`BatchError::Closed`]; nothing was queued then.
    pub fn submit(&self, request: BatchRequest) -> Result<Pending, BatchError> {
        let (reply, answer) = oneshot::channel();
        let at_once = request.alone && self.queue.is_quick(&request.inputs);
        let held = if at_once { self.free_station() } else { None };
        let Some((mut bench, _permit)) = held else {
            self.queue.push(request, reply)?;
            return Ok(Pending(answer));
        };
        if let Some(part) = self.queue.pass_or_push(request, reply)?
            && !bench.serve(vec![part])
        {
            self.queue.abandon();
        }
        Ok(Pending(answer))
    }

    /// A station where nobody works, with the permit for a run, if both can be had without a wait.
    fn free_station(&self) -> Option<(MutexGuard<'_, Bench>, Permit)> {
        let bench = self.stations.iter().find_map(|station| station.try_hold())?;
        let permit = self.permits.try_acquire(self.queue.options.threads_per_run)?;
        Some((bench, permit))
    }

    /// Says what a run of `rows` rows took before there was a queue, so that the first batches are bounded too.
    pub fn expect(&self, rows: usize, took: Duration) {
        self.queue.cost.measured(rows, took);
    }

    /// Reports what an answer took beside its wait and its run until it could leave, so that deadlines
    /// leave room for it.
    pub fn took_beside(&self, time: Duration) {
        self.queue.beside.measured(1, time);
    }

    /// Rows that wait now.
    pub fn queued_rows(&self) -> usize {
        self.queue.rows()
    }

    /// Takes no more requests; what is queued still runs.
    pub fn close(&self) {
        self.queue.close();
    }

    /// Closes and waits until the workers have ended. Blocks for as long as what is queued takes.
    pub fn join(&self) {
        self.close();
        let workers = {
            let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *workers)
        };
        for worker in workers {
            // A worker that panicked outside a run has said so on its way out.
            let _ = worker.join();
        }
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.close();
    }
}
