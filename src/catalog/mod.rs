//! The models that are served: which there are, which version a name means, which are ready.
//!
//! A folder is scanned, its versions are loaded beside each other and answer their goldens; then
//! `resolve` turns a name into a loaded version. Readers never wait: they see a snapshot.
//! This room must never let a version that failed its self-test answer a request.

mod error;
mod load;
mod scan;
mod version;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::batcher::Batcher;
use crate::domain::{ModelName, ModelVersion, Route, VersionSelector};
use crate::engine::library::Runtime;
use crate::lifecycle::{Clock, CorePermits, Readiness};
use crate::telemetry::Metrics;

pub use error::{CatalogError, LoadError};
pub use scan::{Scanned, scan};
pub use version::LoadedVersion;

/// The end of a name that is reserved for the image form of a model.
pub const IMAGE_SUFFIX: &str = ".image";

/// How models are found and run.
#[derive(Debug, Clone)]
pub struct CatalogSettings {
    /// The folder with `<name>/<version>/`.
    pub directory: PathBuf,
    /// Engines of a version; 0 = the bundle's number, or from the cores.
    pub instances: usize,
    /// Threads of a run; 0 = the bundle's number, or from the cores.
    pub intra_threads: usize,
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
    pub permits: CorePermits,
    /// The source of time.
    pub clock: Arc<dyn Clock>,
    /// Where versions count.
    pub metrics: Metrics,
    /// The latch that each model's champion must release.
    pub readiness: Readiness,
}

/// How far a version is.
#[derive(Debug, Clone)]
pub enum VersionState {
    /// It is being read and tested.
    Loading,
    /// It answers requests.
    Ready(Arc<LoadedVersion>),
    /// It was refused, and why; the reason names files and is for operators.
    Refused(Arc<str>),
}

/// A model's versions.
#[derive(Debug, Clone)]
pub struct Model {
    /// The version that `champion` means.
    pub champion: Result<ModelVersion, Arc<str>>,
    /// Every version in the folder.
    pub versions: BTreeMap<ModelVersion, VersionState>,
}

impl Model {
    /// The versions that answer requests, in order.
    pub fn ready_versions(&self) -> impl Iterator<Item = ModelVersion> {
        let ready = |state: &VersionState| matches!(state, VersionState::Ready(_));
        self.versions.iter().filter(move |(_, state)| ready(state)).map(|(version, _)| *version)
    }
}

type Snapshot = BTreeMap<ModelName, Model>;

/// The models. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: CatalogSettings,
    parts: CatalogParts,
    models: ArcSwap<Snapshot>,
    writing: Mutex<()>,
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
    /// Scans the folder; every version that is found is `Loading`.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn scan(settings: CatalogSettings, parts: CatalogParts) -> Result<Self, CatalogError> {
        let found: Snapshot = scan::scan(&settings.directory)?
            .into_iter()
            .map(|Scanned { name, champion, versions }| {
                let versions = versions.into_iter().map(|v| (v, VersionState::Loading)).collect();
                (name, Model { champion, versions })
            })
            .collect();
        if found.is_empty() {
            let directory = settings.directory.display();
            tracing::warn!(%directory, "there is no model in the models' folder");
        }
        let models = ArcSwap::from_pointee(found);
        let (writing, changes) = (Mutex::default(), watch::Sender::new(0));
        Ok(Self(Arc::new(Inner { settings, parts, models, writing, changes })))
    }

    /// Loads every version that is `Loading`, champions first, as many beside each other as there
    /// are cores. Calls `held` once each model holds readiness back by itself, then blocks until all
    /// are ready or refused.
    pub fn load_then(&self, held: impl FnOnce()) {
        load::all(self, held);
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
    /// [`CatalogError::Loading`] or [`CatalogError::Refused`].
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
            VersionSelector::Champion => match &model.champion {
                Ok(version) => (*version, Route::Champion),
                Err(_) => return Err(CatalogError::NoChampion { name: name.clone() }),
            },
            VersionSelector::Exact(version) => (version, Route::Pinned),
        };
        match model.versions.get(&version) {
            Some(VersionState::Ready(loaded)) => {
                Ok(Resolved { version: Arc::clone(loaded), route })
            }
            Some(VersionState::Loading) => {
                Err(CatalogError::Loading { name: name.clone(), version })
            }
            Some(VersionState::Refused(_)) => {
                Err(CatalogError::Refused { name: name.clone(), version })
            }
            None => Err(CatalogError::UnknownVersion {
                name: name.clone(),
                version,
                known: error::listed(model.versions.keys()),
            }),
        }
    }

    /// Stops every version: what is queued still runs. Blocks until the engines are gone.
    pub fn stop(&self) {
        for model in self.models().values() {
            for state in model.versions.values() {
                if let VersionState::Ready(loaded) = state {
                    loaded.batcher().join();
                }
            }
        }
    }

    fn set(&self, name: &ModelName, version: ModelVersion, state: VersionState) {
        let _one = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut models = Snapshot::clone(&self.0.models.load());
        if let Some(model) = models.get_mut(name) {
            model.versions.insert(version, state);
        }
        self.0.models.store(Arc::new(models));
        self.0.changes.send_modify(|count| *count += 1);
    }
}

impl LoadedVersion {
    /// The queue and engines of this version.
    pub fn batcher(&self) -> &Batcher {
        &self.batcher
    }
}
