//! Words that every room speaks: names, versions, digests, tensors and the one error-kind enum.
//!
//! Data passes through as plain values that cannot be wrong once they exist.
//! This room must never know a wire format, a file format, a runtime or a clock.

mod decision;
mod digest;
mod error;
mod names;
mod strings;
mod tensor;

pub use decision::Decision;
pub use digest::{Digest, DigestError};
pub use error::{ErrorKind, Fault};
pub use names::{CHAMPION, ModelName, ModelVersion, NameError, Route, VersionSelector};
pub use strings::{Strings, StringsError, check_strings, pack_strings};
pub use tensor::{DataType, Tensor, TensorError, TensorSpec, checked_elements, display_shape};
