//! A report as one HTML page that needs nothing else: style and charts stand in it.
//!
//! A report goes in, a page comes out; it shows the same numbers as the JSON form.
//! This file must never let a text of a server or a caller become markup.

use super::chart::{Chart, Series, escaped};
use super::{Latency, Report, Summary};

const STYLE: &str = "
:root { --ink: #1b1f24; --paper: #ffffff; --faint: #6b7280; --grid: #d9dde3; --a: #0b61a4; --b: #c2410c; --c: #0f766e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #14171a; --faint: #9aa3ad; --grid: #343a41; --a: #6cb6f5; --b: #f59e6c; --c: #5ec4b6; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 760px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: right; padding: .25rem .5rem; border-bottom: 1px solid var(--grid); font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; } svg text { font-size: 12px; fill: var(--faint); } svg .y, svg .legend { text-anchor: end; } svg .x { text-anchor: middle; }
polyline { fill: none; stroke-width: 2; } .grid { stroke: var(--grid); stroke-width: 1; }
polyline.a { stroke: var(--a); } polyline.b { stroke: var(--b); } polyline.c { stroke: var(--c); }
svg text.a { fill: var(--a); } svg text.b { fill: var(--b); } svg text.c { fill: var(--c); }
.hint, footer { color: var(--faint); }
";

/// The page.
pub fn html(report: &Report) -> String {
    let summary = &report.summary;
    let title = format!("{}: load", report.subject.model);
    let interrupted = match report.interrupted {
        true => {
            "<p class=\"hint\">It was interrupted: the numbers are those of the time until then.</p>"
        }
        false => "",
    };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{}</h1>\n<p>{}</p>\n{interrupted}\n\
         <h2>Throughput</h2>\n{}\n{}\n<h2>Latency</h2>\n{}\n{}\n{}\n\
         <footer><p>{}. Latency counts from the time at which a request should have been sent, of \
         answers with status OK.</p></footer>\n</body>\n</html>\n",
        escaped(&title),
        escaped(&title),
        escaped(&report.headline()),
        throughput(report),
        rates(summary),
        latencies(report),
        quantiles(summary),
        over_time(summary),
        escaped(&report.tool),
    )
}

fn throughput(report: &Report) -> String {
    let summary = &report.summary;
    let mut rows = vec![
        ("Requests a second".to_owned(), format!("{:.1}", summary.requests_per_second)),
        ("Rows a second".to_owned(), format!("{:.1}", report.rows_per_second)),
    ];
    if report.deadline_ms.is_some() {
        let goodput = format!("{:.1}", summary.goodput_per_second);
        rows.push(("Requests a second within the deadline".to_owned(), goodput));
    }
    rows.extend(summary.by_status.iter().map(|(k, n)| (format!("Requests: {k}"), n.to_string())));
    if summary.not_sent > 0 {
        rows.push(("Requests that were not sent".to_owned(), summary.not_sent.to_string()));
    }
    let row = |(name, value): &(String, String)| {
        format!("<tr><td>{}</td><td>{}</td></tr>", escaped(name), escaped(value))
    };
    format!("<table>{}</table>", rows.iter().map(row).collect::<String>())
}

fn rates(summary: &Summary) -> String {
    let points = |of: fn(&super::Point) -> f64| {
        summary.timeline.iter().map(|point| (point.at_s, of(point))).collect()
    };
    let mut series =
        vec![Series { name: "OK", class: "a", points: points(|point| point.ok_per_second) }];
    if summary.timeline.iter().any(|point| point.failed_per_second > 0.0) {
        let points = points(|point| point.failed_per_second);
        series.push(Series { name: "failed", class: "b", points });
    }
    let title = "Answers a second over the time of the measurement";
    Chart { title, x_label: "seconds", y_label: "answers/s", x_marks: Vec::new() }.draw(&series)
}

fn latencies(report: &Report) -> String {
    let head = ["ms", "least", "mean", "p50", "p90", "p95", "p99", "p99.9", "greatest"];
    let head: String = head.iter().map(|name| format!("<th>{name}</th>")).collect();
    let row = |name: &str, t: &Latency| {
        let cells = [t.min, t.mean, t.p50, t.p90, t.p95, t.p99, t.p99_9, t.max];
        let cells: String = cells.iter().map(|ms| format!("<td>{ms:.3}</td>")).collect();
        format!("<tr><td>{name}</td>{cells}</tr>")
    };
    let summary = &report.summary;
    let mut rows = row("answered OK", &summary.latency_ms);
    if matches!(report.load, super::report::LoadReport::Open { .. }) {
        rows.push_str(&row("sent late by", &summary.send_lag_ms));
    }
    format!("<table><tr>{head}</tr>{rows}</table>")
}

/// Quantiles on an axis that gives each further nine the same room, as HdrHistogram's plots do.
fn quantiles(summary: &Summary) -> String {
    let nines = |quantile: f64| -(1.0 - quantile).log10();
    let points = summary.curve.iter().map(|(quantile, ms)| (nines(*quantile), *ms)).collect();
    let marks = [(0.0, "0"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %")];
    let more = [(0.9999, "99.99 %"), (0.99999, "99.999 %")];
    let marks = marks.iter().chain(&more).map(|(q, label)| (nines(*q), (*label).to_owned()));
    Chart {
        title: "Latency by share of requests",
        x_label: "share of the requests that were answered within",
        y_label: "ms",
        x_marks: marks.collect(),
    }
    .draw(&[Series { name: "latency", class: "c", points }])
}

fn over_time(summary: &Summary) -> String {
    // A step without an answer has no latency.
    let answered = || summary.timeline.iter().filter(|point| point.ok_per_second > 0.0);
    let p50 = answered().map(|point| (point.at_s, point.p50_ms)).collect();
    let p99 = answered().map(|point| (point.at_s, point.p99_ms)).collect();
    let title = "Latency over the time of the measurement";
    Chart { title, x_label: "seconds", y_label: "ms", x_marks: Vec::new() }.draw(&[
        Series { name: "p50", class: "c", points: p50 },
        Series { name: "p99", class: "b", points: p99 },
    ])
}
