//! ONNX Runtime as an [`Engine`]: one session, inputs borrowed, outputs handed on without a copy.
//!
//! Outputs stay in the runtime's memory until the response that holds them is sent.
//! This file must never leave a thread count to the runtime: it would take the host's cores.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use half::{bf16, f16};
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, Session, SessionInputValue};
use ort::value::{DynValue, Outlet, TensorRef, ValueType};
use ort::value::{PrimitiveTensorElementType, TensorElementType};

use super::library::Runtime;
use super::provider::{Provider, ProviderMode, ProviderName};
use super::{Engine, EngineError, OutputSet, Signature, TensorView};
use crate::domain::{DataType, Strings, Tensor, TensorSpec, pack_strings};

/// How a model is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnnxOptions {
    /// Execution providers, the most wanted first; none means the CPU.
    pub providers: Vec<Provider>,
    /// Threads that work on one run.
    pub intra_threads: usize,
    /// Same input, same bits, whatever the batch.
    pub deterministic: bool,
}

/// A model's bytes, from which each worker makes its own session.
#[derive(Debug, Clone)]
pub struct OnnxModel {
    runtime: Arc<Runtime>,
    bytes: Arc<[u8]>,
    options: OnnxOptions,
}

impl OnnxModel {
    /// A model that is not loaded yet.
    pub fn new(runtime: Arc<Runtime>, bytes: Arc<[u8]>, options: OnnxOptions) -> Self {
        Self { runtime, bytes, options }
    }

    /// Makes a session.
    ///
    /// # Errors
    /// [`EngineError::Load`] when the runtime refuses the model, [`EngineError::Unsupported`] when
    /// it has inputs or outputs that are no tensors of numbers or strings.
    pub fn load(&self) -> Result<Box<dyn Engine>, EngineError> {
        let (session, provider) = self.on_a_provider()?;
        let signature = Signature {
            inputs: specs(session.inputs(), "input")?,
            outputs: specs(session.outputs(), "output")?,
        };
        if signature.outputs.len() > OutputSet::MAX {
            let found = signature.outputs.len();
            let problem = format!("{found} outputs, at most {} are served", OutputSet::MAX);
            return Err(EngineError::Unsupported(problem));
        }
        Ok(Box::new(OnnxEngine { session, provider, signature, selections: HashMap::new() }))
    }

    /// A session on the first provider that works.
    fn on_a_provider(&self) -> Result<(Session, ProviderName), EngineError> {
        let failed = |error: ort::Error| EngineError::Load(error.to_string());
        for provider in &self.options.providers {
            match (self.session(provider), provider.mode) {
                (Ok(session), _) => return Ok((session, provider.name)),
                (Err(error), ProviderMode::Require) => {
                    return Err(EngineError::Provider {
                        provider: provider.name,
                        problem: error.to_string(),
                    });
                }
                (Err(error), ProviderMode::Prefer) => {
                    let provider = provider.name.name();
                    tracing::warn!(provider, %error, "a preferred execution provider is missing");
                }
            }
        }
        Ok((self.session(&Provider::CPU).map_err(failed)?, ProviderName::Cpu))
    }

    fn session(&self, provider: &Provider) -> ort::Result<Session> {
        Session::builder(&self.runtime.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(self.options.intra_threads)?
            .with_inter_threads(1)?
            .with_parallel_execution(false)?
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?
            .with_deterministic_compute(self.options.deterministic)?
            .with_execution_providers([provider.dispatch()])?
            .commit_from_memory(&self.bytes)
    }
}

fn specs(outlets: &[Outlet], side: &str) -> Result<Vec<TensorSpec>, EngineError> {
    outlets
        .iter()
        .map(|outlet| {
            let name = outlet.name().to_owned();
            match outlet.dtype() {
                ValueType::Tensor { ty, shape, .. } => match datatype(*ty) {
                    Some(datatype) => Ok(TensorSpec { name, datatype, shape: shape.to_vec() }),
                    None => {
                        Err(EngineError::Unsupported(format!("{side} '{name}' is of type {ty}")))
                    }
                },
                other => Err(EngineError::Unsupported(format!("{side} '{name}' is {other}"))),
            }
        })
        .collect()
}

fn datatype(element: TensorElementType) -> Option<DataType> {
    Some(match element {
        TensorElementType::Bool => DataType::Bool,
        TensorElementType::Uint8 => DataType::Uint8,
        TensorElementType::Uint16 => DataType::Uint16,
        TensorElementType::Uint32 => DataType::Uint32,
        TensorElementType::Uint64 => DataType::Uint64,
        TensorElementType::Int8 => DataType::Int8,
        TensorElementType::Int16 => DataType::Int16,
        TensorElementType::Int32 => DataType::Int32,
        TensorElementType::Int64 => DataType::Int64,
        TensorElementType::Float16 => DataType::Fp16,
        TensorElementType::Float32 => DataType::Fp32,
        TensorElementType::Float64 => DataType::Fp64,
        TensorElementType::Bfloat16 => DataType::Bf16,
        TensorElementType::String => DataType::Bytes,
        _ => return None,
    })
}

/// Calls a generic function with the Rust type of a data type's elements.
macro_rules! by_element {
    ($datatype:expr, $call:ident($($argument:expr),*), $bytes:expr) => {
        match $datatype {
            DataType::Bool => $call::<bool>($($argument),*),
            DataType::Uint8 => $call::<u8>($($argument),*),
            DataType::Uint16 => $call::<u16>($($argument),*),
            DataType::Uint32 => $call::<u32>($($argument),*),
            DataType::Uint64 => $call::<u64>($($argument),*),
            DataType::Int8 => $call::<i8>($($argument),*),
            DataType::Int16 => $call::<i16>($($argument),*),
            DataType::Int32 => $call::<i32>($($argument),*),
            DataType::Int64 => $call::<i64>($($argument),*),
            DataType::Fp16 => $call::<f16>($($argument),*),
            DataType::Fp32 => $call::<f32>($($argument),*),
            DataType::Fp64 => $call::<f64>($($argument),*),
            DataType::Bf16 => $call::<bf16>($($argument),*),
            DataType::Bytes => $bytes,
        }
    };
}

struct OnnxEngine {
    session: Session,
    provider: ProviderName,
    signature: Signature,
    selections: HashMap<OutputSet, RunOptions<HasSelectedOutputs>>,
}

impl Engine for OnnxEngine {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn provider(&self) -> &'static str {
        self.provider.name()
    }

    fn run(
        &mut self,
        inputs: &[TensorView<'_>],
        outputs: OutputSet,
    ) -> Result<Vec<Tensor>, EngineError> {
        let selection = match self.selections.entry(outputs) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                new.insert(select(&self.signature, outputs).map_err(failed)?)
            }
        };
        let mut values = Vec::with_capacity(inputs.len());
        for (spec, view) in self.signature.inputs.iter().zip(inputs) {
            let value = by_element!(view.datatype, borrow(view), strings(view))?;
            values.push((spec.name.as_str(), value));
        }
        let mut results = self.session.run_with_options(values, &*selection).map_err(failed)?;
        outputs
            .indices()
            .map(|index| {
                let spec = self.signature.outputs.get(index);
                let spec =
                    spec.ok_or_else(|| EngineError::Run(format!("there is no output {index}")))?;
                let value = results.remove(&spec.name);
                let value =
                    value.ok_or_else(|| EngineError::Run(format!("no output '{}'", spec.name)))?;
                let datatype = spec.datatype;
                by_element!(datatype, own(value, datatype), own_strings(&value))
            })
            .collect()
    }
}

fn failed(error: ort::Error) -> EngineError {
    EngineError::Run(error.to_string())
}

fn select(
    signature: &Signature,
    outputs: OutputSet,
) -> ort::Result<RunOptions<HasSelectedOutputs>> {
    let names = outputs.indices().filter_map(|index| signature.outputs.get(index));
    let selector =
        names.fold(OutputSelector::no_default(), |selector, spec| selector.with(&spec.name));
    Ok(RunOptions::new()?.with_outputs(selector))
}

/// An input that the runtime reads where it stands.
fn borrow<'a, T>(view: &TensorView<'a>) -> Result<SessionInputValue<'a>, EngineError>
where
    T: PrimitiveTensorElementType + bytemuck::CheckedBitPattern + std::fmt::Debug + 'static,
{
    let elements: &'a [T] = bytemuck::checked::try_cast_slice(view.data)
        .map_err(|error| EngineError::Run(format!("the input's bytes cannot be read: {error}")))?;
    let dims: Vec<i64> = view.shape.iter().map(|dim| *dim as i64).collect();
    Ok(TensorRef::from_array_view((dims, elements)).map_err(failed)?.into())
}

/// A `BYTES` input as ONNX's strings, which are text without a zero byte; they are copied.
fn strings<'a>(view: &TensorView<'a>) -> Result<SessionInputValue<'a>, EngineError> {
    let elements = Strings::new(view.data)
        .map(|element| {
            let element = element.map_err(|error| EngineError::Run(error.to_string()))?;
            str::from_utf8(element).map_err(|error| EngineError::Run(error.to_string()))
        })
        .collect::<Result<Vec<&str>, _>>()?;
    let dims: Vec<i64> = view.shape.iter().map(|dim| *dim as i64).collect();
    let value = ort::value::Tensor::from_string_array((dims, elements.as_slice()));
    Ok(value.map_err(failed)?.into())
}

/// An output of strings in the protocol's form.
fn own_strings(value: &DynValue) -> Result<Tensor, EngineError> {
    let (shape, elements) = value.try_extract_strings().map_err(failed)?;
    let shape: Vec<usize> = shape.iter().map(|dim| usize::try_from(*dim).unwrap_or(0)).collect();
    let data = pack_strings(&elements).map_err(|error| EngineError::Run(error.to_string()))?;
    Tensor::new(DataType::Bytes, shape, data).map_err(|error| EngineError::Run(error.to_string()))
}

/// An output as bytes that keep the runtime's memory alive.
fn own<T>(value: DynValue, datatype: DataType) -> Result<Tensor, EngineError>
where
    T: PrimitiveTensorElementType + bytemuck::NoUninit + 'static,
{
    let (shape, _) = value.try_extract_tensor::<T>().map_err(failed)?;
    let shape: Vec<usize> = shape.iter().map(|dim| usize::try_from(*dim).unwrap_or(0)).collect();
    let owner = OutputOwner::<T> { value, element: std::marker::PhantomData };
    Tensor::new(datatype, shape, Bytes::from_owner(owner))
        .map_err(|error| EngineError::Run(error.to_string()))
}

struct OutputOwner<T> {
    value: DynValue,
    element: std::marker::PhantomData<fn() -> T>,
}

impl<T: PrimitiveTensorElementType + bytemuck::NoUninit> AsRef<[u8]> for OutputOwner<T> {
    fn as_ref(&self) -> &[u8] {
        // `own` has read the tensor by this type already; an empty slice would fail its byte count.
        self.value.try_extract_tensor::<T>().map_or(&[], |(_, data)| bytemuck::cast_slice(data))
    }
}
