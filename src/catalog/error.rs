//! Why a name cannot be resolved and why a version cannot be loaded.
//!
//! The first goes to callers and names no file; the second goes to operators and names them all.
//! This file must never show a caller what is on the disk.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;

use super::memory::MemoryExceeded;
use crate::bundle::{BundleError, GoldenError};
use crate::domain::{ErrorKind, Fault, ModelName, ModelVersion};
use crate::engine::EngineError;

/// A name that means no loaded version, or a folder that cannot be scanned.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The models' folder cannot be read.
    #[error("models.directory {}: {error}; name the folder that holds <name>/<version>/", path.display())]
    Directory {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// No such model.
    #[error("unknown model '{name}'; this server has {known}")]
    UnknownModel {
        /// What was asked for.
        name: ModelName,
        /// What there is.
        known: String,
    },
    /// No such version.
    #[error("model '{name}' has no version {version}; it has {known}")]
    UnknownVersion {
        /// The model.
        name: ModelName,
        /// What was asked for.
        version: ModelVersion,
        /// What there is.
        known: String,
    },
    /// The alias points nowhere.
    #[error("model '{name}' has no champion; name a version")]
    NoChampion {
        /// The model.
        name: ModelName,
    },
    /// Not loaded yet.
    #[error("version {version} of model '{name}' is loading; try again")]
    Loading {
        /// The model.
        name: ModelName,
        /// The version.
        version: ModelVersion,
    },
    /// Refused at load.
    #[error(
        "version {version} of model '{name}' was refused when it was loaded; the server's log says \
         why"
    )]
    Refused {
        /// The model.
        name: ModelName,
        /// The version.
        version: ModelVersion,
    },
    /// Not loaded any more, or not yet.
    #[error("version {version} of model '{name}' is not loaded")]
    Unloaded {
        /// The model.
        name: ModelName,
        /// The version.
        version: ModelVersion,
    },
}

impl Fault for CatalogError {
    fn kind(&self) -> ErrorKind {
        match self {
            CatalogError::Directory { .. } => ErrorKind::Internal,
            CatalogError::UnknownModel { .. } | CatalogError::UnknownVersion { .. } => {
                ErrorKind::NotFound
            }
            CatalogError::Loading { .. } => ErrorKind::Unavailable,
            CatalogError::NoChampion { .. }
            | CatalogError::Refused { .. }
            | CatalogError::Unloaded { .. } => ErrorKind::FailedPrecondition,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            CatalogError::Directory { .. } => "MODELS_DIRECTORY",
            CatalogError::UnknownModel { .. } => "UNKNOWN_MODEL",
            CatalogError::UnknownVersion { .. } => "UNKNOWN_VERSION",
            CatalogError::NoChampion { .. } => "NO_CHAMPION",
            CatalogError::Loading { .. } => "MODEL_LOADING",
            CatalogError::Refused { .. } => "MODEL_REFUSED",
            CatalogError::Unloaded { .. } => "MODEL_UNLOADED",
        }
    }

    fn field(&self) -> Option<String> {
        match self {
            CatalogError::UnknownModel { .. } => Some("model_name".to_owned()),
            CatalogError::UnknownVersion { .. } => Some("model_version".to_owned()),
            _ => None,
        }
    }
}

/// A version that is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The folder's name is reserved.
    #[error("a model's name must not end in '.image': that is how a model's image form is called")]
    ReservedName,
    /// The files are wrong.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The runtime refuses the model.
    #[error("{}: {error}", path.display())]
    Engine {
        /// The model file.
        path: PathBuf,
        /// Why.
        error: EngineError,
    },
    /// Its weights do not fit beside those of the others.
    #[error(transparent)]
    Memory(#[from] MemoryExceeded),
    /// The graph is not what the manifest says.
    #[error("{}: {problem}", path.display())]
    Signature {
        /// The manifest or, without one, the model file.
        path: PathBuf,
        /// What differs.
        problem: String,
    },
    /// The self-test failed.
    #[error("{}: {error}", path.display())]
    Golden {
        /// The goldens' file.
        path: PathBuf,
        /// The case.
        error: GoldenError,
    },
}

/// At most ten names, in order.
pub fn listed<T: Display>(names: impl ExactSizeIterator<Item = T>) -> String {
    const SHOWN: usize = 10;
    let count = names.len();
    let mut shown: Vec<String> = names.take(SHOWN).map(|name| format!("'{name}'")).collect();
    match count {
        0 => return "none".to_owned(),
        n if n > SHOWN => shown.push(format!("{} more", n - SHOWN)),
        _ => {}
    }
    shown.join(", ")
}
