//! What a row costs, as measured by the runs so far.
//!
//! Workers report each run; the queue asks how many rows fit into a time.
//! This file must never be taken for a promise: it follows the machine's load.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// An exponentially weighted mean of the time of a row, in nanoseconds; 0 = nothing measured.
#[derive(Debug, Default)]
pub struct RowCost(AtomicU64);

/// The weight of a new run is 1/8: about twenty runs forget a slow one.
const WEIGHT_SHIFT: u32 = 3;

impl RowCost {
    /// Reports a run of `rows` rows.
    pub fn measured(&self, rows: usize, took: Duration) {
        let row = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) / rows.max(1) as u64;
        let row = row.max(1);
        // Two workers may overwrite each other's report: one sample lost of many is no harm.
        let old = self.0.load(Ordering::Relaxed);
        let new = match old {
            0 => row,
            old => old - (old >> WEIGHT_SHIFT) + (row >> WEIGHT_SHIFT),
        };
        self.0.store(new.max(1), Ordering::Relaxed);
    }

    /// How many rows fit into `time`, between 1 and `most`.
    pub fn rows_within(&self, time: Duration, most: usize) -> usize {
        match self.0.load(Ordering::Relaxed) {
            0 => most.max(1),
            row => {
                let rows = time.as_nanos() / u128::from(row);
                usize::try_from(rows).unwrap_or(usize::MAX).clamp(1, most.max(1))
            }
        }
    }

    /// The time of `rows` rows on one engine.
    pub fn of(&self, rows: usize) -> Duration {
        let row = self.0.load(Ordering::Relaxed);
        Duration::from_nanos(row.saturating_mul(u64::try_from(rows).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_runs_and_bounds_the_rows() {
        let cost = RowCost::default();
        assert_eq!(cost.rows_within(Duration::from_millis(1), 32), 32);
        for _ in 0..200 {
            cost.measured(4, Duration::from_millis(40));
        }
        assert_eq!(cost.rows_within(Duration::from_millis(100), 32), 10);
        assert_eq!(cost.rows_within(Duration::from_millis(1), 32), 1);
        assert!(cost.of(10) >= Duration::from_millis(95));
    }
}
