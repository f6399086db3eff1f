//! Spans as an exporter sees them, and what is counted when it takes none.
//!
//! The exporter here keeps or refuses; the wire is tested with a real receiver in `tests/it`.
//! These tests must never depend on how long something takes.

use std::sync::Mutex;
use std::time::Instant;

use http::HeaderMap;
use opentelemetry::trace::Status;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::SpanData;

use super::*;
use crate::lifecycle::ManualClock;

#[derive(Debug, Clone, Default)]
struct Kept {
    spans: Arc<Mutex<Vec<SpanData>>>,
    refuses: bool,
}

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        if self.refuses {
            return Err(OTelSdkError::InternalFailure("refused".to_owned()));
        }
        self.spans.lock().unwrap().extend(batch);
        Ok(())
    }
}

fn traces(exporter: Kept, queue: usize, ratio: f64) -> (Traces, Metrics) {
    let settings = TraceSettings {
        endpoint: String::new(),
        timeout: Duration::from_secs(1),
        ratio,
        queue,
        batch: queue,
        // No span goes before the flush.
        interval: Duration::from_secs(3600),
    };
    let metrics = Metrics::new().unwrap();
    let clock = Arc::new(ManualClock::default());
    (Traces::to(exporter, &settings, &metrics, clock), metrics)
}

const ROUTE: ServerCall<'_> = ServerCall::Http { method: "POST", route: "/v2/models/{name}/infer" };

#[test]
fn a_context_is_one_pointer_that_is_null_while_traces_are_off() {
    assert_eq!(size_of::<TraceContext>(), size_of::<usize>());
    let span = Traces::off().begin(ROUTE, &HeaderMap::new(), Instant::now());
    assert!(!span.context().is_on());
    let mut headers = HeaderMap::new();
    span.inject(&mut headers);
    assert!(headers.is_empty());
}

#[test]
fn http_spans_have_their_route_and_fail_by_the_servers_fault_alone() {
    let kept = Kept::default();
    let (traces, _) = traces(kept.clone(), 16, 1.0);
    let begin = || traces.begin(ROUTE, &HeaderMap::new(), Instant::now());
    begin().end(ServerOutcome::Http(404));
    begin().end(ServerOutcome::Http(503));
    drop(begin());
    assert!(!traces.join(ROUTE, &HeaderMap::new(), Instant::now()).context().is_on());
    traces.flush(Duration::from_secs(30));
    let spans = kept.spans.lock().unwrap();
    let shown: Vec<(String, bool)> = spans
        .iter()
        .map(|span| {
            assert_eq!(span.name, "POST /v2/models/{name}/infer");
            let last = span.attributes.last().unwrap();
            (format!("{}={}", last.key, last.value), span.status != Status::Unset)
        })
        .collect();
    let expected = [
        ("http.response.status_code=404", false),
        ("http.response.status_code=503", true),
        ("error.type=cancelled", false),
    ];
    assert_eq!(shown, expected.map(|(text, failed)| (text.to_owned(), failed)));
}

#[test]
fn a_batch_is_kept_by_its_requests_and_not_by_the_share() {
    let kept = Kept::default();
    let (traces, metrics) = traces(kept.clone(), 64, 0.0);
    let mut headers = HeaderMap::new();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    headers.insert("traceparent", parent.parse().unwrap());
    let now = Instant::now();
    let (lost, joined) =
        (traces.begin(ROUTE, &HeaderMap::new(), now), traces.begin(ROUTE, &headers, now));
    assert!(!lost.context().is_on() && joined.context().is_on());
    let model = metrics.model("mnist", "2");
    let run = |ok| BatchRun { model: &model, begun: now, ended: now, ok };
    let (lost_part, joined_part) = (lost.context().clone(), joined.context().clone());
    let alone = BatchPart { trace: lost.context(), since: now, rows: 3 };
    batch_ran(run(true), std::iter::once(alone));
    let parts = [&lost_part, &joined_part].map(|trace| BatchPart { trace, since: now, rows: 3 });
    batch_ran(run(false), parts.into_iter());
    drop((lost, joined, lost_part, joined_part));
    traces.flush(Duration::from_secs(30));
    let spans = kept.spans.lock().unwrap();
    let batches: Vec<&SpanData> = spans.iter().filter(|span| span.name == "batch").collect();
    assert_eq!((spans.len(), batches.len(), batches[0].links.len()), (4, 1, 1));
    assert_ne!(batches[0].status, Status::Unset);
    let texts: Vec<String> =
        batches[0].attributes.iter().map(|a| format!("{}={}", a.key, a.value)).collect();
    let expected =
        ["hilum.model=mnist", "hilum.version=2", "hilum.rows=6", "hilum.batch.requests=2"];
    assert_eq!(texts, expected);
}

#[test]
fn every_span_is_counted_as_sent_or_lost() {
    for refuses in [false, true] {
        let (traces, metrics) = traces(Kept { refuses, ..Kept::default() }, 4, 1.0);
        for _ in 0..10 {
            drop(traces.begin(ROUTE, &HeaderMap::new(), Instant::now()));
        }
        traces.flush(Duration::from_secs(30));
        let text = metrics.render();
        let full = text.split("dropped_total{reason=\"queue_full\"} ").nth(1).unwrap();
        let full: u64 = full.lines().next().unwrap().parse().unwrap();
        // A full batch of four goes at once, so that more than four may find room.
        let (ok, failed) = if refuses { (0, 10 - full) } else { (10 - full, 0) };
        assert!(full <= 6, "{full}");
        assert!(text.contains(&format!("spans_exported_total {ok}")), "{text}");
        assert!(
            text.contains(&format!("dropped_total{{reason=\"export_failed\"}} {failed}")),
            "{text}"
        );
    }
}
