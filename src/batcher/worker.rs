//! An engine's station, and the thread that works at it: takes a batch, runs it, answers each part.
//!
//! The thread waits for work, then for its cores, and takes the batch only then, so that a batch grows
//! while the cores are busy. A batch that fails is run again part by part, so that only the faulty one
//! fails; an engine that panics is thrown away and made anew. While the thread waits for work, a
//! caller that is alone may run its one request at the station itself.
//! This file must never let a panic of an engine end a thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::BatchError;
use super::packing::{Packer, outputs_of, wanted};
use super::queue::Queue;
use super::ticket::PartAnswer;
use super::waiting::Part;
use crate::domain::Tensor;
use crate::engine::{Engine, EngineError, EngineFactory, OutputSet};
use crate::lifecycle::Permits;
use crate::telemetry::Step;
use crate::telemetry::statistics::ComputeTimes;
use crate::telemetry::traces::{BatchPart, BatchRun, batch_ran};

/// The thread's side of a station, before the thread runs.
pub struct Worker {
    station: Arc<Station>,
    permits: Permits,
}

/// An engine with what it needs to serve. Whoever holds it runs; all others wait or go elsewhere.
#[derive(Debug)]
pub struct Station {
    queue: Arc<Queue>,
    bench: Mutex<Bench>,
}

/// What a station has for the one who holds it.
pub struct Bench {
    queue: Arc<Queue>,
    engine: Box<dyn Engine>,
    factory: EngineFactory,
    packer: Packer,
}

/// What a run ended with.
enum RunEnd {
    Done(RunOutputs),
    Failed(EngineError),
    Panicked,
}

/// What a run gave.
struct RunOutputs {
    outputs: Vec<Tensor>,
    set: OutputSet,
    /// Laying out the inputs.
    input: Duration,
    /// The engine's run.
    infer: Duration,
}

impl Station {
    /// A station on `queue`.
    pub fn new(queue: Arc<Queue>, engine: Box<dyn Engine>, factory: EngineFactory) -> Self {
        let packer = Packer::default();
        let bench = Bench { queue: Arc::clone(&queue), engine, factory, packer };
        Self { queue, bench: Mutex::new(bench) }
    }

    /// The bench, if nobody works there now.
    pub fn try_hold(&self) -> Option<MutexGuard<'_, Bench>> {
        match self.bench.try_lock() {
            Ok(bench) => Some(bench),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl Worker {
    /// A worker at `station`.
    pub fn new(station: Arc<Station>, permits: Permits) -> Self {
        Self { station, permits }
    }

    /// Works until the queue is closed and empty.
    pub fn work(self) {
        let queue = &self.station.queue;
        while queue.wait() {
            let permit = self.permits.acquire(queue.options.threads_per_run);
            let mut bench = self.station.bench.lock().unwrap_or_else(PoisonError::into_inner);
            let batch = queue.take();
            let rows = batch.iter().map(|part| part.rows).sum();
            let survived = batch.is_empty() || bench.serve(batch);
            queue.ran(rows);
            drop(bench);
            drop(permit);
            if !survived {
                queue.abandon();
                return;
            }
        }
    }
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench").field("provider", &self.engine.provider()).finish_non_exhaustive()
    }
}

impl Bench {
    fn make(&self) -> Result<Box<dyn Engine>, EngineError> {
        catch_unwind(AssertUnwindSafe(|| (self.factory)()))
            .unwrap_or_else(|_| Err(EngineError::Load("loading the model panicked".to_owned())))
    }

    /// Runs a batch and answers it; false when the engine is lost for good.
    pub fn serve(&mut self, batch: Vec<Part>) -> bool {
        let begun = self.queue.clock.now();
        let end = self.run(&batch);
        if !matches!(end, RunEnd::Done { .. }) {
            self.trace(&batch, begun, false);
        }
        let panicked = matches!(end, RunEnd::Panicked);
        if panicked && !self.replace() {
            batch.iter().for_each(|part| part.ticket.fail(BatchError::Panicked));
            return false;
        }
        match end {
            RunEnd::Done(run) => {
                self.answer(&batch, &run);
                self.trace(&batch, begun, true);
            }
            RunEnd::Failed(error) if batch.len() == 1 => {
                batch.iter().for_each(|part| part.ticket.fail(BatchError::Failed(error.clone())));
            }
            RunEnd::Panicked if batch.len() == 1 => {
                batch.iter().for_each(|part| part.ticket.fail(BatchError::Panicked));
            }
            RunEnd::Failed(_) | RunEnd::Panicked => {
                let now = self.queue.clock.now();
                return batch
                    .into_iter()
                    .filter(|part| !part.ticket.is_dead(now))
                    .all(|part| self.serve(vec![part]));
            }
        }
        true
    }

    /// Writes the spans of a run that is over; nothing for requests without a trace.
    fn trace(&self, batch: &[Part], begun: Instant, ok: bool) {
        if batch.iter().any(|part| part.ticket.trace.is_on()) {
            let (model, ended) = (&self.queue.metrics, self.queue.clock.now());
            let run = BatchRun { model, begun, ended, ok };
            let parts = batch.iter().map(|part| BatchPart {
                trace: &part.ticket.trace,
                since: part.since,
                rows: part.rows,
            });
            batch_ran(run, parts);
        }
    }

    /// Puts a new engine in the place of one that panicked.
    fn replace(&mut self) -> bool {
        match self.make() {
            Ok(new) => {
                tracing::error!("an engine panicked and was replaced");
                self.engine = new;
                true
            }
            Err(error) => {
                tracing::error!(%error, "an engine panicked and cannot be replaced");
                false
            }
        }
    }

    fn run(&mut self, batch: &[Part]) -> RunEnd {
        let engine = &mut self.engine;
        let set = wanted(batch);
        let begun = Instant::now();
        let (shape, metrics) = (self.queue.options.shape, &self.queue.metrics);
        let mut laid_out = begun;
        let result = self.packer.with_views(batch, shape, metrics, |views| {
            laid_out = Instant::now();
            catch_unwind(AssertUnwindSafe(|| engine.run(views, set)))
        });
        match result {
            Ok(Ok(outputs)) => {
                let (input, infer) = (laid_out - begun, laid_out.elapsed());
                RunEnd::Done(RunOutputs { outputs, set, input, infer })
            }
            Ok(Err(error)) => RunEnd::Failed(error),
            Err(_) => RunEnd::Panicked,
        }
    }

    /// Counts the run, then answers each part: who has an answer finds it counted.
    fn answer(&self, batch: &[Part], run: &RunOutputs) {
        let RunOutputs { outputs, set, input, infer } = run;
        let took = *input + *infer;
        let rows: usize = batch.iter().map(|part| part.rows).sum();
        let queue = &self.queue;
        queue.cost.measured(rows, took);
        queue.metrics.step(Step::Infer, took);
        let begun = queue.clock.now();
        let run_rows = queue.options.shape.run_rows(rows);
        let cutting = Instant::now();
        let mut from = 0;
        let answers: Vec<_> = batch
            .iter()
            .map(|part| {
                let outputs = outputs_of(part, from, run_rows, *set, outputs, queue.options.shape);
                from += part.rows;
                outputs
            })
            .collect();
        let times = ComputeTimes { input: *input, infer: *infer, output: cutting.elapsed() };
        queue.metrics.ran(rows, times);
        for (part, outputs) in batch.iter().zip(answers) {
            let waited = begun.saturating_duration_since(part.since).saturating_sub(took);
            queue.metrics.step(Step::Queue, waited);
            match outputs {
                Ok(outputs) => part.ticket.complete(
                    part.index,
                    PartAnswer { outputs, queue: waited, compute: times, batch_rows: rows },
                ),
                Err(error) => part.ticket.fail(BatchError::Failed(error)),
            }
        }
    }
}
