//! Runs a model: tensors in, tensors out, on one thread that owns it.
//!
//! The batcher's workers make an engine in their own thread and hand it borrowed inputs; outputs
//! come back as bytes that the response can hold. Only `onnx.rs` and `library.rs` know the runtime.
//! This room must never queue, wait or know what a request is.

mod buffer;
mod fake;
pub mod library;
mod onnx;
mod provider;

use std::sync::Arc;

use crate::domain::{DataType, Tensor, TensorSpec};

pub use buffer::{AlignedBuffer, is_aligned};
pub use fake::{BeforeRun, FakeEngine, Script};
pub use onnx::{OnnxModel, OnnxOptions};
pub use provider::{Provider, ProviderMode, ProviderName};

/// What a model takes and gives, in the order of its graph.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signature {
    /// Inputs.
    pub inputs: Vec<TensorSpec>,
    /// Outputs.
    pub outputs: Vec<TensorSpec>,
}

/// Which outputs a run shall give, by their place in the [`Signature`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct OutputSet(u64);

impl OutputSet {
    /// The most outputs that a model may have.
    pub const MAX: usize = u64::BITS as usize;

    /// This set with output `index`, which must be below [`OutputSet::MAX`].
    #[must_use]
    pub const fn with(self, index: usize) -> Self {
        Self(self.0 | (1 << (index % Self::MAX)))
    }

    /// Both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether output `index` is in the set.
    pub const fn contains(self, index: usize) -> bool {
        index < Self::MAX && self.0 & (1 << index) != 0
    }

    /// The places in the set, in order.
    pub fn indices(self) -> impl Iterator<Item = usize> {
        (0..Self::MAX).filter(move |index| self.contains(*index))
    }
}

/// An input of a run, borrowed: row-major, little-endian, aligned to its data type's size.
#[derive(Debug, Clone, Copy)]
pub struct TensorView<'a> {
    /// Its data type.
    pub datatype: DataType,
    /// Its dimensions.
    pub shape: &'a [usize],
    /// Its elements.
    pub data: &'a [u8],
}

/// Why a model cannot be made ready or a run failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The runtime refuses the model.
    #[error("ONNX Runtime cannot load the model: {0}")]
    Load(String),
    /// The model has something that is not served.
    #[error("the model is not served: {0}")]
    Unsupported(String),
    /// A required execution provider does not work.
    #[error(
        "the execution provider {provider} is required and does not work: {problem}; use a library \
         and a device that have it, or set its mode to \"prefer\""
    )]
    Provider {
        /// Which.
        provider: ProviderName,
        /// What the runtime says.
        problem: String,
    },
    /// The run failed.
    #[error("the run of the model failed: {0}")]
    Run(String),
}

/// A model that is ready to run. One thread at a time owns it.
pub trait Engine: Send {
    /// What the model takes and gives.
    fn signature(&self) -> &Signature;

    /// The execution provider that runs it, such as `cpu`.
    fn provider(&self) -> &'static str;

    /// Runs the model once. `inputs` stand in the order of the signature; the answer has one tensor
    /// for each output in `outputs`, in the order of the signature.
    ///
    /// # Errors
    /// [`EngineError::Run`]; the engine can be used again.
    fn run(
        &mut self,
        inputs: &[TensorView<'_>],
        outputs: OutputSet,
    ) -> Result<Vec<Tensor>, EngineError>;
}

/// Runs tensors that may stand anywhere: each is copied to where its elements are aligned.
///
/// # Errors
/// As [`Engine::run`].
pub fn run_tensors(
    engine: &mut dyn Engine,
    inputs: &[Tensor],
    outputs: OutputSet,
) -> Result<Vec<Tensor>, EngineError> {
    let buffers: Vec<AlignedBuffer> = inputs
        .iter()
        .map(|input| {
            let mut buffer = AlignedBuffer::default();
            buffer.extend(&input.data);
            buffer
        })
        .collect();
    let views: Vec<TensorView<'_>> = inputs
        .iter()
        .zip(&buffers)
        .map(|(input, buffer)| TensorView {
            datatype: input.datatype,
            shape: &input.shape,
            data: buffer.bytes(),
        })
        .collect();
    engine.run(&views, outputs)
}

/// Makes engines of one model.
pub type EngineFactory = Arc<dyn Fn() -> Result<Box<dyn Engine>, EngineError> + Send + Sync>;
