//! A batcher over engines whose runs a test holds back and lets through.

use std::sync::{Arc, Condvar, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use hilum::batcher::{BatchLimits, BatchRequest, BatchShape, Batcher, BatcherOptions, Priority};
use hilum::domain::{DataType, Tensor};
use hilum::engine::{Engine, EngineFactory, FakeEngine, OutputSet, Script};
use hilum::lifecycle::{Clock, ManualClock, Permits};
use hilum::telemetry::{Metrics, TraceContext};

use crate::harness::{bytes_of, floats};

/// Holds runs back until it is opened, or lets them through one by one.
#[derive(Default)]
pub struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    open: bool,
    passes: usize,
    waiting: usize,
}

impl Gate {
    pub fn open(&self) {
        self.state.lock().unwrap().open = true;
        self.changed.notify_all();
    }

    pub fn close(&self) {
        self.state.lock().unwrap().open = false;
    }

    /// Lets one run through, now or when it comes.
    pub fn let_one_through(&self) {
        self.state.lock().unwrap().passes += 1;
        self.changed.notify_all();
    }

    /// Runs that stand before it, those that may pass already left out.
    pub fn held(&self) -> usize {
        let state = self.state.lock().unwrap();
        if state.open { 0 } else { state.waiting.saturating_sub(state.passes) }
    }

    pub fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        state = self.changed.wait_while(state, |gate| !gate.open && gate.passes == 0).unwrap();
        state.waiting -= 1;
        if !state.open {
            state.passes -= 1;
        }
    }
}

pub struct Bench {
    pub batcher: Batcher,
    pub script: Arc<Script>,
    pub gate: Arc<Gate>,
    pub clock: Arc<ManualClock>,
    /// First elements of the rows whose run has begun, held back or not.
    pub begun: Arc<Mutex<Vec<f32>>>,
    /// First elements of the rows that were run.
    pub seen: Arc<Mutex<Vec<f32>>>,
    /// The thread of each run.
    pub threads: Arc<Mutex<Vec<ThreadId>>>,
}

pub const MAX_BATCH: usize = 8;
pub const QUEUE_ROWS: usize = 64;

pub fn bench(instances: usize, script: Script) -> Bench {
    let (gate, seen) = (Arc::new(Gate::default()), Arc::new(Mutex::new(Vec::new())));
    let begun = Arc::new(Mutex::new(Vec::new()));
    let threads = Arc::new(Mutex::new(Vec::new()));
    let before_run = {
        let (gate, seen, begun) = (Arc::clone(&gate), Arc::clone(&seen), Arc::clone(&begun));
        let threads = Arc::clone(&threads);
        move |firsts: &[f32]| {
            threads.lock().unwrap().push(std::thread::current().id());
            begun.lock().unwrap().extend_from_slice(firsts);
            gate.pass();
            seen.lock().unwrap().extend_from_slice(firsts);
        }
    };
    let script = Arc::new(Script { before_run: Some(Box::new(before_run)), ..script });
    let factory: EngineFactory = {
        let script = Arc::clone(&script);
        Arc::new(move || Ok(Box::new(FakeEngine::new(Arc::clone(&script))) as Box<dyn Engine>))
    };
    let engines = (0..instances).map(|_| factory().unwrap()).collect();
    let options = BatcherOptions {
        limits: BatchLimits {
            max_batch: MAX_BATCH,
            max_run: Duration::from_secs(3600),
            queue_rows: QUEUE_ROWS,
            queue_bytes: 1 << 20,
        },
        threads_per_run: 1,
        shape: BatchShape::Free,
    };
    let clock = Arc::new(ManualClock::default());
    let metrics = Metrics::new().unwrap().model("fake", "1");
    let batcher = Batcher::start(
        "fake",
        engines,
        &factory,
        options,
        &Permits::new(instances),
        Arc::clone(&clock) as Arc<dyn Clock>,
        metrics,
    )
    .unwrap();
    Bench { batcher, script, gate, clock, begun, seen, threads }
}

/// `rows` rows of `width` elements, the first of each unique: `id`, `id` + 1, …
fn rows(id: f32, rows: usize, width: usize) -> Vec<f32> {
    (0..rows).flat_map(|row| (0..width).map(move |at| id + row as f32 + at as f32 / 64.0)).collect()
}

pub fn request(
    id: f32,
    count: usize,
    width: usize,
    deadline: Option<Duration>,
    bench: &Bench,
) -> BatchRequest {
    let data = bytes_of(&rows(id, count, width)).into();
    let input = Tensor::new(DataType::Fp32, vec![count, width], data).unwrap();
    let deadline = deadline.map(|after| bench.clock.now() + after);
    BatchRequest {
        inputs: vec![input],
        outputs: OutputSet::default().with(0),
        deadline,
        priority: Priority::default(),
        trace: TraceContext::off(),
        alone: false,
    }
}

pub fn right(answer: &[Tensor], id: f32, count: usize, width: usize) -> bool {
    let expected: Vec<f32> = rows(id, count, width).iter().map(|x| x * 2.0).collect();
    answer.len() == 1 && answer[0].shape == [count, width] && floats(&answer[0].data) == expected
}
