//! From a message's name and version to what is loaded.
//!
//! This file must never choose a version: the catalog does.

use std::sync::Arc;

use super::{OipError, model_selector};
use crate::catalog::{Catalog, CatalogError, Form, IMAGE_SUFFIX, LoadedVersion};
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

/// A loaded version, and the form in which a message names it.
#[derive(Debug, Clone)]
pub struct Served {
    /// The version.
    pub version: Arc<LoadedVersion>,
    /// The form.
    pub form: Form,
}

impl Served {
    /// The name by which it is served in this form.
    pub fn name(&self) -> String {
        match self.form {
            Form::Tensors => self.version.name.to_string(),
            Form::Images => format!("{}{IMAGE_SUFFIX}", self.version.name),
        }
    }
}

/// The loaded version that a message names; an empty version is the champion.
///
/// # Errors
/// [`LookupError`].
pub fn loaded(catalog: &Catalog, name: &str, version: &str) -> Result<Served, LookupError> {
    let (name, selector) = model_selector(name, version)?;
    let (resolved, form) = catalog.resolve_form(&name, selector)?;
    Ok(Served { version: resolved.version, form })
}
