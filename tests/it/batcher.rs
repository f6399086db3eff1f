//! The batcher under random interleavings, over an engine whose work is scripted.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hilum::batcher::{
    BatchError, BatchLimits, BatchRequest, BatchShape, Batcher, BatcherOptions, Pending, Priority,
};
use hilum::domain::{DataType, Tensor};
use hilum::engine::{Engine, EngineFactory, FakeEngine, OutputSet, Script};
use hilum::lifecycle::{ManualClock, Permits};
use hilum::telemetry::{Metrics, TraceContext};
use proptest::prelude::*;

use crate::gated::{Bench, Gate, MAX_BATCH, QUEUE_ROWS, bench, request, right};
use crate::harness::bytes_of;

#[derive(Debug, Clone)]
struct Call {
    rows: usize,
    width: usize,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Patient,
    Cancelled,
    Late,
}

fn call() -> impl Strategy<Value = Call> {
    let fate =
        prop_oneof![3 => Just(Fate::Patient), 1 => Just(Fate::Cancelled), 1 => Just(Fate::Late)];
    (1_usize..20, 1_usize..3, fate).prop_map(|(rows, width, fate)| Call { rows, width, fate })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn each_row_gets_its_own_answer_and_nothing_runs_for_the_dead(
        calls in prop::collection::vec(call(), 1..24),
        instances in 1_usize..4,
    ) {
        let bench = bench(instances, Script::default());
        // Occupies every engine, so that what follows waits.
        let first: Vec<Pending> = (0..instances)
            .map(|n| bench.batcher.submit(request(1e6 + n as f32 * 100.0, MAX_BATCH, 1, None, &bench)).unwrap())
            .collect();
        while bench.script.runs.load(Ordering::SeqCst) < instances {
            std::thread::yield_now();
        }
        let mut waiting = Vec::new();
        let mut dead = HashSet::new();
        let mut queued = 0;
        for (n, call) in calls.iter().enumerate() {
            let id = (n * 100) as f32;
            let deadline = (call.fate == Fate::Late).then_some(Duration::from_secs(5));
            match bench.batcher.submit(request(id, call.rows, call.width, deadline, &bench)) {
                Ok(pending) => {
                    queued += call.rows;
                    waiting.push((id, call.clone(), Some(pending)));
                }
                Err(BatchError::Overloaded { .. } | BatchError::Unreachable { .. }) => {
                    prop_assert!(queued + call.rows > QUEUE_ROWS);
                    dead.insert(id as u32);
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
            prop_assert!(queued <= QUEUE_ROWS);
        }
        for (id, call, pending) in &mut waiting {
            if call.fate == Fate::Cancelled {
                drop(pending.take());
            }
            if call.fate != Fate::Patient {
                dead.insert(*id as u32);
            }
        }
        bench.clock.advance(Duration::from_secs(6));
        bench.gate.open();
        for (n, pending) in first.into_iter().enumerate() {
            let answer = pending.wait().unwrap();
            prop_assert!(right(&answer.outputs, 1e6 + n as f32 * 100.0, MAX_BATCH, 1));
        }
        for (id, call, pending) in waiting {
            match (call.fate, pending.map(Pending::wait)) {
                (Fate::Patient, Some(Ok(answer))) => {
                    prop_assert!(right(&answer.outputs, id, call.rows, call.width));
                    prop_assert!(answer.batch_rows <= MAX_BATCH);
                }
                (Fate::Late, Some(answer)) => {
                    prop_assert_eq!(answer.unwrap_err(), BatchError::DeadlineExceeded);
                }
                (Fate::Cancelled, None) => {}
                (fate, answer) => prop_assert!(false, "{fate:?}: {answer:?}"),
            }
        }
        bench.batcher.join();
        prop_assert!(bench.script.largest.load(Ordering::SeqCst) <= MAX_BATCH);
        let ran: HashSet<u32> =
            bench.seen.lock().unwrap().iter().map(|first| *first as u32 / 100 * 100).collect();
        prop_assert!(ran.is_disjoint(&dead), "ran for the dead: {:?}", ran.intersection(&dead));
    }
}

#[test]
fn a_failing_row_fails_alone() {
    let bench = bench(1, Script { fail_on: Some(300.0), ..Script::default() });
    let blocker = bench.batcher.submit(request(1e6, 1, 1, None, &bench)).unwrap();
    while bench.script.runs.load(Ordering::SeqCst) < 1 {
        std::thread::yield_now();
    }
    let ids = [100.0, 200.0, 300.0, 400.0];
    let pending: Vec<Pending> = ids
        .iter()
        .map(|id| bench.batcher.submit(request(*id, 2, 1, None, &bench)).unwrap())
        .collect();
    bench.gate.open();
    blocker.wait().unwrap();
    for (id, pending) in ids.into_iter().zip(pending) {
        match pending.wait() {
            Ok(answer) => assert!(id != 300.0 && right(&answer.outputs, id, 2, 1)),
            Err(error) => assert!(id == 300.0 && matches!(error, BatchError::Failed(_)), "{error}"),
        }
    }
}

#[test]
fn a_panic_costs_its_own_request_and_the_engine_is_replaced() {
    let bench = bench(1, Script { panic_on: Some(300.0), ..Script::default() });
    bench.gate.open();
    let answer = bench.batcher.submit(request(300.0, 2, 1, None, &bench)).unwrap().wait();
    assert_eq!(answer.unwrap_err(), BatchError::Panicked);
    let answer = bench.batcher.submit(request(100.0, 2, 1, None, &bench)).unwrap().wait();
    assert!(right(&answer.unwrap().outputs, 100.0, 2, 1));
    assert_eq!(bench.script.made.load(Ordering::SeqCst), 2);
}

#[test]
fn a_full_queue_refuses_and_makes_room_for_the_living() {
    let bench = bench(1, Script::default());
    let blocker = bench.batcher.submit(request(1e6, 1, 1, None, &bench)).unwrap();
    while bench.script.runs.load(Ordering::SeqCst) < 1 {
        std::thread::yield_now();
    }
    let fill = |n: usize| bench.batcher.submit(request((n * 100) as f32, 8, 1, None, &bench));
    let mut waiting: Vec<Pending> = (0..QUEUE_ROWS / 8).map(|n| fill(n).unwrap()).collect();
    let refused = fill(50).unwrap_err();
    assert!(matches!(refused, BatchError::Overloaded { limit: QUEUE_ROWS, .. }), "{refused}");
    drop(waiting.pop());
    let late = fill(60).unwrap();
    let whole = bench.batcher.submit(request(0.0, QUEUE_ROWS + 1, 1, None, &bench)).unwrap_err();
    assert!(matches!(whole, BatchError::TooLarge { rows: 65, .. }), "{whole}");
    bench.gate.open();
    blocker.wait().unwrap();
    assert!(right(&late.wait().unwrap().outputs, 6000.0, 8, 1));
    for (n, pending) in waiting.into_iter().enumerate() {
        assert!(right(&pending.wait().unwrap().outputs, (n * 100) as f32, 8, 1));
    }
}

#[test]
fn an_urgent_request_is_run_before_the_others_and_each_level_in_order() {
    let bench = bench(1, Script::default());
    let blocker = bench.batcher.submit(request(1e6, 1, 1, None, &bench)).unwrap();
    while bench.script.runs.load(Ordering::SeqCst) < 1 {
        std::thread::yield_now();
    }
    // Eight rows each, so that each is a run of its own.
    let levels = [0, 3, 1, 2, 3, 1];
    let pending: Vec<Pending> = levels
        .iter()
        .enumerate()
        .map(|(n, level)| {
            let priority = Priority::of(*level).unwrap();
            let request = request((n * 100) as f32, 8, 1, None, &bench);
            bench.batcher.submit(BatchRequest { priority, ..request }).unwrap()
        })
        .collect();
    bench.gate.open();
    blocker.wait().unwrap();
    for (n, pending) in pending.into_iter().enumerate() {
        assert!(right(&pending.wait().unwrap().outputs, (n * 100) as f32, 8, 1));
    }
    let seen = bench.seen.lock().unwrap();
    let order: Vec<u32> = seen[1..].chunks(8).map(|run| run[0] as u32 / 100).collect();
    assert_eq!(order, [2, 5, 0, 3, 1, 4]);
    assert!(Priority::of(4).is_none());
}

#[test]
fn a_deadline_that_the_queue_ahead_outlasts_is_refused_at_once() {
    let bench = bench(1, Script::default());
    let submit = |id: f32, deadline| bench.batcher.submit(request(id, 1, 1, deadline, &bench));
    let wait_for_runs = |runs| {
        while bench.script.runs.load(Ordering::SeqCst) < runs {
            std::thread::yield_now();
        }
    };
    // A run that takes 30 ms or more is what the batcher knows of the cost.
    let first = submit(0.0, None).unwrap();
    wait_for_runs(1);
    std::thread::sleep(Duration::from_millis(30));
    bench.gate.open();
    first.wait().unwrap();
    bench.gate.close();
    let running = submit(100.0, None).unwrap();
    wait_for_runs(2);
    let soon = Some(Duration::from_millis(1));
    let head = submit(200.0, soon).expect("nothing is queued ahead of it");
    let refused = submit(300.0, soon).unwrap_err();
    assert!(matches!(refused, BatchError::Unreachable { .. }), "{refused}");
    assert!(refused.to_string().contains("longer than the deadline allows"), "{refused}");
    let patient = submit(400.0, Some(Duration::from_secs(3600))).unwrap();
    bench.gate.open();
    for pending in [running, patient] {
        pending.wait().unwrap();
    }
    // Its run would have ended too late, and another waited for the engine.
    let dropped = head.wait().unwrap_err();
    assert!(matches!(dropped, BatchError::Unreachable { .. }), "{dropped}");
    let begun = bench.begun.lock().unwrap();
    assert!(!begun.contains(&200.0), "{begun:?}");
}

#[test]
fn a_request_that_is_alone_is_run_however_soon_its_deadline() {
    let bench = bench(1, Script::default());
    let submit = |id: f32, deadline| bench.batcher.submit(request(id, 1, 1, deadline, &bench));
    let first = submit(0.0, None).unwrap();
    std::thread::sleep(Duration::from_millis(30));
    bench.gate.open();
    first.wait().unwrap();
    // The cost may have been measured too high: only a run can tell.
    submit(100.0, Some(Duration::from_millis(1))).unwrap().wait().unwrap();
}

const ROW: Duration = Duration::from_millis(10);

/// An engine that is held by a run, and a queue with a row for each of `deadlines`, by an expected 10 ms a row.
fn queued(deadlines: &[Option<Duration>]) -> (Bench, Vec<Pending>) {
    // A run that fails says nothing of the cost.
    let bench = bench(1, Script { fail_on: Some(1e6), ..Script::default() });
    let blocker = bench.batcher.submit(request(1e6, 1, 1, None, &bench)).unwrap();
    while bench.script.runs.load(Ordering::SeqCst) < 1 {
        std::thread::yield_now();
    }
    drop(blocker);
    for _ in 0..50 {
        bench.batcher.expect(1, ROW);
    }
    let submit = |(n, deadline): (usize, &Option<Duration>)| {
        bench.batcher.submit(request((n * 100) as f32, 1, 1, *deadline, &bench)).unwrap()
    };
    let pending = deadlines.iter().enumerate().map(submit).collect();
    (bench, pending)
}

#[test]
fn of_a_batch_that_would_end_too_late_as_many_run_as_end_in_time() {
    let (bench, pending) = queued(&[Some(ROW * 65 / 10); 5]);
    // 41 ms are left: too little for five rows.
    bench.clock.advance(ROW * 24 / 10);
    bench.gate.open();
    let answers: Vec<_> = pending.into_iter().map(Pending::wait).collect();
    assert!(answers[..4].iter().all(Result::is_ok), "{answers:?}");
    assert!(matches!(answers[4], Err(BatchError::Unreachable { .. })), "{answers:?}");
    assert_eq!(bench.script.largest.load(Ordering::SeqCst), 4);
}

#[test]
fn what_is_too_late_makes_room_for_others_in_the_batch() {
    let mut deadlines = vec![Some(ROW * 65 / 10); 4];
    deadlines.extend([None; MAX_BATCH]);
    let (bench, pending) = queued(&deadlines);
    bench.clock.advance(ROW * 24 / 10);
    bench.gate.open();
    let answers: Vec<_> = pending.into_iter().map(Pending::wait).collect();
    let (late, patient) = answers.split_at(4);
    assert!(late.iter().all(|a| matches!(a, Err(BatchError::Unreachable { .. }))), "{late:?}");
    assert!(patient.iter().all(Result::is_ok), "{patient:?}");
    assert_eq!(bench.script.largest.load(Ordering::SeqCst), MAX_BATCH);
}

/// Two models share one core: a flood of one does not keep the other from its turn.
#[test]
fn a_flood_of_one_model_leaves_every_other_turn_to_another() {
    let permits = Permits::new(1);
    let order = Arc::new(Mutex::new(Vec::new()));
    let gate = Arc::new(Gate::default());
    let start = |name: &'static str| {
        let (order, gate) = (Arc::clone(&order), Arc::clone(&gate));
        let before_run: hilum::engine::BeforeRun = Box::new(move |_| {
            gate.pass();
            order.lock().unwrap().push(name);
            // Long enough for the other worker's thread to wake up.
            std::thread::sleep(Duration::from_millis(2));
        });
        let script = Arc::new(Script { before_run: Some(before_run), ..Script::default() });
        let factory: EngineFactory =
            Arc::new(move || Ok(Box::new(FakeEngine::new(Arc::clone(&script))) as Box<dyn Engine>));
        let engines = vec![factory().unwrap()];
        let limits = BatchLimits {
            max_batch: 1,
            max_run: Duration::from_secs(3600),
            queue_rows: 64,
            queue_bytes: 1 << 20,
        };
        let options = BatcherOptions { limits, threads_per_run: 1, shape: BatchShape::Free };
        let clock = Arc::new(ManualClock::default());
        let metrics = Metrics::new().unwrap().model(name, "1");
        Batcher::start(name, engines, &factory, options, &permits, clock, metrics).unwrap()
    };
    let (flooded, quiet) = (start("flooded"), start("quiet"));
    let submit = |batcher: &Batcher| {
        let data = bytes_of(&[1.0]).into();
        let input = Tensor::new(DataType::Fp32, vec![1, 1], data).unwrap();
        let outputs = OutputSet::default().with(0);
        let priority = Priority::default();
        batcher
            .submit(BatchRequest {
                inputs: vec![input],
                outputs,
                deadline: None,
                priority,
                trace: TraceContext::off(),
                alone: false,
            })
            .unwrap()
    };
    let flood: Vec<Pending> = (0..50).map(|_| submit(&flooded)).collect();
    let few: Vec<Pending> = (0..5).map(|_| submit(&quiet)).collect();
    gate.open();
    flood.into_iter().chain(few).for_each(|pending| drop(pending.wait().unwrap()));
    let order = order.lock().unwrap();
    let last = order.iter().rposition(|name| *name == "quiet").unwrap();
    assert!(last <= 30, "the quiet model's fifth run was number {last}: {order:?}");
}
