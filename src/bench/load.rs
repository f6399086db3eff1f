//! The two generators: callers that wait for their answers, and arrivals that wait for nothing.
//!
//! Both send messages that were made beforehand and record each answer against the time at which
//! its request should have been sent.
//! This file must never move a request's intended time to when it could be sent.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::record::Life;
use super::{Answered, BenchError, Length, Live, Load, Plan, Recorder, Summary, Transport};

/// What all senders share.
struct Shared<T: Transport> {
    transport: Arc<T>,
    messages: Vec<T::Message>,
    plan: Plan,
    live: Arc<Live>,
    recorders: Vec<Mutex<Recorder>>,
    from: Instant,
    until: Option<Instant>,
    begun: AtomicU64,
}

/// Puts the load on and returns what came of it. `messages` are sent in turn; setting
/// [`Live::stop`] ends it early.
///
/// # Errors
/// [`BenchError::Generator`] when there is no message or a thread cannot be made.
pub async fn run<T: Transport>(
    plan: Plan,
    transport: Arc<T>,
    messages: Vec<T::Message>,
    live: Arc<Live>,
) -> Result<Summary, BenchError> {
    if messages.is_empty() {
        return Err(BenchError::Generator("there is no message to send".to_owned()));
    }
    let from = Instant::now() + plan.warmup;
    let length = match plan.length {
        Length::Time(time) => Some(time),
        Length::Requests(_) => None,
    };
    let recorder = || Mutex::new(Recorder::new(from, length, plan.deadline));
    let shards = std::thread::available_parallelism().map_or(2, usize::from);
    let shared = Arc::new(Shared {
        transport,
        messages,
        live: Arc::clone(&live),
        recorders: (0..shards).map(|_| recorder()).collect(),
        from,
        until: length.and_then(|length| from.checked_add(length)),
        begun: AtomicU64::new(0),
        plan: plan.clone(),
    });
    match plan.load {
        Load::Closed { callers } => closed(&shared, callers).await,
        Load::Open { rate, max_in_flight, seed } => {
            open(&shared, rate, max_in_flight, seed).await?;
        }
    }
    let stopped = live.stopped().then(Instant::now);
    let mut all = Recorder::new(from, length, plan.deadline);
    for recorder in &shared.recorders {
        let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = Recorder::new(from, length, plan.deadline);
        all.merge(std::mem::replace(&mut *recorder, empty));
    }
    Ok(all.summary(stopped))
}

impl<T: Transport> Shared<T> {
    /// Whether a request that should be sent at `now` is still part of the plan.
    fn goes_on(&self, now: Instant) -> bool {
        if self.live.stopped() || self.until.is_some_and(|until| now >= until) {
            return false;
        }
        match self.plan.length {
            Length::Requests(count) if now >= self.from => {
                self.begun.fetch_add(1, Ordering::Relaxed) < count
            }
            _ => true,
        }
    }

    /// Sends one request and records it.
    async fn one(&self, caller: usize, number: usize, intended: Instant) {
        let sent = Instant::now();
        let message = &self.messages[number % self.messages.len()];
        let left = self.plan.deadline.map(|all| all.saturating_sub(sent - intended));
        let answered: Answered = match left {
            // Nobody would wait for it any more.
            Some(Duration::ZERO) => Err(Cow::Borrowed("DEADLINE_EXCEEDED")),
            left => {
                let answer = self.transport.send(caller, message, left);
                tokio::time::timeout(self.plan.timeout, answer)
                    .await
                    .unwrap_or(Err(Cow::Borrowed("TIMEOUT")))
            }
        };
        let done = Instant::now();
        self.live.answered(answered.is_ok(), intended >= self.from);
        let recorder = &self.recorders[caller % self.recorders.len()];
        let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
        recorder.record(Life { intended, sent, done }, &answered);
    }
}

async fn closed<T: Transport>(shared: &Arc<Shared<T>>, callers: usize) {
    let mut tasks = JoinSet::new();
    for caller in 0..callers.max(1) {
        let shared = Arc::clone(shared);
        tasks.spawn(async move {
            let mut number = caller;
            loop {
                let intended = Instant::now();
                if !shared.goes_on(intended) {
                    break;
                }
                shared.one(caller, number, intended).await;
                number += callers;
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

async fn open<T: Transport>(
    shared: &Arc<Shared<T>>,
    rate: f64,
    max_in_flight: usize,
    seed: u64,
) -> Result<(), BenchError> {
    let places = Arc::new(Semaphore::new(max_in_flight.clamp(1, Semaphore::MAX_PERMITS)));
    let most = u32::try_from(max_in_flight.max(1)).unwrap_or(u32::MAX);
    let runtime = tokio::runtime::Handle::current();
    let (pace, room) = (Arc::clone(shared), Arc::clone(&places));
    // A thread of its own: tokio's timers are a millisecond coarse.
    let pacing = std::thread::Builder::new().name("arrivals".to_owned()).spawn(move || {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut intended = Instant::now();
        for number in 0.. {
            intended += Duration::from_secs_f64(gap(&mut random, rate));
            if let Some(early) = intended.checked_duration_since(Instant::now()) {
                std::thread::sleep(early);
            }
            if !pace.goes_on(intended) {
                break;
            }
            match Arc::clone(&room).try_acquire_owned() {
                Ok(place) => {
                    let shared = Arc::clone(&pace);
                    runtime.spawn(async move {
                        shared.one(number, number, intended).await;
                        drop(place);
                    });
                }
                Err(_) => {
                    let recorder = &pace.recorders[number % pace.recorders.len()];
                    recorder.lock().unwrap_or_else(PoisonError::into_inner).not_sent(intended);
                }
            }
        }
    });
    let pacing = pacing.map_err(|error| BenchError::Generator(error.to_string()))?;
    let ended = tokio::task::spawn_blocking(move || pacing.join()).await;
    if !matches!(ended, Ok(Ok(()))) {
        return Err(BenchError::Generator("the thread of the arrivals ended early".to_owned()));
    }
    // Each request in flight is bounded by its own timeout.
    let _ = places.acquire_many(most).await;
    Ok(())
}

/// The time to the next arrival of a Poisson process of `rate` a second, in seconds: exponentially
/// distributed, by inversion (Devroye, Non-Uniform Random Variate Generation, II.2).
fn gap(random: &mut fastrand::Rng, rate: f64) -> f64 {
    let gap = -(1.0 - random.f64()).ln() / rate;
    // A rate so low that no second arrival fits into the plan anyway.
    gap.clamp(0.0, 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_have_the_mean_and_the_spread_of_an_exponential_distribution() {
        let mut random = fastrand::Rng::with_seed(7);
        let gaps: Vec<f64> = (0..200_000).map(|_| gap(&mut random, 250.0)).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // Six standard errors of each.
        assert!((mean * 250.0 - 1.0).abs() < 0.014, "{mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.014, "{variance}");
        let over = gaps.iter().filter(|g| **g > 2.0 / 250.0).count() as f64 / gaps.len() as f64;
        assert!((over - (-2.0_f64).exp()).abs() < 0.005, "{over}");
    }
}
