//! Execution providers: on what a model runs, and what happens when it is missing.
//!
//! A configuration lists what it wants in order. What is required and missing is an error; what is
//! preferred and missing is passed over, and the engine says what really runs.
//! This file must never let the runtime fall back in silence.

use std::fmt;

use ort::ep::{self, ExecutionProvider as _, ExecutionProviderDispatch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What can run a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProviderName {
    /// The processor.
    Cpu,
    /// NVIDIA's CUDA.
    Cuda,
    /// NVIDIA's TensorRT.
    Tensorrt,
    /// Intel's OpenVINO.
    Openvino,
}

/// What a missing provider means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProviderMode {
    /// The service does not start, the version is not loaded.
    Require,
    /// The next provider of the list is tried, the CPU at last.
    Prefer,
}

/// One provider of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Which.
    pub name: ProviderName,
    /// What its absence means.
    pub mode: ProviderMode,
    /// The number of the device, from 0.
    #[serde(default)]
    pub device: u16,
}

impl ProviderName {
    /// The name in configuration, logs, metadata and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            ProviderName::Cpu => "cpu",
            ProviderName::Cuda => "cuda",
            ProviderName::Tensorrt => "tensorrt",
            ProviderName::Openvino => "openvino",
        }
    }

    /// Whether the loaded library was built with it; says nothing of a device.
    pub fn is_built_in(self) -> bool {
        let found = match self {
            ProviderName::Cpu => return true,
            ProviderName::Cuda => ep::CUDA::is_available(),
            ProviderName::Tensorrt => ep::TensorRT::is_available(),
            ProviderName::Openvino => ep::OpenVINO::is_available(),
        };
        found.unwrap_or(false)
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Provider {
    /// The CPU, which is always there.
    pub const CPU: Provider =
        Provider { name: ProviderName::Cpu, mode: ProviderMode::Require, device: 0 };

    /// What the runtime is asked for; it fails rather than fall back.
    pub(super) fn dispatch(&self) -> ExecutionProviderDispatch {
        let device = i32::from(self.device);
        let dispatch = match self.name {
            ProviderName::Cpu => ep::CPU::default().with_arena_allocator(true).build(),
            ProviderName::Cuda => ep::CUDA::default().with_device_id(device).build(),
            ProviderName::Tensorrt => ep::TensorRT::default().with_device_id(device).build(),
            ProviderName::Openvino => ep::OpenVINO::default().build(),
        };
        dispatch.error_on_failure()
    }
}
