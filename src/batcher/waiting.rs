//! The parts that wait for a run, by their urgency, and those that are chosen for one.
//!
//! The queue's lock guards it; rows and bytes are counted as parts come and go.
//! This file must never let a less urgent part stand before a more urgent one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::Priority;
use super::ticket::Ticket;
use crate::domain::Tensor;

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
    /// Bytes of its inputs.
    pub fn bytes(&self) -> usize {
        self.inputs.iter().map(|input| input.data.len()).sum()
    }

    /// Whether rows of both can stand in one tensor: same types, same shape after the first
    /// dimension.
    pub fn stacks_with(&self, other: &Part) -> bool {
        self.inputs.len() == other.inputs.len()
            && self
                .inputs
                .iter()
                .zip(&other.inputs)
                .all(|(a, b)| a.datatype == b.datatype && a.shape.get(1..) == b.shape.get(1..))
    }

    /// Whether its answer is of no use any more at `end`.
    pub fn ends_before(&self, end: Instant) -> bool {
        self.ticket.deadline.is_some_and(|deadline| deadline < end)
    }
}

/// The parts of one run, as they are chosen.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order of their rows in the run.
    pub parts: Vec<Part>,
    /// Their rows.
    pub rows: usize,
}

impl Batch {
    /// Whether `part` can stand beside what is here in a run of at most `most` rows; the first always can.
    pub fn has_room_for(&self, part: &Part, most: usize) -> bool {
        let beside = |first: &Part| self.rows + part.rows <= most && first.stacks_with(part);
        self.parts.first().is_none_or(beside)
    }

    /// Whether one of its answers is of no use any more at `end`.
    pub fn ends_before(&self, end: Instant) -> bool {
        self.parts.iter().any(|part| part.ends_before(end))
    }

    /// Takes `part` in.
    pub fn push(&mut self, part: Part) {
        self.rows += part.rows;
        self.parts.push(part);
    }
}

/// What waits, and what is under way.
#[derive(Debug, Default)]
pub struct Waiting {
    /// The most urgent first, and among those as urgent the oldest.
    pub parts: VecDeque<Part>,
    /// Rows of `parts`.
    pub rows: usize,
    /// Bytes of the inputs of `parts`.
    pub bytes: usize,
    /// Rows that were taken and are not answered yet.
    pub running: usize,
    /// Whether nothing more is let in.
    pub closed: bool,
}

impl Waiting {
    /// Whether so much more stays within the bounds.
    pub fn has_room(&self, rows: usize, bytes: usize, row_limit: usize, byte_limit: usize) -> bool {
        self.rows + rows <= row_limit && self.bytes + bytes <= byte_limit
    }

    /// Puts parts behind all that are as urgent or more.
    pub fn insert(&mut self, parts: Vec<Part>, priority: Priority) {
        let behind = self.parts.partition_point(|part| part.priority <= priority);
        if behind == self.parts.len() {
            self.parts.extend(parts);
            return;
        }
        for (offset, part) in parts.into_iter().enumerate() {
            self.parts.insert(behind + offset, part);
        }
    }

    /// Rows that go before one that comes now.
    pub fn rows_ahead_of(&self, priority: Priority) -> usize {
        let behind = self.parts.partition_point(|part| part.priority <= priority);
        if behind == self.parts.len() {
            return self.rows;
        }
        self.parts.iter().take(behind).map(|part| part.rows).sum()
    }

    /// Takes one out.
    pub fn remove(&mut self, at: usize) -> Option<Part> {
        let part = self.parts.remove(at)?;
        self.rows -= part.rows;
        self.bytes -= part.bytes();
        Some(part)
    }

    /// Drops those that nobody waits for any more.
    pub fn drop_dead(&mut self, now: Instant) {
        self.parts.retain(|part| !part.ticket.is_dead(now));
        self.rows = self.parts.iter().map(|part| part.rows).sum();
        self.bytes = self.parts.iter().map(Part::bytes).sum();
    }
}
