//! The bounded queue of one version, and the rule by which a batch is taken from it.
//!
//! Requests come in whole and are cut into parts of at most the row limit; a worker takes the first
//! live part and every following one that fits beside it. Dead parts are dropped on the way.
//! This file must never run anything, and never hold more rows or bytes than its bounds.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::cost::RunCost;
use super::ticket::Ticket;
use super::{BatchAnswer, BatchError, BatchRequest, BatchShape, BatcherOptions, Priority};
use crate::domain::Tensor;
use crate::lifecycle::Clock;
use crate::telemetry::ModelMetrics;

/// By which a request is answered.
pub type Reply = oneshot::Sender<Result<BatchAnswer, BatchError>>;

/// A run up to this long may take place on a caller's thread. It holds up what else that thread has to
/// do, so it stays below what a wake of another thread and back may cost on a busy machine.
const QUICK: Duration = Duration::from_micros(250);

/// A part of a request that waits.
#[derive(Debug)]
pub struct Part {
    /// The request's claim.
    pub ticket: Arc<Ticket>,
    /// Which part of the request this is.
    pub index: usize,
    /// Its inputs, slices of the request's.
    pub inputs: Vec<Tensor>,
    /// Its rows.
    pub rows: usize,
    /// When it came.
    pub since: Instant,
    /// How urgent it is.
    pub priority: Priority,
}

impl Part {
    fn bytes(&self) -> usize {
        self.inputs.iter().map(|input| input.data.len()).sum()
    }

    /// Whether rows of both can stand in one tensor: same types, same shape after the first
    /// dimension.
    fn stacks_with(&self, other: &Part) -> bool {
        self.inputs.len() == other.inputs.len()
            && self
                .inputs
                .iter()
                .zip(&other.inputs)
                .all(|(a, b)| a.datatype == b.datatype && a.shape.get(1..) == b.shape.get(1..))
    }
}

/// The queue of one version.
#[derive(Debug)]
pub struct Queue {
    /// How the batcher works.
    pub options: BatcherOptions,
    /// The source of time.
    pub clock: Arc<dyn Clock>,
    /// The version's metrics.
    pub metrics: ModelMetrics,
    /// What runs cost.
    pub cost: RunCost,
    /// What an answer takes from here to its caller, beside its wait and its run.
    pub beside: RunCost,
    engines: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    parts: VecDeque<Part>,
    rows: usize,
    bytes: usize,
    /// Rows that were taken and are not answered yet.
    running: usize,
    closed: bool,
}

impl Queue {
    /// An empty queue.
    pub fn new(
        options: BatcherOptions,
        engines: usize,
        clock: Arc<dyn Clock>,
        metrics: ModelMetrics,
    ) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let (cost, beside) = (RunCost::default(), RunCost::default());
        Self { options, engines, clock, metrics, cost, beside, state, changed }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether these inputs are of one run, and that run is measured to be quick.
    pub fn is_quick(&self, inputs: &[Tensor]) -> bool {
        let rows = self.rows_of(inputs);
        let cost = self.cost.of(self.options.shape.run_rows(rows));
        !cost.is_zero() && cost <= QUICK && rows <= self.row_limit()
    }

    /// Queues a request, whole or not at all.
    ///
    /// # Errors
    /// See [`super::Batcher::submit`].
    pub fn push(&self, request: BatchRequest, reply: Reply) -> Result<(), BatchError> {
        self.let_in(request, reply, false).map(|_| ())
    }

    /// Hands a request of one part back to be run at once if nothing waits, else queues it.
    ///
    /// # Errors
    /// See [`super::Batcher::submit`].
    pub fn pass_or_push(
        &self,
        request: BatchRequest,
        reply: Reply,
    ) -> Result<Option<Part>, BatchError> {
        self.let_in(request, reply, true)
    }

    fn rows_of(&self, inputs: &[Tensor]) -> usize {
        if self.options.shape.has_rows() { inputs.first().map_or(1, Tensor::rows) } else { 1 }
    }

    fn let_in(
        &self,
        request: BatchRequest,
        reply: Reply,
        pass: bool,
    ) -> Result<Option<Part>, BatchError> {
        let now = self.clock.now();
        if request.deadline.is_some_and(|deadline| deadline <= now) {
            return Err(BatchError::DeadlineExceeded);
        }
        let limits = self.options.limits;
        let rows = self.rows_of(&request.inputs);
        let bytes = request.inputs.iter().map(|input| input.data.len()).sum();
        let (limit, byte_limit) = (limits.queue_rows, limits.queue_bytes);
        if rows > limit || bytes > byte_limit {
            return Err(BatchError::TooLarge { rows, bytes, limit, byte_limit });
        }
        let (priority, deadline) = (request.priority, request.deadline);
        let mut parts = self.cut(request, rows, now, reply);
        let mut state = self.lock();
        if state.closed {
            return Err(BatchError::Closed);
        }
        if pass && parts.len() == 1 && state.parts.is_empty() {
            return Ok(parts.pop());
        }
        if !state.has_room(rows, bytes, limit, byte_limit) {
            state.drop_dead(now);
        }
        if !state.has_room(rows, bytes, limit, byte_limit) {
            let retry_after = self.time_to_empty(state.rows);
            return Err(BatchError::Overloaded { limit, byte_limit, retry_after });
        }
        if let Some(expected) = self.unreachable(&state, rows, priority, now, deadline) {
            return Err(BatchError::Unreachable { expected });
        }
        state.rows += rows;
        state.bytes += bytes;
        let several = parts.len() > 1;
        state.insert(parts, priority);
        self.metrics.queue_depth(state.rows);
        drop(state);
        if several {
            self.changed.notify_all()
        } else {
            self.changed.notify_one()
        }
        Ok(None)
    }

    /// Cuts a request into parts of at most the row limit.
    fn cut(&self, request: BatchRequest, rows: usize, since: Instant, reply: Reply) -> Vec<Part> {
        let most = self.row_limit();
        let count = rows.div_ceil(most).max(1);
        let priority = request.priority;
        let ticket = Ticket::new(request.outputs, request.deadline, count, reply);
        let ticket = Arc::new(ticket.traced(request.trace));
        if count == 1 {
            return vec![Part { ticket, index: 0, inputs: request.inputs, rows, since, priority }];
        }
        let mut rest = request.inputs;
        (0..count)
            .map(|index| {
                let part = most.min(rows - index * most);
                // What is left is cut further, so that each element of BYTES is walked once.
                let (inputs, after) = rest.iter().map(|input| input.split_rows(part)).unzip();
                rest = after;
                Part { ticket: Arc::clone(&ticket), index, inputs, rows: part, since, priority }
            })
            .collect()
    }

    /// Rows of a run: the configured bound, or fewer where they would take too long.
    fn row_limit(&self) -> usize {
        let limits = self.options.limits;
        match self.options.shape {
            BatchShape::Free => self.cost.rows_within(limits.max_run, limits.max_batch),
            // A run costs the same however few rows are real.
            BatchShape::Fixed(rows) => rows.max(1),
            BatchShape::None => 1,
        }
    }

    /// How long the request will take if that is longer than its deadline allows. An empty queue
    /// always takes it, so that a cost that was measured too high is measured again.
    fn unreachable(
        &self,
        state: &State,
        rows: usize,
        priority: Priority,
        now: Instant,
        deadline: Option<Instant>,
    ) -> Option<Duration> {
        let allowed = deadline?.saturating_duration_since(now);
        let ahead = state.rows_ahead_of(priority);
        if ahead == 0 {
            return None;
        }
        let engines = u32::try_from(self.engines.max(1)).unwrap_or(u32::MAX);
        // Its own run comes after those under way and those ahead. Whoever is let in and comes too late
        // has taken the time of one that would have come in time: so the estimate is a high one.
        let most = self.row_limit();
        let own = self.cost.seldom_above(self.options.shape.run_rows(rows.min(most)));
        let before = self.cost.runs_seldom_above(state.running + ahead, most);
        let expected = before / engines + own + self.beside.seldom_above(1);
        (expected > allowed).then_some(expected)
    }

    /// How long the queue takes to empty, between 10 ms and 30 s.
    fn time_to_empty(&self, rows: usize) -> Duration {
        let time = self.cost.of_runs(rows, self.row_limit())
            / u32::try_from(self.engines.max(1)).unwrap_or(1);
        time.clamp(Duration::from_millis(10), Duration::from_secs(30))
    }

    /// Waits until something is queued; false when the queue is closed and empty.
    pub fn wait(&self) -> bool {
        let mut state = self.lock();
        while state.parts.is_empty() {
            if state.closed {
                return false;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// Takes the next batch; empty when everything that was queued is dead or taken. Whoever takes one
    /// says by [`Queue::ran`] when it is over.
    pub fn take(&self) -> Vec<Part> {
        let most = self.row_limit();
        let now = self.clock.now();
        let mut batch: Vec<Part> = Vec::new();
        let mut rows = 0;
        let mut state = self.lock();
        let mut at = 0;
        while at < state.parts.len() && rows < most {
            let Some(part) = state.parts.get(at) else { break };
            let fits = match batch.first() {
                None => true,
                Some(first) => rows + part.rows <= most && first.stacks_with(part),
            };
            if part.ticket.is_dead(now) {
                state.remove(at);
            } else if fits {
                rows += part.rows;
                batch.extend(state.remove(at));
            } else {
                at += 1;
            }
        }
        if batch.len() + state.parts.len() > 1 {
            rows = self.drop_late(&mut batch, rows, now);
        }
        state.running += rows;
        self.metrics.queue_depth(state.rows);
        // What stays may be for another worker that went to sleep before it came.
        let more = !state.parts.is_empty();
        drop(state);
        if more {
            self.changed.notify_one();
        }
        batch
    }

    /// Drops those of a batch that its run will outlast, so that no time is spent on them; gives the rows
    /// that are left. One that is alone is never dropped: see [`Queue::unreachable`].
    fn drop_late(&self, batch: &mut Vec<Part>, rows: usize, now: Instant) -> usize {
        let run = self.cost.seldom_above(self.options.shape.run_rows(rows));
        let expected = run + self.beside.seldom_above(1);
        batch.retain(|part| {
            let late = part.ticket.ends_before(now + expected);
            if late {
                part.ticket.fail(BatchError::Unreachable { expected });
            }
            !late
        });
        batch.iter().map(|part| part.rows).sum()
    }

    /// Reports that a batch of `rows` rows is answered.
    pub fn ran(&self, rows: usize) {
        let mut state = self.lock();
        state.running = state.running.saturating_sub(rows);
    }

    /// Rows that wait now.
    pub fn rows(&self) -> usize {
        self.lock().rows
    }

    /// Takes no more requests and wakes every worker.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Closes and fails all that waits; for when no engine is left.
    pub fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        let parts = std::mem::take(&mut state.parts);
        (state.rows, state.bytes) = (0, 0);
        drop(state);
        for part in parts {
            part.ticket.fail(BatchError::Closed);
        }
        self.changed.notify_all();
    }
}

impl State {
    fn has_room(&self, rows: usize, bytes: usize, row_limit: usize, byte_limit: usize) -> bool {
        self.rows + rows <= row_limit && self.bytes + bytes <= byte_limit
    }

    /// Puts parts behind all that are as urgent or more.
    fn insert(&mut self, parts: Vec<Part>, priority: Priority) {
        let behind = self.parts.partition_point(|part| part.priority <= priority);
        if behind == self.parts.len() {
            self.parts.extend(parts);
            return;
        }
        for (offset, part) in parts.into_iter().enumerate() {
            self.parts.insert(behind + offset, part);
        }
    }

    fn rows_ahead_of(&self, priority: Priority) -> usize {
        let behind = self.parts.partition_point(|part| part.priority <= priority);
        if behind == self.parts.len() {
            return self.rows;
        }
        self.parts.iter().take(behind).map(|part| part.rows).sum()
    }

    fn remove(&mut self, at: usize) -> Option<Part> {
        let part = self.parts.remove(at)?;
        self.rows -= part.rows;
        self.bytes -= part.bytes();
        Some(part)
    }

    fn drop_dead(&mut self, now: Instant) {
        self.parts.retain(|part| !part.ticket.is_dead(now));
        self.rows = self.parts.iter().map(|part| part.rows).sum();
        self.bytes = self.parts.iter().map(Part::bytes).sum();
    }
}
