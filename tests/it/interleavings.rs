//! Requests come, leave and run late in any order while runs are under way.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hilum::batcher::{BatchError, Pending};
use hilum::engine::Script;
use hilum::lifecycle::Clock;
use proptest::prelude::*;

use crate::gated::{Bench, MAX_BATCH, QUEUE_ROWS, bench, request, right};

#[derive(Debug, Clone)]
enum Event {
    Submit {
        rows: usize,
        width: usize,
        deadline: Option<u64>,
    },
    /// The caller of this request goes away, if it is still there.
    Leave(usize),
    /// Seconds pass.
    Pass(u64),
    /// One run ends.
    Finish,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1_usize..20, 1_usize..3, prop::option::of(1_u64..8))
            .prop_map(|(rows, width, deadline)| Event::Submit { rows, width, deadline }),
        2 => (0_usize..40).prop_map(Event::Leave),
        1 => (1_u64..4).prop_map(Event::Pass),
        3 => Just(Event::Finish),
    ]
}

struct Request {
    id: f32,
    rows: usize,
    width: usize,
    deadline: Option<Instant>,
    pending: Option<Pending>,
}

impl Request {
    /// The first elements of its rows.
    fn firsts(&self) -> impl Iterator<Item = u32> {
        let id = self.id as u32;
        (0..self.rows as u32).map(move |row| id + row)
    }
}

/// Waits until every engine is held back or nothing waits; true in the first case: then no part is on
/// its way from the queue to an engine.
fn all_held(bench: &Bench, instances: usize) -> bool {
    loop {
        if bench.gate.held() == instances {
            return true;
        }
        if bench.batcher.queued_rows() == 0 {
            return false;
        }
        std::thread::yield_now();
    }
}

/// The rows of a request whose run has not begun.
fn waiting_rows(bench: &Bench, request: &Request) -> Vec<u32> {
    let begun: HashSet<u32> = bench.begun.lock().unwrap().iter().map(|x| *x as u32).collect();
    request.firsts().filter(|first| !begun.contains(first)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn whatever_comes_between(events in prop::collection::vec(event(), 1..60), instances in 1_usize..4) {
        let bench = bench(instances, Script::default());
        let mut requests: Vec<Request> = Vec::new();
        let mut never: HashSet<u32> = HashSet::new();
        for event in events {
            let held = all_held(&bench, instances);
            match event {
                Event::Submit { rows, width, deadline } => {
                    let id = (requests.len() * 100) as f32;
                    let after = deadline.map(Duration::from_secs);
                    let deadline = after.map(|after| bench.clock.now() + after);
                    let before = bench.batcher.queued_rows();
                    let submitted = bench.batcher.submit(request(id, rows, width, after, &bench));
                    let mut request = Request { id, rows, width, deadline, pending: None };
                    match submitted {
                        Ok(pending) => request.pending = Some(pending),
                        Err(BatchError::Overloaded { .. }) => {
                            prop_assert!(before + rows > QUEUE_ROWS);
                            never.extend(request.firsts());
                        }
                        Err(other) => prop_assert!(false, "{other}"),
                    }
                    requests.push(request);
                }
                Event::Leave(index) => {
                    if let Some(request) = requests.get_mut(index)
                        && drop_pending(request)
                        && held
                    {
                        never.extend(waiting_rows(&bench, request));
                    }
                }
                Event::Pass(seconds) => {
                    bench.clock.advance(Duration::from_secs(seconds));
                    let now = bench.clock.now();
                    if held {
                        let late = requests.iter().filter(|r| r.deadline.is_some_and(|d| d <= now));
                        never.extend(late.flat_map(|request| waiting_rows(&bench, request)));
                    }
                }
                Event::Finish => bench.gate.let_one_through(),
            }
            prop_assert!(bench.batcher.queued_rows() <= QUEUE_ROWS);
        }
        bench.gate.open();
        let now = bench.clock.now();
        for request in &mut requests {
            let Some(pending) = request.pending.take() else { continue };
            match pending.wait() {
                Ok(answer) => {
                    prop_assert!(right(&answer.outputs, request.id, request.rows, request.width));
                    prop_assert!(answer.batch_rows <= MAX_BATCH);
                }
                Err(BatchError::DeadlineExceeded) => {
                    prop_assert!(request.deadline.is_some_and(|deadline| deadline <= now));
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
        bench.batcher.join();
        prop_assert_eq!(bench.batcher.queued_rows(), 0);
        prop_assert!(bench.script.largest.load(Ordering::SeqCst) <= MAX_BATCH);
        let begun: HashSet<u32> = bench.begun.lock().unwrap().iter().map(|x| *x as u32).collect();
        prop_assert!(begun.is_disjoint(&never), "ran for the dead: {:?}", begun.intersection(&never));
    }
}

fn drop_pending(request: &mut Request) -> bool {
    request.pending.take().is_some()
}
