//! A model version on disk: read, checked against its digests, and its goldens.
//!
//! `<name>/<version>/` holds `bundle.toml`, `model.onnx` and `SHA256SUMS`; a folder without a
//! manifest (Triton's layout) is a plain tensor model.
//! This room must never load a model into a runtime, and never trust a file before its digest holds.

mod check;
mod digests;
mod goldens;
mod graph;
mod layers;
mod manifest;
mod onnx_graph;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::domain::{DataType, Digest, ModelName, ModelVersion};

pub use goldens::{GoldenCase, GoldenError, GoldenTensor, Goldens, Tolerance};
pub use graph::{GraphError, Node, OnnxGraph, Value, Weight};
pub use layers::{Layer, LayerTable, NamedShape, ReceptiveField, Totals};
pub use manifest::{
    Activation, BaselineFile, Batching, Calibration, InputTensor, IntendedUse, Manifest, ModelFile,
    OodGate, OutputRole, OutputTensor, Postprocess, Provenance, QualityGate, Reject, SCHEMA, Task,
};

pub use onnx_graph::with_outputs;

/// The manifest's file name.
pub const MANIFEST: &str = "bundle.toml";
/// The goldens' file name.
pub const GOLDENS: &str = "goldens.json";
/// The model's file name where no manifest gives one.
pub const BARE_MODEL: &str = "model.onnx";

/// Bytes of a text file of a bundle; larger ones are refused unread.
const MAX_TEXT_BYTES: u64 = 64 << 20;
/// Bytes of a model file: protobuf cannot hold more.
const MAX_MODEL_BYTES: u64 = (2 << 30) - 1;

/// A model version, read and checked.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The model's name.
    pub name: ModelName,
    /// The version.
    pub version: ModelVersion,
    /// The SHA-256 of `SHA256SUMS`; of the model file where there is no manifest.
    pub digest: Digest,
    /// The manifest, unless this is a bare folder.
    pub manifest: Option<Manifest>,
    /// The goldens, if there are any.
    pub goldens: Option<Goldens>,
    /// The model file's bytes.
    pub model: Arc<[u8]>,
}

/// `models/<name>/model.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelFolder {
    /// The version that an empty registry takes as its first champion.
    pub default_version: ModelVersion,
}

/// A bundle that is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is larger than this build reads.
    #[error("{}: {found} bytes, at most {limit} are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
        /// The bound.
        limit: u64,
    },
    /// A file cannot be parsed, or says something that makes no sense.
    #[error("{}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file's digest is not the one that is written down.
    #[error(
        "{}: the SHA-256 is {found}, {declared_in} says {declared}; restore the file or make the \
         bundle anew", path.display()
    )]
    Digest {
        /// The file.
        path: PathBuf,
        /// Which file declares the digest.
        declared_in: &'static str,
        /// The digest as declared.
        declared: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
}

impl Bundle {
    /// Reads the bundle in `folder`, which is `<name>/<version>`, and checks all its digests.
    ///
    /// # Errors
    /// The file at fault and what is wrong with it.
    pub fn open(
        folder: &Path,
        name: &ModelName,
        version: ModelVersion,
    ) -> Result<Self, BundleError> {
        if is_bare(folder) {
            return Self::open_bare(folder, name, version);
        }
        let digests = digests::verify(folder)?;
        let manifest: Manifest = read_toml(&folder.join(MANIFEST))?;
        let invalid =
            |problem: String| BundleError::Invalid { path: folder.join(MANIFEST), problem };
        let mut problems = manifest.problems();
        if (&manifest.name, manifest.version) != (name, version) {
            problems.push(format!(
                "name, version: {}/{} stands in the folder {name}/{version}",
                manifest.name, manifest.version
            ));
        }
        let baseline = manifest.baseline.as_ref().map(|baseline| baseline.file.as_str());
        // A version answers its goldens before it serves, so that a bundle without any is none.
        for file in
            [Some(manifest.model.file.as_str()), Some(GOLDENS), baseline].into_iter().flatten()
        {
            if !digests.contains(file) {
                problems.push(format!("'{file}' is not in the bundle"));
            }
        }
        if !problems.is_empty() {
            return Err(invalid(problems.join("; ")));
        }
        let path = folder.join(&manifest.model.file);
        let model = read(&path, MAX_MODEL_BYTES)?;
        let (declared, found) = (manifest.model.sha256, Digest::of(&model));
        if declared != found {
            return Err(BundleError::Digest { path, declared_in: MANIFEST, declared, found });
        }
        let goldens = Some(read_goldens(&folder.join(GOLDENS), &manifest)?);
        Ok(Self {
            name: name.clone(),
            version,
            digest: digests.digest,
            manifest: Some(manifest),
            goldens,
            model: model.into(),
        })
    }

    /// Reads the bundle in `folder`, by the name and version that its path ends with.
    ///
    /// # Errors
    /// As [`Bundle::open`]; also if the path does not end with `<name>/<version>`.
    pub fn open_at(folder: &Path) -> Result<Self, BundleError> {
        let whole = folder.canonicalize();
        let whole = whole.map_err(|error| BundleError::Io { path: folder.to_owned(), error })?;
        let part = |path: Option<&Path>| path?.file_name()?.to_str().map(str::to_owned);
        let name = part(whole.parent()).and_then(|name| name.parse::<ModelName>().ok());
        let version = part(Some(&whole)).and_then(|text| text.parse::<ModelVersion>().ok());
        let (Some(name), Some(version)) = (name, version) else {
            let problem = "the path of a bundle ends with <name>/<version>".to_owned();
            return Err(BundleError::Invalid { path: folder.to_owned(), problem });
        };
        Self::open(&whole, &name, version)
    }

    fn open_bare(
        folder: &Path,
        name: &ModelName,
        version: ModelVersion,
    ) -> Result<Self, BundleError> {
        let model = read(&folder.join(BARE_MODEL), MAX_MODEL_BYTES)?;
        let digest = Digest::of(&model);
        let name = name.clone();
        Ok(Self { name, version, digest, manifest: None, goldens: None, model: model.into() })
    }
}

/// Whether a version's folder is Triton's: nothing in it says that it is a bundle, not even a broken
/// link. What was a bundle once is never served unchecked because a file of it is missing.
pub fn is_bare(folder: &Path) -> bool {
    [MANIFEST, digests::SUMS, GOLDENS].iter().all(|mark| {
        let found = fs::symlink_metadata(folder.join(mark));
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    })
}

impl ModelFolder {
    /// The file's name.
    pub const FILE: &'static str = "model.toml";

    /// Reads `model.toml` of a model's folder; `None` where there is no such file.
    ///
    /// # Errors
    /// When the file is there and cannot be read or parsed.
    pub fn read(folder: &Path) -> Result<Option<Self>, BundleError> {
        let path = folder.join(Self::FILE);
        if path.exists() { read_toml(&path).map(Some) } else { Ok(None) }
    }
}

/// The JSON Schema of `bundle.toml`, as `docs/bundle.schema.json` has it.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Manifest).to_value()
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, BundleError> {
    let io = |error| BundleError::Io { path: path.to_owned(), error };
    let found = fs::metadata(path).map_err(io)?.len();
    if found > limit {
        return Err(BundleError::TooLarge { path: path.to_owned(), found, limit });
    }
    fs::read(path).map_err(io)
}

fn read_text(path: &Path) -> Result<String, BundleError> {
    String::from_utf8(read(path, MAX_TEXT_BYTES)?).map_err(|error| BundleError::Invalid {
        path: path.to_owned(),
        problem: format!("not UTF-8: {error}"),
    })
}

fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T, BundleError> {
    toml::from_str(&read_text(path)?).map_err(|error| BundleError::Invalid {
        path: path.to_owned(),
        problem: error.to_string().trim_end().replace('\n', " "),
    })
}

fn read_goldens(path: &Path, manifest: &Manifest) -> Result<Goldens, BundleError> {
    let invalid = |problem| BundleError::Invalid { path: path.to_owned(), problem };
    let goldens: Goldens =
        serde_json::from_str(&read_text(path)?).map_err(|error| invalid(error.to_string()))?;
    if goldens.schema != SCHEMA {
        return Err(invalid(format!("schema {} is not read, only {SCHEMA}", goldens.schema)));
    }
    if goldens.cases.is_empty() {
        return Err(invalid("there is no case in it; at least one is needed".to_owned()));
    }
    let inputs: Vec<&str> = manifest.model.inputs.iter().map(|input| input.name.as_str()).collect();
    for case in &goldens.cases {
        let bytes = case.inputs.iter().any(|input| input.datatype == DataType::Bytes);
        let names: Vec<&str> = case.inputs.iter().map(|input| input.name.as_str()).collect();
        if bytes || names != inputs {
            return Err(invalid(format!(
                "case '{}' has inputs {names:?}, the model takes {inputs:?}, as numbers",
                case.name
            )));
        }
    }
    Ok(goldens)
}
