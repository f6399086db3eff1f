//! A lone, quick request is run on its caller's thread; any other is not, and nobody is held up.
//! This file must never measure time: which thread ran is what it looks at.

use std::sync::atomic::Ordering;

use hilum::batcher::BatchRequest;
use hilum::engine::Script;

use crate::gated::{Bench, bench, request, right};

fn alone(id: f32, bench: &Bench) -> BatchRequest {
    BatchRequest { alone: true, ..request(id, 1, 1, None, bench) }
}

/// Runs one alone; whether it ran on this thread.
fn runs_here(id: f32, bench: &Bench) -> bool {
    let answer = bench.batcher.submit(alone(id, bench)).unwrap().wait().unwrap();
    assert!(right(&answer.outputs, id, 1, 1));
    bench.threads.lock().unwrap().last() == Some(&std::thread::current().id())
}

/// Has runs measured until one that is alone runs here; a busy machine may measure the first as slow.
fn warmed_up(script: Script) -> Bench {
    let bench = bench(1, script);
    bench.gate.open();
    assert!(!runs_here(0.0, &bench), "nothing was measured yet");
    assert!((1..10_000).any(|id| runs_here(id as f32, &bench)), "it never ran here");
    bench
}

#[test]
fn a_lone_quick_request_runs_on_its_callers_thread() {
    let bench = warmed_up(Script::default());
    let here = std::thread::current().id();
    let before = bench.threads.lock().unwrap().len();
    let others: Vec<_> = (0..20)
        .map(|id| bench.batcher.submit(request(id as f32, 1, 1, None, &bench)).unwrap())
        .collect();
    for (id, pending) in others.into_iter().enumerate() {
        assert!(right(&pending.wait().unwrap().outputs, id as f32, 1, 1));
    }
    let threads = bench.threads.lock().unwrap();
    assert!(threads[before..].iter().all(|thread| *thread != here), "only who is alone runs here");
}

#[test]
fn a_lone_request_waits_behind_a_run_and_what_is_queued_without_holding_its_caller() {
    let bench = warmed_up(Script::default());
    bench.gate.close();
    let running = bench.batcher.submit(request(100.0, 1, 1, None, &bench)).unwrap();
    while bench.gate.held() == 0 {
        std::thread::yield_now();
    }
    let queued = bench.batcher.submit(request(200.0, 1, 1, None, &bench)).unwrap();
    // Would it run here, the gate would hold this thread for good.
    let last = bench.batcher.submit(alone(300.0, &bench)).unwrap();
    assert_eq!(bench.batcher.queued_rows(), 2);
    bench.gate.open();
    for (id, pending) in [(100.0, running), (200.0, queued), (300.0, last)] {
        assert!(right(&pending.wait().unwrap().outputs, id, 1, 1));
    }
    let seen = bench.seen.lock().unwrap();
    assert!(seen.ends_with(&[100.0, 200.0, 300.0]), "{seen:?}");
}

#[test]
fn a_failure_or_panic_on_the_callers_thread_is_an_answer_and_the_engine_is_made_anew() {
    let (fail_on, panic_on) = (Some(20_000.0), Some(30_000.0));
    let bench = warmed_up(Script { fail_on, panic_on, ..Script::default() });
    let here = Some(std::thread::current().id());
    for bad in [20_000.0, 30_000.0] {
        let ran_here = |_| {
            let answer = bench.batcher.submit(alone(bad, &bench)).unwrap().wait();
            assert!(answer.is_err());
            let ran_here = bench.threads.lock().unwrap().last().copied() == here;
            assert!(
                (0..10_000).any(|id| runs_here(id as f32, &bench)),
                "the station is in use again"
            );
            ran_here
        };
        assert!((0..1_000).any(ran_here));
    }
    assert!(bench.script.made.load(Ordering::SeqCst) > 1);
}

#[test]
fn a_large_request_is_cut_and_queued_though_it_is_alone() {
    let bench = warmed_up(Script::default());
    let before = bench.threads.lock().unwrap().len();
    let large = BatchRequest { alone: true, ..request(0.0, 20, 1, None, &bench) };
    let answer = bench.batcher.submit(large).unwrap().wait().unwrap();
    assert!(right(&answer.outputs, 0.0, 20, 1));
    let here = std::thread::current().id();
    assert!(bench.threads.lock().unwrap()[before..].iter().all(|thread| *thread != here));
}
