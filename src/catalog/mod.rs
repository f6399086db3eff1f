//! The models that are served: which there are, which version a name means, which are ready.
//!
//! A folder is scanned, its versions are loaded beside each other and answer their goldens; then
//! `resolve` turns a name into a loaded version. Readers never wait: they see a snapshot.
//! This room must never let a version that failed its self-test answer a request.

mod changes;
mod control;
mod error;
mod load;
mod memory;
mod scan;
mod state;
mod version;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::domain::{ModelName, ModelVersion, Route, VersionSelector};
use crate::engine::Provider;
use crate::engine::library::Runtime;
use crate::lifecycle::{Clock, Permits, Readiness, ReadinessPart};
use crate::telemetry::{Metrics, ModelInfo};

use memory::MemoryBudget;

pub use control::ControlError;
pub use error::{CatalogError, LoadError};
pub use scan::{Scanned, scan};
pub use state::{Model, VersionEntry, VersionState};
pub use version::LoadedVersion;

/// The end of a name that is reserved for the image form of a model.
pub const IMAGE_SUFFIX: &str = ".image";

/// Who decides which models are loaded, as Triton's `--model-control-mode` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelControl {
    /// What is in the folder at start, for good.
    #[default]
    None,
    /// Callers load and unload.
    Explicit,
    /// The folder, looked at again and again.
    Poll,
}

/// How models are found and run.
#[derive(Debug, Clone)]
pub struct CatalogSettings {
    /// The folder with `<name>/<version>/`.
    pub directory: PathBuf,
    /// Who decides which models are loaded.
    pub control: ModelControl,
    /// The models that are loaded at start where callers decide; `*` means all.
    pub load: Vec<String>,
    /// How long a version that is taken away may still answer what it was asked.
    pub unload_timeout: Duration,
    /// Bytes that the weights of all loaded versions may take.
    pub memory_limit: u64,
    /// Engines of a version; 0 = the bundle's number, or from the cores.
    pub instances: usize,
    /// Threads of a run; 0 = the bundle's number, or from the cores.
    pub intra_threads: usize,
    /// Execution providers, the most wanted first; none means the CPU.
    pub providers: Vec<Provider>,
    /// Rows run alone, so that an answer does not depend on its neighbours by a single bit.
    pub deterministic: bool,
    /// Rows that may wait for a version.
    pub queue_rows: usize,
    /// Bytes of inputs that may wait for a version.
    pub queue_bytes: usize,
}

/// What loading needs beside the settings.
#[derive(Debug, Clone)]
pub struct CatalogParts {
    /// ONNX Runtime.
    pub runtime: Arc<Runtime>,
    /// The cores that all models share.
    pub permits: Permits,
    /// The source of time.
    pub clock: Arc<dyn Clock>,
    /// Where versions count.
    pub metrics: Metrics,
    /// The latch that each model's champion must release.
    pub readiness: Readiness,
}

type Snapshot = BTreeMap<ModelName, Model>;

/// The models. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: CatalogSettings,
    parts: CatalogParts,
    memory: MemoryBudget,
    models: ArcSwap<Snapshot>,
    /// Held while a snapshot is replaced.
    writing: Mutex<()>,
    /// Held while models are loaded or unloaded: one change at a time.
    control: Mutex<()>,
    /// Set once the service ends: nothing more is loaded.
    stopping: AtomicBool,
    /// What each model that was there at start holds of readiness, until its champion is ready.
    holds: Mutex<HashMap<ModelName, ReadinessPart>>,
    changes: watch::Sender<u64>,
}

/// A version and the way by which a request came to it.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The version.
    pub version: Arc<LoadedVersion>,
    /// The way.
    pub route: Route,
}

impl Catalog {
    /// A catalog without models; [`Catalog::start`] finds and loads them.
    pub fn new(settings: CatalogSettings, parts: CatalogParts) -> Self {
        let memory = MemoryBudget::new(settings.memory_limit);
        Self(Arc::new(Inner {
            settings,
            parts,
            memory,
            models: ArcSwap::default(),
            writing: Mutex::default(),
            control: Mutex::default(),
            stopping: AtomicBool::new(false),
            holds: Mutex::default(),
            changes: watch::Sender::new(0),
        }))
    }

    /// The models as they are now.
    pub fn models(&self) -> Arc<BTreeMap<ModelName, Model>> {
        self.0.models.load_full()
    }

    /// Counts each change of a version's state.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// The loaded version that a name and a selector mean.
    ///
    /// # Errors
    /// [`CatalogError::UnknownModel`], [`CatalogError::UnknownVersion`],
    /// [`CatalogError::NoChampion`], [`CatalogError::Loading`], [`CatalogError::Refused`] or
    /// [`CatalogError::Unloaded`].
    pub fn resolve(
        &self,
        name: &ModelName,
        selector: VersionSelector,
    ) -> Result<Resolved, CatalogError> {
        let models = self.0.models.load();
        let model = models.get(name).ok_or_else(|| CatalogError::UnknownModel {
            name: name.clone(),
            known: error::listed(models.keys()),
        })?;
        let (version, route) = match selector {
            VersionSelector::Exact(version) => (version, Route::Pinned),
            VersionSelector::Champion => {
                let version = model.champion.or(model.intended.as_ref().ok().copied());
                let none = || CatalogError::NoChampion { name: name.clone() };
                (version.ok_or_else(none)?, Route::Champion)
            }
        };
        let name = || name.clone();
        match model.versions.get(&version).map(|entry| &entry.state) {
            Some(VersionState::Ready(loaded)) => {
                Ok(Resolved { version: Arc::clone(loaded), route })
            }
            Some(VersionState::Loading) => Err(CatalogError::Loading { name: name(), version }),
            Some(VersionState::Refused(_)) => Err(CatalogError::Refused { name: name(), version }),
            Some(VersionState::Unloading | VersionState::Unloaded(_)) => {
                Err(CatalogError::Unloaded { name: name(), version })
            }
            None => Err(CatalogError::UnknownVersion {
                name: name(),
                version,
                known: error::listed(model.versions.keys()),
            }),
        }
    }

    /// What a name means that may end in `.image`: the version, and the form in which it answers.
    ///
    /// # Errors
    /// As [`Catalog::resolve`]; [`CatalogError::UnknownModel`] where a version answers no images.
    pub fn resolve_form(
        &self,
        name: &ModelName,
        selector: VersionSelector,
    ) -> Result<(Resolved, Form), CatalogError> {
        let Some(base) = image_base(name) else {
            return Ok((self.resolve(name, selector)?, Form::Tensors));
        };
        let resolved = self.resolve(&base, selector)?;
        if resolved.version.image_metrics.is_none() {
            let models = self.0.models.load();
            let known = error::listed(models.keys());
            return Err(CatalogError::UnknownModel { name: name.clone(), known });
        }
        Ok((resolved, Form::Images))
    }

    /// Replaces the snapshot by a changed copy; champions are settled and readiness follows.
    fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        let writing = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.0.models.load_full();
        let mut models = Snapshot::clone(&old);
        change(&mut models);
        models.values_mut().for_each(Model::settle);
        let models = Arc::new(models);
        // Before anybody hears of it: who is told that a model is ready finds it.
        self.0.models.store(Arc::clone(&models));
        self.publish(&old, &models);
        drop(writing);
        self.0.changes.send_modify(|count| *count += 1);
    }

    /// Tells metrics and the readiness latch what changes between two snapshots.
    fn publish(&self, old: &Snapshot, new: &Snapshot) {
        let metrics = &self.0.parts.metrics;
        let (before, now) = (shown(old), shown(new));
        for (info, loaded) in &before {
            if now.iter().all(|(other, _)| other != info) {
                metrics.model_info(info, false);
            }
            if now.iter().all(|(other, _)| !other.is_version_of(info)) {
                loaded.metrics.memory_bytes(0);
            }
        }
        for (info, loaded) in &now {
            metrics.model_info(info, true);
            loaded.metrics.memory_bytes(loaded.memory_bytes());
        }
        let mut holds = self.0.holds.lock().unwrap_or_else(PoisonError::into_inner);
        holds.retain(|name, hold| match new.get(name).and_then(hold_reason) {
            Some(reason) => {
                hold.refuse(reason);
                true
            }
            None => {
                hold.release();
                false
            }
        });
    }
}

/// What metrics show of a snapshot.
fn shown(models: &Snapshot) -> Vec<(ModelInfo, &LoadedVersion)> {
    models
        .values()
        .flat_map(|model| model.versions.iter().map(move |entry| (model, entry)))
        .filter_map(|(model, (number, entry))| {
            let loaded = entry.ready()?;
            Some((loaded.info(model.champion == Some(*number)), &**loaded))
        })
        .collect()
}

/// Why a model holds readiness back; `None` once its champion is the intended version.
fn hold_reason(model: &Model) -> Option<String> {
    let version = match &model.intended {
        Err(reason) => return Some(reason.to_string()),
        Ok(version) if model.champion == Some(*version) => return None,
        Ok(version) => version,
    };
    Some(match model.versions.get(version).map(|entry| &entry.state) {
        Some(VersionState::Refused(reason)) => format!("version {version}: {reason}"),
        Some(VersionState::Unloaded(reason)) => format!("version {version} is unloaded: {reason}"),
        _ => format!("version {version} is loading"),
    })
}

/// In which form a version is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// By its name: tensors in, tensors out.
    Tensors,
    /// By its name and `.image`: files in, answers out.
    Images,
}

/// The model's name without `.image`; `None` where the name does not end so.
pub fn image_base(name: &ModelName) -> Option<ModelName> {
    name.as_str().strip_suffix(IMAGE_SUFFIX)?.parse().ok()
}

/// A version's name and number, for messages.
type Key = (ModelName, ModelVersion);
