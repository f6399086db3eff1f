//! A request's claim on its answer, shared by the parts that it was cut into.
//!
//! Each part brings its outputs; the last one sends the answer. A ticket whose caller is gone, whose
//! deadline passed or that failed already is dead: none of its parts is run.
//! This file must never block for longer than it takes to store a part.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::sync::oneshot;

use super::{BatchAnswer, BatchError};
use crate::domain::Tensor;
use crate::engine::OutputSet;
use crate::telemetry::TraceContext;
use crate::telemetry::statistics::ComputeTimes;

/// A request's claim.
#[derive(Debug)]
pub struct Ticket {
    /// The outputs wanted.
    pub outputs: OutputSet,
    /// Where the request stands in its trace.
    pub trace: TraceContext,
    /// When the answer is of no use any more.
    pub deadline: Option<Instant>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    reply: Option<oneshot::Sender<Result<BatchAnswer, BatchError>>>,
    parts: Vec<Option<Vec<Tensor>>>,
    missing: usize,
    queue: Duration,
    compute: ComputeTimes,
    batch_rows: usize,
}

/// What one part brings.
#[derive(Debug)]
pub struct PartAnswer {
    /// The part's outputs, in the order of the signature.
    pub outputs: Vec<Tensor>,
    /// How long the part waited.
    pub queue: Duration,
    /// How long its run took.
    pub compute: ComputeTimes,
    /// Rows of its run.
    pub batch_rows: usize,
}

impl Ticket {
    /// A claim of `parts` parts.
    pub fn new(
        outputs: OutputSet,
        deadline: Option<Instant>,
        parts: usize,
        reply: oneshot::Sender<Result<BatchAnswer, BatchError>>,
    ) -> Self {
        let state = Mutex::new(State {
            reply: Some(reply),
            parts: vec![None; parts],
            missing: parts,
            queue: Duration::ZERO,
            compute: ComputeTimes::default(),
            batch_rows: 0,
        });
        Self { outputs, trace: TraceContext::off(), deadline, state }
    }

    /// This claim, of a request that has a trace.
    pub fn traced(mut self, trace: TraceContext) -> Self {
        self.trace = trace;
        self
    }

    /// Whether nobody waits for the answer any more. A passed deadline is answered here.
    pub fn is_dead(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &state.reply {
            None => true,
            Some(reply) if reply.is_closed() => true,
            Some(_) if self.deadline.is_some_and(|deadline| deadline <= now) => {
                send(&mut state, Err(BatchError::DeadlineExceeded));
                true
            }
            Some(_) => false,
        }
    }

    /// Answers the request with an error, unless it was answered.
    pub fn fail(&self, error: BatchError) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        send(&mut state, Err(error));
    }

    /// Stores a part and answers the request if it was the last.
    pub fn complete(&self, part: usize, answer: PartAnswer) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.queue = state.queue.max(answer.queue);
        state.compute.input += answer.compute.input;
        state.compute.infer += answer.compute.infer;
        state.compute.output += answer.compute.output;
        state.batch_rows = state.batch_rows.max(answer.batch_rows);
        match state.parts.get_mut(part) {
            Some(place @ None) => *place = Some(answer.outputs),
            _ => return,
        }
        state.missing -= 1;
        if state.missing > 0 || state.reply.is_none() {
            return;
        }
        let parts: Vec<Vec<Tensor>> = state.parts.drain(..).flatten().collect();
        let answer = BatchAnswer {
            outputs: concatenate(parts),
            queue: state.queue,
            compute: state.compute,
            batch_rows: state.batch_rows,
        };
        send(&mut state, Ok(answer));
    }
}

fn send(state: &mut State, answer: Result<BatchAnswer, BatchError>) {
    if let Some(reply) = state.reply.take() {
        // The caller may be gone: then nobody misses the answer.
        let _ = reply.send(answer);
    }
}

/// Puts the rows of the parts one below the other; a single part is handed on without a copy.
fn concatenate(mut parts: Vec<Vec<Tensor>>) -> Vec<Tensor> {
    if parts.len() <= 1 {
        return parts.pop().unwrap_or_default();
    }
    let outputs = parts.first().map_or(0, Vec::len);
    (0..outputs)
        .filter_map(|index| {
            let pieces: Vec<&Tensor> = parts.iter().filter_map(|part| part.get(index)).collect();
            let first = pieces.first()?;
            let mut shape = first.shape.clone();
            if let Some(rows) = shape.first_mut() {
                *rows = pieces.iter().map(|piece| piece.rows()).sum();
            }
            let mut data = BytesMut::with_capacity(pieces.iter().map(|p| p.data.len()).sum());
            for piece in &pieces {
                data.extend_from_slice(&piece.data);
            }
            Some(Tensor { datatype: first.datatype, shape, data: data.freeze() })
        })
        .collect()
}
