//! The bounded queue of one version, and the rule by which a batch is taken from it.
//!
//! Requests come in whole and are cut into parts of at most the row limit; a worker takes the first
//! live part and every following one that fits beside it. Dead parts are dropped on the way.
//! This file must never run anything, and never hold more rows or bytes than its bounds.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::cost::RunCost;
use super::ticket::Ticket;
use super::waiting::{Batch, Part, Waiting};
use super::{BatchAnswer, BatchError, BatchRequest, BatchShape, BatcherOptions, Priority};
use crate::domain::Tensor;
use crate::lifecycle::Clock;
use crate::telemetry::ModelMetrics;

/// By which a request is answered.
pub type Reply = oneshot::Sender<Result<BatchAnswer, BatchError>>;

/// A run up to this long may take place on a caller's thread. It holds up what else that thread has to
/// do, so it stays below what a wake of another thread and back may cost on a busy machine.
const QUICK: Duration = Duration::from_micros(250);

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
    state: Mutex<Waiting>,
    changed: Condvar,
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

    fn lock(&self) -> MutexGuard<'_, Waiting> {
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
        state: &Waiting,
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
        let before = self.cost.runs_seldom_above(state.running + ahead, most);
        let expected = before / engines + self.answered_after(rows.min(most));
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

    /// Takes the next batch; empty when everything that was queued is dead, too late or taken. Whoever takes one
    /// says by [`Queue::ran`] when it is over.
    ///
    /// What the run will outlast is dropped on the way, so that others fill the batch and no time is spent on it.
    /// Where that is all, as many run as a smaller run answers in time; one that is alone always runs, see
    /// [`Queue::unreachable`].
    pub fn take(&self) -> Vec<Part> {
        let most = self.row_limit();
        let now = self.clock.now();
        let (mut batch, mut late) = (Batch::default(), Vec::new());
        let mut state = self.lock();
        let expected = self.answered_after(most.min(state.rows));
        let mut at = 0;
        while at < state.parts.len() && batch.rows < most {
            let Some(part) = state.parts.get(at) else { break };
            if part.ticket.is_dead(now) {
                state.remove(at);
            } else if part.ends_before(now + expected) {
                late.extend(state.remove(at));
            } else if batch.has_room_for(part, most) {
                state.remove(at).into_iter().for_each(|part| batch.push(part));
            } else {
                at += 1;
            }
        }
        if batch.parts.is_empty() {
            if late.len() + state.parts.len() == 1 {
                late.drain(..).for_each(|part| batch.push(part));
            }
            late = self.fill_in_time(&mut batch, late, most, now);
        }
        state.running += batch.rows;
        self.metrics.queue_depth(state.rows);
        // What stays may be for another worker that went to sleep before it came.
        let more = !state.parts.is_empty();
        drop(state);
        if more {
            self.changed.notify_one();
        }
        for part in late {
            part.ticket.fail(BatchError::Unreachable { expected });
        }
        batch.parts
    }

    /// Puts those of `late` into an empty batch that a run of just them answers in time; gives the others back.
    fn fill_in_time(
        &self,
        batch: &mut Batch,
        late: Vec<Part>,
        most: usize,
        now: Instant,
    ) -> Vec<Part> {
        let too_late = |part: Part| {
            let end = now + self.answered_after(batch.rows + part.rows);
            let in_time = !part.ends_before(end) && !batch.ends_before(end);
            if in_time && batch.has_room_for(&part, most) {
                batch.push(part);
                return None;
            }
            Some(part)
        };
        late.into_iter().filter_map(too_late).collect()
    }

    /// What a run of `rows` rows that begins now seldom exceeds until its answers leave.
    fn answered_after(&self, rows: usize) -> Duration {
        self.cost.seldom_above(self.options.shape.run_rows(rows)) + self.beside.seldom_above(1)
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
