//! What a run costs by its rows, as measured by the runs so far.
//!
//! A run has a part that does not depend on its rows, so that a row alone may cost as much as a batch does. Runs
//! are therefore kept apart by their size, in powers of two, and what lies between is interpolated.
//! This file must never be taken for a promise: it follows the machine's load.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Sizes of 1, 2 to 3, 4 to 7, … rows.
const SIZES: usize = 24;
/// The weight of a new run is 1/8: about twenty runs forget a slow one (RFC 6298, as TCP has it of its round trips).
const WEIGHT: f64 = 0.125;
/// The weight of a new deviation is 1/4.
const DEVIATION_WEIGHT: f64 = 0.25;
/// What a size cost that no run had for so many runs may be long over: a smaller one is forgotten, and a larger
/// one, which may be avoided for what it cost, is taken at less so that it is tried again.
const STALE: u64 = 256;

/// Times of runs by their rows: exponentially weighted means, and a mean deviation (Jacobson, 1988).
#[derive(Debug, Default)]
pub struct RunCost(Mutex<Measured>);

#[derive(Debug, Default)]
struct Measured {
    sizes: [Option<Size>; SIZES],
    /// Mean of |time − expected| ÷ the greater of both, at most 1: one run that was held up for long must not
    /// make the next look impossible.
    deviation: f64,
    runs: u64,
}

#[derive(Debug, Clone, Copy)]
struct Size {
    /// Mean rows and nanoseconds of its runs.
    rows: f64,
    time: f64,
    /// The number of its last run.
    last: u64,
}

impl RunCost {
    fn lock(&self) -> MutexGuard<'_, Measured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports a run of `rows` rows.
    pub fn measured(&self, rows: usize, took: Duration) {
        let rows = rows.max(1);
        let (wide, time) = (rows as f64, (took.as_nanos() as f64).max(1.0));
        let mut measured = self.lock();
        let expected = measured.time(wide);
        measured.deviation = match expected {
            None => 0.5,
            Some(expected) => {
                let off = (time - expected).abs() / expected.max(time);
                measured.deviation + DEVIATION_WEIGHT * (off - measured.deviation)
            }
        };
        measured.runs += 1;
        let last = measured.runs;
        let size = (rows.ilog2() as usize).min(SIZES - 1);
        let known = measured.sizes.get(size).copied().flatten();
        let now = known.map_or(Size { rows: wide, time, last }, |known| Size {
            rows: known.rows + WEIGHT * (wide - known.rows),
            time: known.time + WEIGHT * (time - known.time),
            last,
        });
        if let Some(place) = measured.sizes.get_mut(size) {
            *place = Some(now);
        }
        measured.age();
    }

    /// How many rows fit into a run of `time`, between 1 and `most`; `most` where nothing is measured.
    pub fn rows_within(&self, time: Duration, most: usize) -> usize {
        let (measured, time) = (self.lock(), time.as_nanos() as f64);
        let fits = |rows: usize| measured.time(rows as f64).is_none_or(|took| took <= time);
        let (mut fitting, mut beyond) = (1, most.max(1) + 1);
        while beyond - fitting > 1 {
            let middle = fitting + (beyond - fitting) / 2;
            if fits(middle) { fitting = middle } else { beyond = middle }
        }
        fitting
    }

    /// The time of one run of `rows` rows, in the mean; nothing where nothing is measured.
    pub fn of(&self, rows: usize) -> Duration {
        nanoseconds(self.lock().time(rows as f64).unwrap_or(0.0))
    }

    /// The time that one run of `rows` rows seldom exceeds: two mean deviations above the mean.
    pub fn seldom_above(&self, rows: usize) -> Duration {
        self.runs_seldom_above(rows, rows)
    }

    /// The time of as many runs, one after the other, as `rows` rows take at `most` a run.
    pub fn of_runs(&self, rows: usize, most: usize) -> Duration {
        nanoseconds(self.lock().runs(rows, most))
    }

    /// The time that such runs seldom exceed.
    pub fn runs_seldom_above(&self, rows: usize, most: usize) -> Duration {
        let measured = self.lock();
        nanoseconds(measured.runs(rows, most) * (1.0 + 2.0 * measured.deviation))
    }
}

impl Measured {
    /// Lets go of what was measured long ago.
    fn age(&mut self) {
        let now = self.runs;
        let mut smaller: Option<f64> = None;
        for place in &mut self.sizes {
            let Some(known) = place else { continue };
            if known.last + STALE <= now {
                match smaller {
                    None => *place = None,
                    Some(least) => {
                        known.time -= (known.time - least) / 2.0;
                        known.last = now;
                    }
                }
            }
            smaller = place.map(|known| known.time).or(smaller);
        }
    }

    /// Nanoseconds of one run. Between two sizes that were measured on the line through them; beyond the
    /// largest in proportion, which is too much rather than too little; below the smallest what that takes.
    fn time(&self, rows: f64) -> Option<f64> {
        let known = || self.sizes.iter().flatten();
        let below = known().rfind(|size| size.rows <= rows);
        let above = known().find(|size| size.rows >= rows);
        match (below, above) {
            (Some(below), Some(above)) if above.rows > below.rows => {
                let part = (rows - below.rows) / (above.rows - below.rows);
                Some(below.time + part * (above.time - below.time))
            }
            (Some(below), _) => Some(below.time * rows / below.rows),
            (None, Some(above)) => Some(above.time),
            (None, None) => None,
        }
    }

    fn runs(&self, rows: usize, most: usize) -> f64 {
        let most = most.max(1);
        let (whole, rest) = (rows / most, rows % most);
        let time = |rows: usize| match rows {
            0 => 0.0,
            rows => self.time(rows as f64).unwrap_or(0.0),
        };
        if whole == 0 { time(rest) } else { whole as f64 * time(most) + time(rest) }
    }
}

fn nanoseconds(time: f64) -> Duration {
    Duration::from_nanos(time as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn follows_the_runs_and_bounds_the_rows() {
        let cost = RunCost::default();
        assert_eq!(cost.rows_within(MS, 32), 32);
        for _ in 0..200 {
            cost.measured(4, 40 * MS);
        }
        // Of more rows than were run nothing is known but that they cost no more than in proportion.
        assert_eq!(cost.rows_within(100 * MS, 32), 10);
        assert_eq!(cost.rows_within(MS, 32), 1);
        assert!(cost.of(10) >= 95 * MS);
    }

    #[test]
    fn a_part_that_does_not_depend_on_rows_is_told_from_one_that_does() {
        let cost = RunCost::default();
        for _ in 0..50 {
            for rows in [1, 2, 8, 32] {
                cost.measured(rows, 8 * MS + MS / 10 * rows as u32);
            }
        }
        for rows in 1..=32 {
            let exact = 8 * MS + MS / 10 * rows as u32;
            assert!(cost.of(rows).abs_diff(exact) < MS / 100, "{rows} {:?}", cost.of(rows));
        }
        // 100 rows at 32 a run: three runs, and one of four rows.
        let exact = 3 * (8 * MS + 32 * MS / 10) + 8 * MS + 4 * MS / 10;
        assert!(cost.of_runs(100, 32).abs_diff(exact) < MS / 10);
        assert_eq!(cost.rows_within(10 * MS, 64), 20);
    }

    #[test]
    fn a_larger_size_that_is_not_run_any_more_is_tried_again() {
        let cost = RunCost::default();
        cost.measured(32, 500 * MS);
        let mut runs = 0;
        while cost.rows_within(100 * MS, 32) < 32 {
            cost.measured(8, 10 * MS);
            runs += 1;
            assert!(runs < 2000, "{:?}", cost.of(32));
        }
        assert!(runs > 256 && cost.of(32) >= cost.of(8), "{runs}");
    }

    #[test]
    fn a_smaller_size_that_is_not_run_any_more_is_forgotten() {
        let cost = RunCost::default();
        cost.measured(1, MS / 10);
        for _ in 0..300 {
            cost.measured(32, 10 * MS);
        }
        assert_eq!(cost.of(1), cost.of(32));
    }

    #[test]
    fn leaves_as_much_room_as_the_runs_differ() {
        let (steady, unsteady) = (RunCost::default(), RunCost::default());
        for run in 0..200 {
            steady.measured(1, 10 * MS);
            unsteady.measured(1, if run % 2 == 0 { 5 * MS } else { 15 * MS });
        }
        assert!(steady.seldom_above(1) < 11 * MS);
        assert!(unsteady.seldom_above(1) > 15 * MS);
        assert!(unsteady.of(1) < 12 * MS);
    }
}
