//! A loaded version as Triton's model configuration says it.
//!
//! What is said is what runs: the engines that there are, the batch that is taken, dimensions
//! without the batch.
//! This file must never show a path.

use super::Served;
use crate::catalog::{Form, LoadedVersion};
use crate::domain::{DataType as ElementType, TensorSpec};
use crate::proto::inference::model_config::SchedulingChoice;
use crate::proto::inference::model_instance_group::Kind;
use crate::proto::inference::model_version_policy::{All, PolicyChoice};
use crate::proto::inference::{
    DataType, ModelConfig, ModelDynamicBatching, ModelInput, ModelInstanceGroup, ModelOutput,
    ModelParameter, ModelTransactionPolicy, ModelVersionPolicy,
};

use super::metadata::{platform, properties, specs};

/// What Triton calls the part that runs such a model.
const BACKEND: &str = "onnxruntime";

/// The configuration of a loaded version.
pub fn model_config(served: &Served) -> ModelConfig {
    let version = &*served.version;
    let images = served.form == Form::Images;
    let batched = version.max_batch > 0 || images;
    let (inputs, outputs) = specs(served);
    let dims = |spec: &TensorSpec| spec.shape.iter().skip(usize::from(batched)).copied().collect();
    let input = |spec: &TensorSpec| ModelInput {
        name: spec.name.clone(),
        data_type: data_type(spec.datatype).into(),
        dims: dims(spec),
        ..ModelInput::default()
    };
    let output = |spec: &TensorSpec| ModelOutput {
        name: spec.name.clone(),
        data_type: data_type(spec.datatype).into(),
        dims: dims(spec),
        ..ModelOutput::default()
    };
    let parameter = |(key, string_value)| (key, ModelParameter { string_value });
    let levels = u64::from(crate::pipeline::Priority::LEVELS);
    let batching = ModelDynamicBatching {
        // A batch is what waits when an engine is free: nothing is delayed to fill it.
        max_queue_delay_microseconds: 0,
        priority_levels: levels,
        default_priority_level: levels.div_ceil(2),
        ..ModelDynamicBatching::default()
    };
    let manifest = version.manifest.as_ref();
    let file = manifest.map_or(crate::bundle::BARE_MODEL, |manifest| &manifest.model.file);
    ModelConfig {
        name: served.name(),
        platform: platform(served.form).to_owned(),
        backend: if images { String::new() } else { BACKEND.to_owned() },
        version_policy: Some(ModelVersionPolicy { policy_choice: Some(PolicyChoice::All(All {})) }),
        max_batch_size: i32::try_from(version.max_batch).unwrap_or(i32::MAX),
        input: inputs.iter().map(input).collect(),
        output: outputs.iter().map(output).collect(),
        instance_group: if images { Vec::new() } else { vec![instances(version)] },
        default_model_filename: file.to_owned(),
        parameters: properties(version).into_iter().map(parameter).collect(),
        model_transaction_policy: Some(ModelTransactionPolicy { decoupled: false }),
        scheduling_choice: (batched && !images)
            .then_some(SchedulingChoice::DynamicBatching(batching)),
        ..ModelConfig::default()
    }
}

fn instances(version: &LoadedVersion) -> ModelInstanceGroup {
    let kind = match version.batcher().provider() {
        "cuda" | "tensorrt" => Kind::Gpu,
        "cpu" => Kind::Cpu,
        _ => Kind::Auto,
    };
    ModelInstanceGroup {
        name: format!("{}_{}", version.name, version.version),
        kind: kind.into(),
        count: i32::try_from(version.instances).unwrap_or(i32::MAX),
        ..ModelInstanceGroup::default()
    }
}

fn data_type(datatype: ElementType) -> DataType {
    match datatype {
        ElementType::Bool => DataType::TypeBool,
        ElementType::Uint8 => DataType::TypeUint8,
        ElementType::Uint16 => DataType::TypeUint16,
        ElementType::Uint32 => DataType::TypeUint32,
        ElementType::Uint64 => DataType::TypeUint64,
        ElementType::Int8 => DataType::TypeInt8,
        ElementType::Int16 => DataType::TypeInt16,
        ElementType::Int32 => DataType::TypeInt32,
        ElementType::Int64 => DataType::TypeInt64,
        ElementType::Fp16 => DataType::TypeFp16,
        ElementType::Fp32 => DataType::TypeFp32,
        ElementType::Fp64 => DataType::TypeFp64,
        ElementType::Bf16 => DataType::TypeBf16,
        ElementType::Bytes => DataType::TypeString,
    }
}
