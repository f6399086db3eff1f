//! Generated code only: the messages and services of `proto/`.
//!
//! `build.rs` makes it with every build. This file must never hold a line of logic.

/// Open Inference Protocol v2 with Triton's extensions.
#[allow(clippy::all, missing_docs, rustdoc::all)]
pub mod inference {
    tonic::include_proto!("inference");
}

/// Hilum's own services.
pub mod hilum {
    /// Version 1.
    #[allow(clippy::all, missing_docs, rustdoc::all)]
    pub mod v1 {
        tonic::include_proto!("hilum.v1");
    }
}

/// The compiled descriptor set of all files of `proto/`, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
