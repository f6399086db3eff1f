//! The shared-memory calls: system regions are registered, CUDA's are declined.
//!
//! This file must never touch a region's bytes.

use crate::domain::{ErrorKind, Fault};
use crate::proto::inference::system_shared_memory_status_response::RegionStatus;
use crate::proto::inference::*;
use crate::shared_memory::{Region, SharedMemory, SharedMemoryError};

/// There is no CUDA memory to share.
#[derive(Debug, thiserror::Error)]
#[error(
    "CUDA shared memory is not served: tensors are read from the processor's memory; send them in \
     the message or through system shared memory"
)]
pub struct NoCuda;

impl Fault for NoCuda {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unimplemented
    }
}

/// The regions, or the one that is named.
pub fn status(
    memory: &SharedMemory,
    message: &SystemSharedMemoryStatusRequest,
) -> Result<SystemSharedMemoryStatusResponse, SharedMemoryError> {
    let told = |region: Region| {
        let Region { name, key, offset, byte_size, .. } = region;
        (name.clone(), RegionStatus { name, key, offset, byte_size })
    };
    let regions = memory.regions(&message.name)?.into_iter().map(told).collect();
    Ok(SystemSharedMemoryStatusResponse { regions })
}

/// Registers a region.
pub fn register(
    memory: &SharedMemory,
    message: &SystemSharedMemoryRegisterRequest,
) -> Result<SystemSharedMemoryRegisterResponse, SharedMemoryError> {
    let SystemSharedMemoryRegisterRequest { name, key, offset, byte_size } = message;
    memory.register(name, key, *offset, *byte_size)?;
    Ok(SystemSharedMemoryRegisterResponse {})
}

/// There are no regions: an empty list, and no region of any name.
pub fn cuda_status(
    message: &CudaSharedMemoryStatusRequest,
) -> Result<CudaSharedMemoryStatusResponse, SharedMemoryError> {
    if message.name.is_empty() {
        return Ok(CudaSharedMemoryStatusResponse::default());
    }
    let shown = message.name.chars().take(64).flat_map(char::escape_debug).collect();
    Err(SharedMemoryError::Unknown(shown))
}
