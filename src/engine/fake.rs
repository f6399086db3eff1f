//! An engine without a runtime, for tests of everything above: it echoes rows and fails on order.
//!
//! Input `x` FP32 [-1, n] comes back as output `y`, each element doubled; a row that begins with a
//! value of the [`Script`] makes the run fail or panic.
//! This file must never be reachable from a configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::{Engine, EngineError, OutputSet, Signature, TensorView};
use crate::domain::{DataType, Tensor, TensorSpec};

/// A hook that sees the first element of each row.
pub type BeforeRun = Box<dyn Fn(&[f32]) + Send + Sync>;

/// What the engine does, and what it has seen.
#[derive(Default)]
pub struct Script {
    /// A row that begins with this fails its run.
    pub fail_on: Option<f32>,
    /// A row that begins with this makes the run panic.
    pub panic_on: Option<f32>,
    /// Called with the first element of each row of a run before it is answered.
    pub before_run: Option<BeforeRun>,
    /// Rows run.
    pub rows: AtomicUsize,
    /// Runs begun.
    pub runs: AtomicUsize,
    /// Most rows seen in one run.
    pub largest: AtomicUsize,
    /// Engines made.
    pub made: AtomicUsize,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "script after {} runs", self.runs.load(Ordering::SeqCst))
    }
}

/// The engine.
#[derive(Debug)]
pub struct FakeEngine {
    signature: Signature,
    script: Arc<Script>,
}

impl FakeEngine {
    /// An engine on rows of any width.
    pub fn new(script: Arc<Script>) -> Self {
        script.made.fetch_add(1, Ordering::SeqCst);
        let spec = |name: &str| TensorSpec {
            name: name.to_owned(),
            datatype: DataType::Fp32,
            shape: vec![-1, -1],
        };
        let signature = Signature { inputs: vec![spec("x")], outputs: vec![spec("y")] };
        Self { signature, script }
    }
}

impl Engine for FakeEngine {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn provider(&self) -> &'static str {
        "fake"
    }

    fn run(
        &mut self,
        inputs: &[TensorView<'_>],
        _outputs: OutputSet,
    ) -> Result<Vec<Tensor>, EngineError> {
        let wrong = |problem: &str| EngineError::Run(problem.to_owned());
        let view = inputs.first().ok_or_else(|| wrong("no input"))?;
        let &[rows, width] = view.shape else { return Err(wrong("rank")) };
        let elements: &[f32] =
            bytemuck::try_cast_slice(view.data).map_err(|error| wrong(&error.to_string()))?;
        let firsts: Vec<f32> = elements.iter().step_by(width.max(1)).copied().collect();
        self.script.runs.fetch_add(1, Ordering::SeqCst);
        self.script.rows.fetch_add(rows, Ordering::SeqCst);
        self.script.largest.fetch_max(rows, Ordering::SeqCst);
        if let Some(before) = &self.script.before_run {
            before(&firsts);
        }
        let met = |value: Option<f32>| value.is_some_and(|value| firsts.contains(&value));
        assert!(!met(self.script.panic_on), "a row asked for a panic");
        if met(self.script.fail_on) {
            return Err(wrong("a row asked for a failure"));
        }
        let doubled: Vec<u8> = elements.iter().flat_map(|x| (x * 2.0).to_le_bytes()).collect();
        Tensor::new(DataType::Fp32, vec![rows, width], Bytes::from(doubled))
            .map(|tensor| vec![tensor])
            .map_err(|error| wrong(&error.to_string()))
    }
}
