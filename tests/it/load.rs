//! `hilum bench` and its room: what it counts is what the service counted, and what was slow is slow.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hilum::bench::{
    Answered, BenchError, GrpcTransport, InputSource, Length, Life, Live, Load, ModelInput, Plan,
    Recorder, RestTransport, Transport, messages, run,
};
use hilum::pipeline::NamedTensor;
use proptest::prelude::*;

use crate::commands::{hilum, text};
use crate::harness::Server;

fn plan(load: Load, count: u64) -> Plan {
    Plan {
        load,
        rows: 1,
        warmup: Duration::ZERO,
        length: Length::Requests(count),
        deadline: None,
        timeout: Duration::from_secs(30),
    }
}

const OPEN: Load = Load::Open { rate: 400.0, max_in_flight: 1000, seed: 3 };

/// Puts both loops on, and holds what was counted against the service's own counter.
async fn hold_against<T: Transport>(server: &Server, transport: Arc<T>, protocol: &str) {
    let counted = format!(
        "hilum_requests_total{{protocol=\"{protocol}\",model=\"mnist\",version=\"2\",code=\"OK\"}}"
    );
    let mut expected = 0.0;
    for load in [Load::Closed { callers: 4 }, OPEN] {
        let source = InputSource::Random { seed: 1 };
        let messages = messages(&*transport, "mnist", "", 3, &source).await.unwrap();
        let live = Arc::new(Live::default());
        let summary = run(plan(load, 120), Arc::clone(&transport), messages, live).await.unwrap();
        assert_eq!(summary.requests, 120, "{summary:?}");
        assert_eq!(summary.by_status.get("OK"), Some(&120), "{summary:?}");
        let times = summary.latency_ms;
        assert!(0.0 < times.min && times.min <= times.p50 && times.p50 <= times.p99);
        assert!(times.p99 <= times.p99_9 && times.p99_9 <= times.max);
        expected += 120.0;
        assert_eq!(server.metric(&counted).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_loops_send_what_the_plan_says_and_the_service_counts_the_same() {
    let server = Server::ready().await;
    let bound = Duration::from_secs(30);
    let grpc = GrpcTransport::connect(&server.grpc.to_string(), 2, bound).await.unwrap();
    hold_against(&server, Arc::new(grpc), "grpc").await;
    let rest = RestTransport::connect(&server.http.to_string(), bound).await.unwrap();
    hold_against(&server, Arc::new(rest), "http").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_rest_a_refusal_and_a_deadline_have_their_names() {
    let server = Server::ready().await;
    let bound = Duration::from_secs(30);
    let rest = RestTransport::connect(&server.http.to_string(), bound).await.unwrap();
    let source = InputSource::Random { seed: 1 };
    let message = messages(&rest, "mnist", "1", 1, &source).await.unwrap().remove(0);
    let late = rest.send(0, &message, Some(Duration::from_micros(1))).await;
    assert_eq!(late, Err(Cow::Borrowed("DEADLINE_EXCEEDED")));
    let wrong = rest.message("mnist", "7", Vec::new()).unwrap();
    assert_eq!(rest.send(0, &wrong, None).await, Err(Cow::Borrowed("HTTP_404")));
    let unknown = messages(&rest, "cats", "", 1, &source).await.map(|_| ()).unwrap_err();
    assert!(unknown.to_string().contains("unknown model 'cats'"), "{unknown}");
}

/// Answers after `takes`, one at a time, as a server with one engine would.
struct Slow {
    takes: Duration,
    engine: tokio::sync::Semaphore,
    sent: AtomicUsize,
}

impl Transport for Slow {
    type Message = ();

    fn name(&self) -> &'static str {
        "slow"
    }

    async fn inputs(&self, _: &str, _: &str) -> Result<Vec<ModelInput>, BenchError> {
        Ok(Vec::new())
    }

    fn message(&self, _: &str, _: &str, _: Vec<NamedTensor>) -> Result<(), BenchError> {
        Ok(())
    }

    async fn send(&self, _: usize, (): &(), deadline: Option<Duration>) -> Answered {
        self.sent.fetch_add(1, Ordering::SeqCst);
        let answer = async {
            let _turn = self.engine.acquire().await;
            tokio::time::sleep(self.takes).await;
        };
        let deadline = deadline.unwrap_or(Duration::from_secs(60));
        let late = |_| Cow::Borrowed("DEADLINE_EXCEEDED");
        tokio::time::timeout(deadline, answer).await.map_err(late)
    }
}

fn slow(takes: Duration) -> Arc<Slow> {
    Arc::new(Slow { takes, engine: tokio::sync::Semaphore::new(1), sent: AtomicUsize::new(0) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_loop_counts_the_wait_that_a_closed_loop_does_not_see() {
    // 40 requests at 400/s come within about 100 ms; one engine needs 800 ms for them.
    let takes = Duration::from_millis(20);
    let live = || Arc::new(Live::default());
    let open = run(plan(OPEN, 40), slow(takes), vec![()], live()).await.unwrap();
    let closed =
        run(plan(Load::Closed { callers: 1 }, 40), slow(takes), vec![()], live()).await.unwrap();
    assert_eq!((open.requests, closed.requests), (40, 40));
    // A closed loop with one caller never waits for the engine; the last of the others waits for
    // those before it, less the time in which they came.
    assert!(open.latency_ms.max > 10.0 * 20.0, "{:?}", open.latency_ms);
    assert!(open.latency_ms.p50 > closed.latency_ms.p50, "{open:?} {closed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_and_the_bound_on_requests_in_flight_are_held() {
    let mut late = plan(OPEN, 30);
    late.deadline = Some(Duration::from_millis(1));
    let live = || Arc::new(Live::default());
    let summary = run(late, slow(Duration::from_secs(5)), vec![()], live()).await.unwrap();
    assert_eq!(summary.by_status.get("DEADLINE_EXCEEDED"), Some(&30), "{summary:?}");
    assert_eq!(summary.goodput_per_second, 0.0);

    let load = Load::Open { rate: 2000.0, max_in_flight: 3, seed: 1 };
    let transport = slow(Duration::from_secs(2));
    let mut narrow = plan(load, 20);
    narrow.timeout = Duration::from_secs(1);
    let summary = run(narrow, Arc::clone(&transport), vec![()], live()).await.unwrap();
    assert_eq!(transport.sent.load(Ordering::SeqCst), 3);
    assert_eq!((summary.requests, summary.not_sent), (3, 17), "{summary:?}");
    assert_eq!(summary.by_status.get("TIMEOUT"), Some(&3), "{summary:?}");
}

proptest! {
    #[test]
    fn quantiles_are_those_of_the_sorted_latencies(
        micros in proptest::collection::vec(1_u64..5_000_000, 1..400),
        early in 0_u64..50_000,
    ) {
        let from = Instant::now();
        let mut recorders = [Recorder::new(from, None, None), Recorder::new(from, None, None)];
        for (place, latency) in micros.iter().enumerate() {
            let intended = from + Duration::from_millis(place as u64);
            let life = Life {
                intended,
                // Sent late: the wait is part of the latency.
                sent: intended + Duration::from_micros(early.min(*latency)),
                done: intended + Duration::from_micros(*latency),
            };
            recorders[place % 2].record(life, &Ok(()));
        }
        // A request of the warm-up is no part of it.
        let before = from - Duration::from_millis(1);
        recorders[0].record(Life { intended: before, sent: before, done: before }, &Ok(()));
        let [mut all, other] = recorders;
        all.merge(other);
        let summary = all.summary(None);
        let mut sorted = micros.clone();
        sorted.sort_unstable();
        let exact = |quantile: f64| {
            let rank = (quantile * sorted.len() as f64).ceil().max(1.0) as usize;
            sorted[rank - 1] as f64 / 1e3
        };
        let times = summary.latency_ms;
        for (found, quantile) in
            [(times.p50, 0.5), (times.p90, 0.9), (times.p99, 0.99), (times.max, 1.0)]
        {
            // Three significant digits.
            prop_assert!((found / exact(quantile) - 1.0).abs() <= 2e-3, "{found} {quantile}");
        }
        prop_assert_eq!(summary.requests, micros.len() as u64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_reports_as_table_json_and_page() {
    let server = Server::ready().await;
    let address = server.grpc.to_string();
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("load.html");
    let page_argument = page.to_str().unwrap().to_owned();
    let command = move |more: Vec<String>| {
        let address = address.clone();
        tokio::task::spawn_blocking(move || {
            let fixed = ["bench", "--warmup", "0", "--address", &address];
            let more: Vec<&str> = more.iter().map(String::as_str).collect();
            hilum(&[&fixed[..], &more].concat())
        })
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();

    let mut arguments = words("--model mnist --requests 60 --rows 2 --output json --report");
    arguments.push(page_argument);
    let output = command(arguments).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["by_status"], serde_json::json!({"OK": 60}));
    assert_eq!(report["load"], serde_json::json!({"kind": "closed", "callers": 8}));
    let per_second = |key: &str| report[key].as_f64().unwrap();
    assert_eq!(per_second("rows_per_second"), 2.0 * per_second("requests_per_second"));
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.contains("<svg") && html.contains("<polyline"), "{html}");
    for elsewhere in ["<script", "http:", "https:", "src=", "<link"] {
        assert!(!html.contains(elsewhere), "{elsewhere}");
    }

    let output = command(words("--model mnist --requests 20 --rate 500")).await.unwrap();
    let shown = text(&output);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    for word in ["requests/s", "p99.9", "open loop", "sent late by", "OK"] {
        assert!(shown.contains(word), "{shown}");
    }

    let output = hilum_rest(server.http).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("over rest:"), "{}", text(&output));

    let output = command(words("--model cats --requests 5")).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("unknown model 'cats'"), "{}", text(&output));
    // Every request fails: nothing was measured.
    let output = command(words("--model mnist --requests 5 --deadline-ms 0.001")).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("DEADLINE_EXCEEDED"), "{}", text(&output));
}

async fn hilum_rest(address: std::net::SocketAddr) -> std::process::Output {
    let address = address.to_string();
    let done = tokio::task::spawn_blocking(move || {
        let fixed = ["bench", "--model", "mnist", "--protocol", "rest", "--requests", "20"];
        hilum(&[&fixed[..], &["--warmup", "0", "--address", &address]].concat())
    });
    done.await.unwrap()
}

#[test]
fn what_cannot_be_measured_is_said() {
    let output = hilum(&["bench", "--model", "mnist", "--address", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("no connection to 127.0.0.1:1"), "{}", text(&output));
    for wrong in [
        &["--rate", "0"][..],
        &["--rate", "5", "--callers", "2"],
        &["--duration", "-1"],
        &["--rows", "0"],
        &["--duration", "1", "--requests", "5"],
        &["--max-in-flight", "5"],
    ] {
        let output = hilum(&[&["bench", "--model", "mnist"], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", text(&output));
    }
}
