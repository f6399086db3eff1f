//! The configuration: one typed tree from defaults, a file, the environment and flags.
//!
//! It is read whole and checked whole before anything starts; a problem names its key.
//! This room must never start, open or connect to anything.

mod audit;
mod limits;
mod load;
mod pipeline;
mod reference;
mod registry;
mod store;
mod tree;

pub use audit::AuditConfig;
pub use limits::LimitsConfig;
pub use load::{ConfigError, ENVIRONMENT_PREFIX, Overrides, load};
pub use pipeline::PipelineConfig;
pub use reference::{json_schema, markdown};
pub use registry::RegistryConfig;
pub use store::{ObjectLockConfig, StoreConfig, StoreKind};
pub use tree::{
    Config, EngineConfig, ModelsConfig, ServerConfig, SharedMemoryPolicy, TelemetryConfig,
};
