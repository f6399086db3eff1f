//! Says how far the load is: a bar on a terminal, plain lines elsewhere.
//!
//! The generator counts into `Live`; `show` looks at it now and then and writes to standard error.
//! This file must never write to standard output, which belongs to the result.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Length, Plan};

/// What the generator says about itself while it runs.
#[derive(Debug, Default)]
pub struct Live {
    /// Answers with status OK, those of the warm-up too.
    pub ok: AtomicU64,
    /// Other answers.
    pub failed: AtomicU64,
    /// Requests of the window that were answered.
    pub recorded: AtomicU64,
    /// Whether to send no more.
    pub stop: AtomicBool,
}

impl Live {
    /// Counts an answer.
    pub fn answered(&self, ok: bool, in_window: bool) {
        if ok { &self.ok } else { &self.failed }.fetch_add(1, Ordering::Relaxed);
        if in_window {
            self.recorded.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether to send no more.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// How far it is, in thousandths, and in words.
fn state(plan: &Plan, live: &Live, elapsed: Duration, rate: f64) -> (u64, String) {
    let failed = live.failed.load(Ordering::Relaxed);
    let (share, phase) = match plan.length {
        _ if elapsed < plan.warmup => {
            (elapsed.as_secs_f64() / plan.warmup.as_secs_f64(), "warming up")
        }
        Length::Time(time) => {
            ((elapsed - plan.warmup).as_secs_f64() / time.as_secs_f64().max(1e-9), "measuring")
        }
        Length::Requests(count) => {
            let recorded = live.recorded.load(Ordering::Relaxed);
            (recorded as f64 / count.max(1) as f64, "measuring")
        }
    };
    let words = format!("{phase}: {rate:.0} answers/s, {failed} failed");
    ((share.clamp(0.0, 1.0) * 1000.0) as u64, words)
}

/// Shows progress until it is dropped or aborted; nothing at all when `quiet`.
pub async fn show(plan: &Plan, live: &Live, quiet: bool) {
    if quiet {
        return std::future::pending().await;
    }
    let bar = std::io::stderr().is_terminal().then(|| {
        let style = ProgressStyle::with_template("{bar:30} {percent:>3}% {msg}");
        let bar = ProgressBar::new(1000);
        match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    });
    let every = Duration::from_millis(if bar.is_some() { 200 } else { 5000 });
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(every);
    ticks.tick().await;
    let mut before = 0;
    loop {
        ticks.tick().await;
        let now = live.ok.load(Ordering::Relaxed) + live.failed.load(Ordering::Relaxed);
        let rate = (now - before) as f64 / every.as_secs_f64();
        before = now;
        let (thousandths, words) = state(plan, live, begun.elapsed(), rate);
        match &bar {
            Some(bar) => {
                bar.set_position(thousandths);
                bar.set_message(words);
            }
            None => eprintln!("{:>3} % {words}", thousandths / 10),
        }
    }
}
