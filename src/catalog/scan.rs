//! Finds models and versions on disk: `<directory>/<name>/<version>/`.
//!
//! Names that begin with a dot are passed over (a bundle in the making is written aside so).
//! This file must never open a model.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::CatalogError;
use crate::bundle::{BARE_MODEL, ModelFolder, is_bare};
use crate::domain::{ModelName, ModelVersion};

/// A model's folder.
#[derive(Debug, Clone)]
pub struct Scanned {
    /// The model's name.
    pub name: ModelName,
    /// The version that `champion` means, or why there is none.
    pub champion: Result<ModelVersion, Arc<str>>,
    /// Every version in the folder, with what its files look like.
    pub versions: BTreeMap<ModelVersion, Fingerprint>,
}

/// Names, sizes and times of the files of a version: another value means that it may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(u64);

/// Every model of a folder, in the order of the names.
///
/// # Errors
/// When a folder cannot be read.
pub fn scan(directory: &Path) -> Result<Vec<Scanned>, CatalogError> {
    let failed = |error| CatalogError::Directory { path: directory.to_owned(), error };
    let mut models = Vec::new();
    for folder in folders(directory).map_err(failed)? {
        match folder.parse::<ModelName>() {
            Ok(name) => models.push(model(&directory.join(&folder), name).map_err(failed)?),
            Err(error) => {
                let directory = directory.display();
                tracing::warn!(%directory, %error, "a folder among the models is passed over");
            }
        }
    }
    Ok(models)
}

/// One model of a folder; `None` where there is no such folder.
///
/// # Errors
/// When the folder cannot be read.
pub fn one(directory: &Path, name: &ModelName) -> Result<Option<Scanned>, CatalogError> {
    let folder = directory.join(name.as_str());
    if !folder.is_dir() {
        return Ok(None);
    }
    let failed = |error| CatalogError::Directory { path: folder.clone(), error };
    model(&folder, name.clone()).map(Some).map_err(failed)
}

fn model(folder: &Path, name: ModelName) -> io::Result<Scanned> {
    let mut versions = BTreeMap::new();
    for version in folders(folder)? {
        match version.parse::<ModelVersion>() {
            Ok(number) => {
                versions.insert(number, fingerprint(&folder.join(version))?);
            }
            Err(error) => {
                let folder = folder.display();
                tracing::warn!(%folder, %error, "a folder among the versions is passed over");
            }
        }
    }
    let champion = champion(folder, &versions).map_err(Arc::from);
    Ok(Scanned { name, champion, versions })
}

/// The version that `model.toml` names; in a folder of bare versions the highest number.
fn champion(
    folder: &Path,
    versions: &BTreeMap<ModelVersion, Fingerprint>,
) -> Result<ModelVersion, String> {
    let path = folder.join(ModelFolder::FILE);
    let path = path.display();
    match ModelFolder::read(folder) {
        Ok(Some(ModelFolder { default_version })) if versions.contains_key(&default_version) => {
            Ok(default_version)
        }
        Ok(Some(ModelFolder { default_version })) => {
            Err(format!("{path}: default_version {default_version} is not in the folder"))
        }
        Ok(None) => {
            let bare = |version: &ModelVersion| {
                let version = folder.join(version.to_string());
                version.join(BARE_MODEL).exists() && is_bare(&version)
            };
            match versions.keys().next_back() {
                Some(highest) if versions.keys().all(bare) => Ok(*highest),
                Some(_) => Err(format!("{path} is missing: write default_version = \"…\" into it")),
                None => Err(format!("{}: there is no version in it", folder.display())),
            }
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Bytes of the files of a folder.
pub fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(fs::metadata(entry.path()).ok()?.len())).sum()
}

fn fingerprint(folder: &Path) -> io::Result<Fingerprint> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // A file that vanishes while we look is a change that the next look sees.
        if let Ok(found) = fs::metadata(entry.path()) {
            files.push((entry.file_name(), found.len(), found.modified().ok()));
        }
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    files.hash(&mut hasher);
    Ok(Fingerprint(hasher.finish()))
}

fn folders(parent: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // `metadata` follows links: versions are often linked into place.
        if !name.starts_with('.') && fs::metadata(entry.path()).is_ok_and(|found| found.is_dir()) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
