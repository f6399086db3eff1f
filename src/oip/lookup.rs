//! From a message's name and version to what is loaded.
//!
//! This file must never choose a version: the catalog does.

use std::sync::Arc;

use super::{OipError, model_selector};
use crate::catalog::{Catalog, CatalogError, LoadedVersion};
use crate::domain::{ErrorKind, Fault};

/// A version that is not found.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// Not a name or version.
    #[error(transparent)]
    Message(#[from] OipError),
    /// No such model or version, or not ready.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl LookupError {
    fn inner(&self) -> &dyn Fault {
        match self {
            LookupError::Message(error) => error,
            LookupError::Catalog(error) => error,
        }
    }
}

impl Fault for LookupError {
    fn kind(&self) -> ErrorKind {
        self.inner().kind()
    }

    fn reason(&self) -> &'static str {
        self.inner().reason()
    }

    fn field(&self) -> Option<String> {
        self.inner().field()
    }
}

/// The loaded version that a message names; an empty version is the champion.
///
/// # Errors
/// [`LookupError`].
pub fn loaded(
    catalog: &Catalog,
    name: &str,
    version: &str,
) -> Result<Arc<LoadedVersion>, LookupError> {
    let (name, selector) = model_selector(name, version)?;
    Ok(catalog.resolve(&name, selector)?.version)
}
