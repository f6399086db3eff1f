//! What a row costs, as measured by the runs so far.
//!
//! Workers report each run; the queue asks how many rows fit into a time.
//! This file must never be taken for a promise: it follows the machine's load.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Exponentially weighted mean and mean deviation of the time of a row, as TCP has them of its round
/// trips (Jacobson, 1988; RFC 6298).
#[derive(Debug, Default)]
pub struct RowCost {
    /// In nanoseconds; 0 = nothing measured.
    mean: AtomicU64,
    /// In nanoseconds.
    deviation: AtomicU64,
}

/// The weight of a new run is 1/8: about twenty runs forget a slow one.
const WEIGHT_SHIFT: u32 = 3;
/// The weight of a new deviation is 1/4.
const DEVIATION_SHIFT: u32 = 2;

impl RowCost {
    /// Reports a run of `rows` rows.
    pub fn measured(&self, rows: usize, took: Duration) {
        let row = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) / rows.max(1) as u64;
        let row = row.max(1);
        // Two workers may overwrite each other's report: one sample lost of many is no harm.
        let old = self.mean.load(Ordering::Relaxed);
        let (mean, deviation) = match old {
            0 => (row, row / 2),
            old => {
                let deviation = self.deviation.load(Ordering::Relaxed);
                let off = row.abs_diff(old);
                (
                    old - (old >> WEIGHT_SHIFT) + (row >> WEIGHT_SHIFT),
                    deviation - (deviation >> DEVIATION_SHIFT) + (off >> DEVIATION_SHIFT),
                )
            }
        };
        self.mean.store(mean.max(1), Ordering::Relaxed);
        self.deviation.store(deviation, Ordering::Relaxed);
    }

    /// How many rows fit into `time`, between 1 and `most`.
    pub fn rows_within(&self, time: Duration, most: usize) -> usize {
        match self.mean.load(Ordering::Relaxed) {
            0 => most.max(1),
            row => {
                let rows = time.as_nanos() / u128::from(row);
                usize::try_from(rows).unwrap_or(usize::MAX).clamp(1, most.max(1))
            }
        }
    }

    /// The time of `rows` rows on one engine, in the mean.
    pub fn of(&self, rows: usize) -> Duration {
        times(rows, self.mean.load(Ordering::Relaxed))
    }

    /// The time that `rows` rows on one engine seldom exceed: two mean deviations above the mean.
    pub fn seldom_above(&self, rows: usize) -> Duration {
        let deviation = self.deviation.load(Ordering::Relaxed);
        times(rows, self.mean.load(Ordering::Relaxed).saturating_add(2 * deviation))
    }
}

fn times(rows: usize, row: u64) -> Duration {
    Duration::from_nanos(row.saturating_mul(u64::try_from(rows).unwrap_or(u64::MAX)))
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

    #[test]
    fn leaves_as_much_room_as_the_runs_differ() {
        let (steady, unsteady) = (RowCost::default(), RowCost::default());
        for run in 0..200 {
            steady.measured(1, Duration::from_millis(10));
            unsteady.measured(1, Duration::from_millis(if run % 2 == 0 { 5 } else { 15 }));
        }
        assert!(steady.seldom_above(1) < Duration::from_millis(11));
        assert!(unsteady.seldom_above(1) > Duration::from_millis(15));
        assert!(unsteady.of(1) < Duration::from_millis(12));
    }
}
