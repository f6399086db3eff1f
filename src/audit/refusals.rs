//! Refusals before admission, counted: one row for each reason and second.
//!
//! A flood of bad requests costs a number in memory, and a row a second for each sort of refusal.
//! This file must never hold more than one number for each reason that the program knows.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::record::Status;
use crate::domain::{ErrorKind, Fault};

/// Counts by status and reason.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<Counts>);

/// How many there were of each sort: the name of the kind first, so that the order is one.
type Counts = BTreeMap<(&'static str, &'static str), (ErrorKind, u64)>;

/// A sort of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// What became of them.
    pub status: Status,
    /// The reason that callers were told.
    pub reason: &'static str,
    /// How many there were.
    pub count: u64,
}

impl Refusals {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one.
    pub fn count(&self, fault: &dyn Fault) {
        let (kind, reason) = (fault.kind(), fault.reason());
        let mut counts = self.lock();
        counts.entry((kind.name(), reason)).or_insert((kind, 0)).1 += 1;
    }

    /// Takes what was counted since the last time.
    pub fn take(&self) -> Vec<Refused> {
        let counts = mem::take(&mut *self.lock());
        let row =
            |((_, reason), (kind, count))| Refused { status: Status::Failed(kind), reason, count };
        counts.into_iter().map(row).collect()
    }

    /// Puts back what could not be written.
    pub fn put_back(&self, refused: &[Refused]) {
        let mut counts = self.lock();
        for Refused { status, reason, count } in refused {
            if let Status::Failed(kind) = *status {
                counts.entry((kind.name(), reason)).or_insert((kind, 0)).1 += count;
            }
        }
    }
}
