//! Model control: the repository's index, load and unload, in both dialects.
//!
//! Loading blocks, so that it runs on a thread that may; only callers on this machine may ask.
//! This file must never let a caller name a path: a name is checked before it is looked for.

use std::collections::HashMap;

use super::admin::{self, NotLocal};
use super::shown;
use crate::catalog::{Catalog, ControlError, IMAGE_SUFFIX};
use crate::domain::{ErrorKind, Fault, ModelName, NameError};
use crate::proto::inference::repository_index_response::ModelIndex;
use crate::proto::inference::{
    ModelRepositoryParameter, RepositoryIndexRequest, RepositoryIndexResponse,
};

/// A wish that is not granted.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The caller is on another machine.
    #[error(transparent)]
    NotLocal(#[from] NotLocal),
    /// Not a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A parameter that is not served.
    #[error(
        "parameter '{0}' is not served: a model's files and configuration come from the models' \
         folder"
    )]
    Parameter(String),
    /// The catalog says no.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The thread that loads was lost.
    #[error("loading ended without a result")]
    Lost,
}

impl Fault for RepositoryError {
    fn kind(&self) -> ErrorKind {
        match self {
            RepositoryError::NotLocal(error) => error.kind(),
            RepositoryError::Name(_) => ErrorKind::InvalidArgument,
            RepositoryError::Parameter(_) => ErrorKind::Unimplemented,
            RepositoryError::Control(error) => error.kind(),
            RepositoryError::Lost => ErrorKind::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            RepositoryError::Control(error) => error.reason(),
            _ => self.kind().name(),
        }
    }

    fn field(&self) -> Option<String> {
        matches!(self, RepositoryError::Name(_)).then(|| "model_name".to_owned())
    }
}

/// Every version with its state and reason; with `ready` only those that answer requests.
pub fn repository_index(
    catalog: &Catalog,
    request: &RepositoryIndexRequest,
) -> RepositoryIndexResponse {
    let models = catalog.models();
    let entries = models
        .iter()
        .flat_map(|(name, model)| model.versions.iter().map(move |entry| (name, entry)));
    let models = entries
        .filter(|(_, (_, entry))| !request.ready || entry.ready().is_some())
        .flat_map(|(name, (version, entry))| {
            let (state, reason) = entry.described();
            let index = |name: String, reason: String| ModelIndex {
                name,
                version: version.to_string(),
                state: state.to_owned(),
                reason,
            };
            let images = entry.ready().is_some_and(|version| version.image_metrics.is_some());
            let images = images.then(|| index(format!("{name}{IMAGE_SUFFIX}"), reason.clone()));
            std::iter::once(index(name.to_string(), reason)).chain(images)
        })
        .collect();
    RepositoryIndexResponse { models }
}

/// What a load or unload asks for.
#[derive(Debug)]
pub struct Wish {
    /// Field 1: a repository's name for Triton, the model for KServe and MLServer.
    pub first: String,
    /// Field 2: the model for Triton.
    pub second: String,
    /// Triton's parameters.
    pub parameters: HashMap<String, ModelRepositoryParameter>,
}

impl Wish {
    /// The model: field 2 where it is filled, else field 1.
    fn model(&self) -> Result<ModelName, RepositoryError> {
        let text = if self.second.is_empty() { &self.first } else { &self.second };
        Ok(text.parse()?)
    }
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Load what the folder has.
    Load,
    /// Take the model away.
    Unload,
}

/// Loads or unloads a model for a caller who is on this machine or not; returns its name.
///
/// # Errors
/// [`RepositoryError`].
pub async fn repository_change(
    catalog: &Catalog,
    change: Change,
    wish: Wish,
    is_local: bool,
) -> Result<String, RepositoryError> {
    admin::admit(is_local, "models are loaded and unloaded")?;
    // Triton's clients send this one with every unload; there are no dependents here.
    if let Some(key) = wish.parameters.keys().find(|key| *key != "unload_dependents") {
        return Err(RepositoryError::Parameter(shown(key)));
    }
    let name = wish.model()?;
    let (catalog, asked) = (catalog.clone(), name.clone());
    let changed = tokio::task::spawn_blocking(move || match change {
        Change::Load => catalog.load_model(&asked),
        Change::Unload => catalog.unload_model(&asked),
    });
    changed.await.map_err(|_| RepositoryError::Lost)??;
    Ok(name.to_string())
}
