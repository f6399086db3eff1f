//! Models come and go: at start, by a caller's wish, or as the folder changes.
//!
//! A new version is loaded beside the old one, answers its goldens, and only then takes its place;
//! the old one answers what it was asked and is unloaded. A version that is refused changes nothing.
//! This file must never take a version away before its successor is ready.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use super::changes::Plan;
use super::scan::{self, Fingerprint, Scanned};
use super::state::{Model, VersionEntry, VersionState};
use super::{Catalog, CatalogError, Key, ModelControl, error};
use crate::domain::{ErrorKind, Fault, ModelName, ModelVersion};

/// A load or unload that was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The configuration does not let callers decide.
    #[error(
        "models are loaded and unloaded by callers only with models.control = \"explicit\"; here it \
         is \"{mode}\""
    )]
    NotExplicit {
        /// What is configured.
        mode: &'static str,
    },
    /// There is no such model, or the folder cannot be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A version was refused; what served before still serves.
    #[error("model '{name}': {reasons}")]
    Refused {
        /// The model.
        name: ModelName,
        /// The versions and why.
        reasons: String,
    },
}

impl Fault for ControlError {
    fn kind(&self) -> ErrorKind {
        match self {
            ControlError::NotExplicit { .. } | ControlError::Refused { .. } => {
                ErrorKind::FailedPrecondition
            }
            ControlError::Catalog(error) => error.kind(),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            ControlError::NotExplicit { .. } => "MODEL_CONTROL",
            ControlError::Refused { .. } => "MODEL_REFUSED",
            ControlError::Catalog(error) => error.reason(),
        }
    }
}

impl Catalog {
    /// Finds the models and loads those that are configured, champions first, as many beside each
    /// other as there are cores. Calls `held` once each of them holds readiness back by itself, then
    /// blocks until all are ready or refused.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn start(&self, held: impl FnOnce()) -> Result<(), CatalogError> {
        let _one = self.controlling();
        let settings = &self.0.settings;
        let found = scan::scan(&settings.directory)?;
        if found.is_empty() {
            let directory = settings.directory.display();
            tracing::warn!(%directory, "there is no model in the models' folder");
        }
        let wanted = |name: &ModelName| {
            settings.control != ModelControl::Explicit
                || settings.load.iter().any(|load| load == "*" || load == name.as_str())
        };
        let mut plan = Plan::default();
        for scanned in found {
            if wanted(&scanned.name) {
                let part = self.0.parts.readiness.hold(format!("model '{}'", scanned.name));
                self.holds().insert(scanned.name.clone(), part);
                self.plan(&mut plan, scanned, true);
            } else {
                self.note_unloaded(scanned);
            }
        }
        held();
        self.carry_out(plan);
        Ok(())
    }

    /// Loads what the folder has of a model, and takes away what it has no more. Blocks until it is
    /// done.
    ///
    /// # Errors
    /// [`ControlError::NotExplicit`], [`ControlError::Catalog`] when there is no such folder,
    /// [`ControlError::Refused`] when a version is refused; the others are loaded then.
    pub fn load_model(&self, name: &ModelName) -> Result<(), ControlError> {
        self.explicit()?;
        let _one = self.controlling();
        let scanned = scan::one(&self.0.settings.directory, name)?;
        let scanned = scanned.ok_or_else(|| self.unknown(name))?;
        let mut plan = Plan::default();
        self.plan(&mut plan, scanned, true);
        let refused = self.carry_out(plan);
        if refused.is_empty() {
            return Ok(());
        }
        let reasons: Vec<String> =
            refused.iter().map(|((_, version), why)| format!("version {version}: {why}")).collect();
        Err(ControlError::Refused { name: name.clone(), reasons: reasons.join("; ") })
    }

    /// Takes a model away: it takes no more requests, answers what it was asked, and is unloaded.
    /// Blocks until it is done.
    ///
    /// # Errors
    /// [`ControlError::NotExplicit`] or [`ControlError::Catalog`] when there is no such model.
    pub fn unload_model(&self, name: &ModelName) -> Result<(), ControlError> {
        self.explicit()?;
        let _one = self.controlling();
        let models = self.models();
        let model = models.get(name).ok_or_else(|| self.unknown(name))?;
        let keys: Vec<Key> = model.versions.keys().map(|v| (name.clone(), *v)).collect();
        // The snapshot must not keep versions alive that we wait for.
        drop(models);
        self.retire(&keys);
        self.update(|models| {
            for entry in models.get_mut(name).into_iter().flat_map(|m| m.versions.values_mut()) {
                entry.state = VersionState::Unloaded("unloaded by a caller".into());
                entry.note = None;
            }
        });
        Ok(())
    }

    /// Looks at the folder once: loads what is new or changed, takes away what is gone. Blocks until
    /// it is done.
    ///
    /// # Errors
    /// When the folder cannot be read; nothing is changed then.
    pub fn poll_once(&self) -> Result<(), CatalogError> {
        let _one = self.controlling();
        let found = scan::scan(&self.0.settings.directory)?;
        let mut plan = Plan::default();
        for (name, model) in self.models().iter() {
            if found.iter().all(|scanned| scanned.name != *name) {
                plan.remove.extend(model.versions.keys().map(|v| (name.clone(), *v)));
                plan.forget.push(name.clone());
            }
        }
        for scanned in found {
            self.plan(&mut plan, scanned, false);
        }
        self.carry_out(plan);
        Ok(())
    }

    /// Stops every version: what is queued still runs, what is being loaded is waited for, nothing
    /// more is loaded. Blocks until the engines are gone.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
        // The process must not end in the middle of a load: the runtime would be torn down under it.
        let _one = self.controlling();
        let models = self.models();
        for loaded in models.values().flat_map(|m| m.versions.values()).filter_map(|e| e.ready()) {
            loaded.batcher().join();
        }
    }

    fn explicit(&self) -> Result<(), ControlError> {
        match self.0.settings.control {
            ModelControl::Explicit => Ok(()),
            ModelControl::None => Err(ControlError::NotExplicit { mode: "none" }),
            ModelControl::Poll => Err(ControlError::NotExplicit { mode: "poll" }),
        }
    }

    fn unknown(&self, name: &ModelName) -> CatalogError {
        let known = error::listed(self.models().keys());
        CatalogError::UnknownModel { name: name.clone(), known }
    }

    fn controlling(&self) -> MutexGuard<'_, ()> {
        self.0.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn holds(
        &self,
    ) -> MutexGuard<'_, std::collections::HashMap<ModelName, crate::lifecycle::ReadinessPart>> {
        self.0.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a model that is on disk and not wanted now.
    fn note_unloaded(&self, scanned: Scanned) {
        let Scanned { name, champion, versions } = scanned;
        let entry = |fingerprint| VersionEntry {
            state: VersionState::Unloaded("not loaded yet".into()),
            note: None,
            fingerprint,
        };
        let versions = versions.into_iter().map(|(v, print)| (v, entry(print))).collect();
        self.update(|models| {
            models.insert(name, Model { intended: champion, champion: None, versions });
        });
    }

    /// Adds to `plan` what differs between the folder and the catalog, and marks what is new as
    /// loading. `again` also takes up what was refused or unloaded before.
    fn plan(&self, plan: &mut Plan, scanned: Scanned, again: bool) {
        let Scanned { name, champion, versions } = scanned;
        let models = self.models();
        let none = BTreeMap::new();
        let known = models.get(&name).map_or(&none, |model| &model.versions);
        let is_stale = |version: &ModelVersion, fingerprint: &Fingerprint| {
            known.get(version).is_none_or(|entry| {
                entry.fingerprint != *fingerprint || (again && entry.ready().is_none())
            })
        };
        let gone = known.keys().filter(|version| !versions.contains_key(version));
        plan.remove.extend(gone.map(|version| (name.clone(), *version)));
        let stale: Vec<(ModelVersion, Fingerprint)> = versions
            .into_iter()
            .filter(|(version, fingerprint)| is_stale(version, fingerprint))
            .collect();
        let unchanged =
            stale.is_empty() && models.get(&name).is_some_and(|model| model.intended == champion);
        drop(models);
        if unchanged {
            return;
        }
        self.update(|models| {
            let model = models.entry(name.clone()).or_insert_with(|| Model {
                intended: champion.clone(),
                champion: None,
                versions: BTreeMap::new(),
            });
            model.intended = champion;
            for (version, fingerprint) in &stale {
                let entry = model.versions.entry(*version);
                let entry = entry.or_insert_with(|| VersionEntry::loading(*fingerprint));
                entry.fingerprint = *fingerprint;
                if entry.ready().is_none() {
                    entry.state = VersionState::Loading;
                }
            }
        });
        plan.load.extend(stale.into_iter().map(|(version, _)| (name.clone(), version)));
    }
}
