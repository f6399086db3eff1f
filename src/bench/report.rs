//! What was measured, for people and for programs.
//!
//! The plan, its subject and the summary go in; a table, JSON or a page come out.
//! This file must never round a number that a program reads.

use serde::Serialize;

use super::{Latency, Length, Load, Plan, Summary};

/// What the load was put on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// The protocol.
    pub transport: String,
    /// The server.
    pub address: String,
    /// The model.
    pub model: String,
    /// The version asked for; empty means the champion.
    pub version: String,
    /// Connections, over which the callers are spread; none means one for each request in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<usize>,
}

/// A whole measurement. Its JSON form is the output of `hilum bench --output json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The form's version.
    pub schema: u32,
    /// Who measured.
    pub tool: String,
    /// What the load was put on.
    pub subject: Subject,
    /// The load.
    pub load: LoadReport,
    /// Rows of each request.
    pub rows_per_request: usize,
    /// Length of the warm-up in seconds.
    pub warmup_s: f64,
    /// The deadline of a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<f64>,
    /// Whether it was ended early.
    pub interrupted: bool,
    /// Rows answered with status OK, a second.
    pub rows_per_second: f64,
    /// The rest of the numbers.
    #[serde(flatten)]
    pub summary: Summary,
}

/// The load, as a report shows it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LoadReport {
    /// Callers that wait.
    Closed {
        /// How many.
        callers: usize,
    },
    /// A Poisson process.
    Open {
        /// Requests a second that were asked for.
        rate: f64,
        /// The bound on requests in flight.
        max_in_flight: usize,
        /// The seed of the arrivals.
        seed: u64,
    },
}

impl Report {
    /// A report of what `plan` came to.
    pub fn new(plan: &Plan, subject: Subject, summary: Summary, interrupted: bool) -> Self {
        let load = match plan.load {
            Load::Closed { callers } => LoadReport::Closed { callers },
            Load::Open { rate, max_in_flight, seed } => {
                LoadReport::Open { rate, max_in_flight, seed }
            }
        };
        Self {
            schema: 1,
            tool: format!("hilum {}", env!("CARGO_PKG_VERSION")),
            subject,
            load,
            rows_per_request: plan.rows,
            warmup_s: plan.warmup.as_secs_f64(),
            deadline_ms: plan.deadline.map(|deadline| deadline.as_secs_f64() * 1e3),
            // A plan by count ends by itself; only a stop leaves some unsent.
            interrupted: interrupted
                && match plan.length {
                    Length::Time(_) => true,
                    Length::Requests(count) => summary.requests < count,
                },
            rows_per_second: summary.requests_per_second * plan.rows as f64,
            summary,
        }
    }

    /// Requests that were answered with status OK.
    pub fn ok(&self) -> u64 {
        self.summary.by_status.get("OK").copied().unwrap_or(0)
    }

    /// The share of requests that failed or could not be sent, 0 to 1; 1 when there was none.
    pub fn failed_share(&self) -> f64 {
        let all = self.summary.requests + self.summary.not_sent;
        if all == 0 { 1.0 } else { 1.0 - self.ok() as f64 / all as f64 }
    }

    /// What was done, in a sentence.
    pub fn headline(&self) -> String {
        let Subject { transport, address, model, version, connections } = &self.subject;
        let version =
            if version.is_empty() { String::new() } else { format!(" version {version}") };
        let connections =
            connections.map_or_else(String::new, |count| format!(" ({count} connections)"));
        let load = match self.load {
            LoadReport::Closed { callers } => format!("closed loop, {callers} callers"),
            LoadReport::Open { rate, .. } => format!("open loop, {rate} requests/s (Poisson)"),
        };
        let deadline =
            self.deadline_ms.map_or_else(String::new, |ms| format!(", deadline {ms} ms"));
        format!(
            "{model}{version} at {address} over {transport}{connections}: {load}, \
             {} rows a request{deadline}, {:.1} s after {:.1} s of warm-up",
            self.rows_per_request, self.summary.window_s, self.warmup_s
        )
    }

    /// The report for people.
    pub fn table(&self) -> String {
        let summary = &self.summary;
        let mut lines = vec![self.headline(), String::new()];
        let mut row = |name: &str, value: String| lines.push(format!("{name:<20}{value}"));
        row("requests/s", format!("{:.1}", summary.requests_per_second));
        row("rows/s", format!("{:.1}", self.rows_per_second));
        if self.deadline_ms.is_some() {
            row("goodput", format!("{:.1} requests/s in time", summary.goodput_per_second));
        }
        for (status, count) in &summary.by_status {
            row(status, count.to_string());
        }
        if summary.not_sent > 0 {
            row("not sent", format!("{} (the bound on requests in flight)", summary.not_sent));
        }
        if self.interrupted {
            row("interrupted", "the numbers are those of the time until then".to_owned());
        }
        lines.push(String::new());
        lines.push(format!(
            "{:<20}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
            "ms", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"
        ));
        let mut times = |name: &str, t: &Latency| {
            let mut line = format!("{name:<20}");
            for value in [t.mean, t.p50, t.p90, t.p95, t.p99, t.p99_9, t.max] {
                line.push_str(&format!("{value:>9.3}"));
            }
            lines.push(line);
        };
        if self.ok() > 0 {
            times("latency (OK)", &summary.latency_ms);
        }
        if matches!(self.load, LoadReport::Open { .. }) {
            times("sent late by", &summary.send_lag_ms);
        }
        lines.join("\n")
    }
}
