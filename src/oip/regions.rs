//! The shared-memory calls, for both edges: system regions are registered, CUDA's are declined.
//!
//! This file must never touch a region's bytes.

use super::admin::{self, NotLocal};
use crate::domain::{ErrorKind, Fault};
use crate::proto::inference::system_shared_memory_status_response::RegionStatus;
use crate::proto::inference::{
    CudaSharedMemoryStatusResponse, SystemSharedMemoryRegisterRequest,
    SystemSharedMemoryStatusResponse,
};
use crate::shared_memory::{Region, SharedMemory, SharedMemoryError};

/// A call about regions that is refused.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// The caller is on another machine.
    #[error("{0}; server.system_shared_memory = \"on\" allows all callers")]
    NotLocal(NotLocal),
    /// The region cannot be.
    #[error(transparent)]
    Memory(#[from] SharedMemoryError),
    /// There is no CUDA memory to share.
    #[error(
        "CUDA shared memory is not served: tensors are read from the processor's memory; send them \
         in the message or through system shared memory"
    )]
    NoCuda,
}

impl Fault for RegionError {
    fn kind(&self) -> ErrorKind {
        match self {
            RegionError::NotLocal(error) => error.kind(),
            RegionError::Memory(error) => error.kind(),
            RegionError::NoCuda => ErrorKind::Unimplemented,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            RegionError::NotLocal(error) => error.reason(),
            RegionError::Memory(error) => error.reason(),
            RegionError::NoCuda => self.kind().name(),
        }
    }

    fn field(&self) -> Option<String> {
        match self {
            RegionError::Memory(error) => error.field(),
            _ => None,
        }
    }
}

/// The regions, or the one of a name that is not empty.
///
/// # Errors
/// [`SharedMemoryError::Unknown`].
pub fn system_regions(
    memory: &SharedMemory,
    name: &str,
) -> Result<SystemSharedMemoryStatusResponse, RegionError> {
    let told = |region: Region| {
        let Region { name, key, offset, byte_size, .. } = region;
        (name.clone(), RegionStatus { name, key, offset, byte_size })
    };
    let regions = memory.regions(name)?.into_iter().map(told).collect();
    Ok(SystemSharedMemoryStatusResponse { regions })
}

/// Registers a region.
///
/// # Errors
/// [`RegionError`]; nothing was registered then.
pub fn register_region(
    memory: &SharedMemory,
    message: &SystemSharedMemoryRegisterRequest,
    is_local: bool,
) -> Result<(), RegionError> {
    admit(memory, is_local)?;
    let SystemSharedMemoryRegisterRequest { name, key, offset, byte_size } = message;
    Ok(memory.register(name, key, *offset, *byte_size)?)
}

/// Forgets a region, or all with an empty name; one that is not there is forgotten already.
///
/// # Errors
/// [`RegionError::NotLocal`].
pub fn unregister_regions(
    memory: &SharedMemory,
    name: &str,
    is_local: bool,
) -> Result<(), RegionError> {
    admit(memory, is_local)?;
    memory.unregister(name);
    Ok(())
}

fn admit(memory: &SharedMemory, is_local: bool) -> Result<(), RegionError> {
    if !memory.is_for_local_callers() {
        return Ok(());
    }
    let what = "shared memory regions are registered and unregistered";
    admin::admit(is_local, what).map_err(RegionError::NotLocal)
}

/// There are no CUDA regions: an empty list, and no region of any name.
///
/// # Errors
/// [`SharedMemoryError::Unknown`].
pub fn cuda_regions(name: &str) -> Result<CudaSharedMemoryStatusResponse, RegionError> {
    if name.is_empty() {
        return Ok(CudaSharedMemoryStatusResponse::default());
    }
    Err(SharedMemoryError::Unknown(super::shown(name)).into())
}
