//! What a loaded version has done since it was loaded: requests, rows, runs and where time went.
//!
//! Workers and the pipeline add to it, `ModelStatistics` reads it. Everything is an atomic of its
//! own, so that nothing on the way of a request waits; a reading between two requests agrees.
//! This file must never be reset: a version that is loaded anew counts anew.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often something happened and how long it took in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// How often.
    pub count: u64,
    /// How long in all, in nanoseconds.
    pub nanos: u64,
}

/// Where the time of a request or a run went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ComputeTimes {
    /// Laying out inputs.
    pub input: Duration,
    /// The model's run.
    pub infer: Duration,
    /// Giving each request its rows of the outputs.
    pub output: Duration,
}

/// The same, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ComputeTallies {
    /// See [`ComputeTimes::input`].
    pub input: Tally,
    /// See [`ComputeTimes::infer`].
    pub infer: Tally,
    /// See [`ComputeTimes::output`].
    pub output: Tally,
}

/// Runs of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchTally {
    /// Rows of the run.
    pub rows: u64,
    /// Where the time went; each count is the number of runs.
    pub compute: ComputeTallies,
}

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatisticsReading {
    /// The end of the last run, in milliseconds since 1970; 0 = never.
    pub last_inference_ms: u64,
    /// Rows that were run: the sum over `batches` of rows times runs.
    pub rows: u64,
    /// Runs that succeeded: the sum over `batches` of runs.
    pub runs: u64,
    /// Requests that were answered, from admission to answer.
    pub success: Tally,
    /// Requests that were refused, failed or left.
    pub fail: Tally,
    /// Waiting of the requests that were answered.
    pub queue: Tally,
    /// Work of the requests that were answered.
    pub compute: ComputeTallies,
    /// Runs by their rows, in order.
    pub batches: Vec<BatchTally>,
}

#[derive(Debug, Default)]
struct Cell {
    count: AtomicU64,
    nanos: AtomicU64,
}

impl Cell {
    fn add(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> Tally {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        Tally { count: load(&self.count), nanos: load(&self.nanos) }
    }
}

#[derive(Debug, Default)]
struct Cells {
    input: Cell,
    infer: Cell,
    output: Cell,
}

impl Cells {
    fn add(&self, times: ComputeTimes) {
        self.input.add(times.input);
        self.infer.add(times.infer);
        self.output.add(times.output);
    }

    fn read(&self) -> ComputeTallies {
        let Self { input, infer, output } = self;
        ComputeTallies { input: input.read(), infer: infer.read(), output: output.read() }
    }
}

/// Segment n holds the sizes from 2^n to 2^(n+1) - 1 and is made when the first of them occurs.
const SEGMENTS: usize = u32::BITS as usize;

/// The counts of one loaded version.
#[derive(Debug, Default)]
pub struct VersionStatistics {
    last_inference_ms: AtomicU64,
    success: Cell,
    fail: Cell,
    queue: Cell,
    compute: Cells,
    batches: [OnceLock<Box<[Cells]>>; SEGMENTS],
}

impl VersionStatistics {
    /// Counts a run of `rows` rows, at least 1, that succeeded.
    pub fn ran(&self, rows: usize, times: ComputeTimes) {
        let rows = rows.max(1);
        let segment = (rows.ilog2() as usize).min(SEGMENTS - 1);
        let cells = self.batches[segment]
            .get_or_init(|| std::iter::repeat_with(Cells::default).take(1 << segment).collect());
        if let Some(cells) = cells.get(rows - (1 << segment)) {
            cells.add(times);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.last_inference_ms.fetch_max(now, Ordering::Relaxed);
    }

    /// Counts the steps of a request that has its answer.
    pub fn served(&self, queue: Duration, times: ComputeTimes) {
        self.queue.add(queue);
        self.compute.add(times);
    }

    /// Counts a request that ended.
    pub fn ended(&self, succeeded: bool, took: Duration) {
        if succeeded { &self.success } else { &self.fail }.add(took);
    }

    /// The counts now.
    pub fn read(&self) -> StatisticsReading {
        let batches: Vec<BatchTally> = self
            .batches
            .iter()
            .enumerate()
            .filter_map(|(segment, cells)| Some((1_u64 << segment, cells.get()?)))
            .flat_map(|(first, cells)| (first..).zip(cells.iter()))
            .map(|(rows, cells)| BatchTally { rows, compute: cells.read() })
            .filter(|batch| batch.compute.infer.count > 0)
            .collect();
        StatisticsReading {
            last_inference_ms: self.last_inference_ms.load(Ordering::Relaxed),
            rows: batches.iter().map(|batch| batch.rows * batch.compute.infer.count).sum(),
            runs: batches.iter().map(|batch| batch.compute.infer.count).sum(),
            success: self.success.read(),
            fail: self.fail.read(),
            queue: self.queue.read(),
            compute: self.compute.read(),
            batches,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_sums_agree_with_the_runs_whatever_their_sizes(
            sizes in prop::collection::vec(1_usize..300, 0..60),
        ) {
            let statistics = VersionStatistics::default();
            let mut expected: BTreeMap<u64, u64> = BTreeMap::new();
            let micro = Duration::from_micros(1);
            let times = ComputeTimes { input: micro, infer: micro * 2, output: micro * 3 };
            std::thread::scope(|scope| {
                for half in sizes.chunks(sizes.len().div_ceil(2).max(1)) {
                    let statistics = &statistics;
                    scope.spawn(move || half.iter().for_each(|rows| statistics.ran(*rows, times)));
                }
            });
            sizes.iter().for_each(|rows| *expected.entry(*rows as u64).or_default() += 1);
            let reading = statistics.read();
            let found: BTreeMap<u64, u64> =
                reading.batches.iter().map(|b| (b.rows, b.compute.input.count)).collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(reading.runs, sizes.len() as u64);
            prop_assert_eq!(reading.rows, sizes.iter().sum::<usize>() as u64);
            let nanos: u64 = reading.batches.iter().map(|b| b.compute.output.nanos).sum();
            prop_assert_eq!(nanos, 3000 * sizes.len() as u64);
        }
    }
}
