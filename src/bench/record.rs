//! What came of each request: latency histograms, counts by status, a line of time.
//!
//! Callers record into a few recorders, which are merged at the end.
//! This file must never keep a request: memory does not grow with their number.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::Answered;

/// Points of the line of time, at most.
const POINTS: usize = 60;
/// The quantiles that a report draws: from the median to five nines.
const CURVE: [f64; 14] =
    [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99995, 0.99999];

/// One request's life.
#[derive(Debug, Clone, Copy)]
pub struct Life {
    /// When it should have been sent.
    pub intended: Instant,
    /// When it was sent.
    pub sent: Instant,
    /// When its answer was there.
    pub done: Instant,
}

/// Records requests whose intended time lies in the window, and rates over the window.
#[derive(Debug)]
pub struct Recorder {
    from: Instant,
    until: Option<Instant>,
    step: Duration,
    deadline: Option<Duration>,
    ok: u64,
    good: u64,
    latency: Histogram<u64>,
    lag: Histogram<u64>,
    statuses: BTreeMap<Cow<'static, str>, u64>,
    not_sent: u64,
    answered: Vec<Answer>,
    last: Option<Instant>,
}

/// What was answered in one step of the line of time.
#[derive(Debug, Clone)]
struct Answer {
    ok: u64,
    failed: u64,
    latency: Histogram<u32>,
}

/// A histogram of nanoseconds up to an hour; what takes longer counts as an hour.
fn histogram<C: hdrhistogram::Counter>(digits: u8) -> Histogram<C> {
    const HOUR: u64 = 3_600_000_000_000;
    // Bounds in order and one to five digits are all that the crate asks for.
    Histogram::new_with_bounds(1, HOUR, digits).unwrap_or_else(|_| unreachable!("{digits} digits"))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX >> 1)
}

impl Recorder {
    /// A recorder of what is to be sent from `from` on, for `length`; none means until the last
    /// answer.
    pub fn new(from: Instant, length: Option<Duration>, deadline: Option<Duration>) -> Self {
        let step = (length.unwrap_or(Duration::from_secs(30)) / u32::try_from(POINTS).unwrap_or(1))
            .max(Duration::from_millis(100));
        Self {
            from,
            until: length.and_then(|length| from.checked_add(length)),
            step,
            deadline,
            ok: 0,
            good: 0,
            latency: histogram(3),
            lag: histogram(3),
            statuses: BTreeMap::new(),
            not_sent: 0,
            answered: Vec::new(),
            last: None,
        }
    }

    /// Records a request, of the warm-up too: its answer may fall into the window.
    pub fn record(&mut self, life: Life, answered: &Answered) {
        let latency = life.done.saturating_duration_since(life.intended);
        let good = answered.is_ok() && self.deadline.is_none_or(|deadline| latency <= deadline);
        if life.done >= self.from && self.until.is_none_or(|until| life.done <= until) {
            self.last = self.last.max(Some(life.done));
            self.ok += u64::from(answered.is_ok());
            self.good += u64::from(good);
            let since = life.done.saturating_duration_since(self.from);
            let place = (since.as_nanos() / self.step.as_nanos().max(1)) as usize;
            if let Some(answer) = self.step_at(place) {
                match answered {
                    Ok(()) => {
                        answer.ok += 1;
                        answer.latency.saturating_record(nanos(latency));
                    }
                    Err(_) => answer.failed += 1,
                }
            }
        }
        if life.intended < self.from {
            return;
        }
        self.lag.saturating_record(nanos(life.sent.saturating_duration_since(life.intended)));
        let status = match answered {
            Ok(()) => {
                self.latency.saturating_record(nanos(latency));
                Cow::Borrowed("OK")
            }
            Err(status) => status.clone(),
        };
        *self.statuses.entry(status).or_default() += 1;
    }

    /// Records a request that the generator had no room for.
    pub fn not_sent(&mut self, intended: Instant) {
        self.not_sent += u64::from(intended >= self.from);
    }

    /// The step of the line of time, unless it lies far beyond what was expected.
    fn step_at(&mut self, place: usize) -> Option<&mut Answer> {
        if place >= 16 * POINTS {
            return None;
        }
        if place >= self.answered.len() {
            let empty = Answer { ok: 0, failed: 0, latency: histogram(2) };
            self.answered.resize(place + 1, empty);
        }
        self.answered.get_mut(place)
    }

    /// Adds what another recorder of the same window has.
    pub fn merge(&mut self, other: Self) {
        // Histograms of the same bounds take every value of each other.
        let _ = self.latency.add(&other.latency);
        let _ = self.lag.add(&other.lag);
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.not_sent += other.not_sent;
        self.ok += other.ok;
        self.good += other.good;
        for (place, answer) in other.answered.into_iter().enumerate() {
            if let Some(mine) = self.step_at(place) {
                mine.ok += answer.ok;
                mine.failed += answer.failed;
                let _ = mine.latency.add(&answer.latency);
            }
        }
        self.last = self.last.max(other.last);
    }

    /// The numbers. `stopped` cuts a window short that was interrupted.
    pub fn summary(&self, stopped: Option<Instant>) -> Summary {
        let end = stopped.into_iter().chain(self.until).min().or(self.last).unwrap_or(self.from);
        let window = end.saturating_duration_since(self.from);
        let seconds = window.as_secs_f64().max(f64::MIN_POSITIVE);
        let (ok, good) = (self.ok as f64 / seconds, self.good as f64 / seconds);
        Summary {
            window_s: window.as_secs_f64(),
            requests: self.statuses.values().sum(),
            not_sent: self.not_sent,
            by_status: self.statuses.iter().map(|(k, v)| (k.to_string(), *v)).collect(),
            requests_per_second: ok,
            goodput_per_second: good,
            latency_ms: Latency::of(&self.latency),
            send_lag_ms: Latency::of(&self.lag),
            curve: CURVE
                .into_iter()
                .filter(|quantile| {
                    self.latency.len() as f64 * (1.0 - quantile) >= 1.0 || *quantile == 0.0
                })
                .map(|quantile| (quantile, milliseconds(self.latency.value_at_quantile(quantile))))
                .collect(),
            timeline: self.points(window),
        }
    }

    fn points(&self, window: Duration) -> Vec<Point> {
        let step = self.step.as_secs_f64();
        let whole = (window.as_secs_f64() / step + 1e-9) as usize;
        self.answered
            .iter()
            .take(whole)
            .enumerate()
            .map(|(place, answer)| Point {
                at_s: place as f64 * step,
                ok_per_second: answer.ok as f64 / step,
                failed_per_second: answer.failed as f64 / step,
                p50_ms: milliseconds(answer.latency.value_at_quantile(0.5)),
                p99_ms: milliseconds(answer.latency.value_at_quantile(0.99)),
            })
            .collect()
    }
}

fn milliseconds(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

/// Everything that was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The window's length in seconds.
    pub window_s: f64,
    /// Requests that were to be sent in the window and were.
    pub requests: u64,
    /// Requests that the generator had no room for.
    pub not_sent: u64,
    /// Requests by the status of their answer.
    pub by_status: BTreeMap<String, u64>,
    /// Answers with status OK that came in the window, a second.
    pub requests_per_second: f64,
    /// Those of them that came within the deadline; all, when there is none.
    pub goodput_per_second: f64,
    /// From the intended time of sending to the answer, of those with status OK.
    pub latency_ms: Latency,
    /// How late the generator itself was.
    pub send_lag_ms: Latency,
    /// Quantiles from 0 to five nines, as far as there are requests enough: quantile, milliseconds.
    pub curve: Vec<(f64, f64)>,
    /// The window in steps.
    pub timeline: Vec<Point>,
}

/// A distribution of times in milliseconds; three significant digits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// The least.
    pub min: f64,
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 95 %.
    pub p95: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p99_9: f64,
    /// The greatest.
    pub max: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| milliseconds(histogram.value_at_quantile(quantile));
        Self {
            min: milliseconds(histogram.min()),
            mean: histogram.mean() / 1e6,
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p99_9: at(0.999),
            max: milliseconds(histogram.max()),
        }
    }
}

/// One step of the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// Its beginning, in seconds from the window's.
    pub at_s: f64,
    /// Answers with status OK a second.
    pub ok_per_second: f64,
    /// Other answers a second.
    pub failed_per_second: f64,
    /// The median of its OK answers.
    pub p50_ms: f64,
    /// Their 99 %.
    pub p99_ms: f64,
}
