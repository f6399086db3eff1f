//! Models come and go: at start, by a caller's wish, or as the folder changes.
//!
//! A new version is loaded beside the old one, answers its goldens, and only then takes its place;
//! the old one answers what it was asked and is unloaded. A version that is refused changes nothing.
//! This file must never take a version away before its successor is ready.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::scan::{self, Fingerprint, Scanned};
use super::state::{Model, VersionEntry, VersionState};
use super::{Catalog, CatalogError, Key, LoadError, LoadedVersion, ModelControl, error, load};
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

/// What is to be done for one model.
#[derive(Debug, Default)]
struct Plan {
    load: Vec<Key>,
    remove: Vec<Key>,
    /// Models whose folder is gone.
    forget: Vec<ModelName>,
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

    /// Loads, then takes away; returns what was refused.
    fn carry_out(&self, plan: Plan) -> Vec<(Key, Arc<str>)> {
        let Plan { load, remove, forget } = plan;
        let models = self.models();
        let is_champion = |(name, version): &Key| {
            models.get(name).is_some_and(|model| model.intended == Ok(*version))
        };
        let (mut champions, others): (Vec<Key>, Vec<Key>) = load.into_iter().partition(is_champion);
        drop(models);
        // All beside each other, champions first; where memory may not do for all of them, champions
        // take theirs before any other begins.
        let mut refused = Vec::new();
        if self.may_not_fit(champions.iter().chain(&others)) {
            refused = self.load_versions(champions);
            champions = Vec::new();
        }
        champions.extend(others);
        refused.extend(self.load_versions(champions));
        if !remove.is_empty() {
            self.retire(&remove);
        }
        if !remove.is_empty() || !forget.is_empty() {
            self.update(|models| {
                for (name, version) in &remove {
                    if let Some(model) = models.get_mut(name) {
                        model.versions.remove(version);
                    }
                }
                models.retain(|name, _| !forget.contains(name));
            });
        }
        refused
    }

    /// Whether these versions may need more memory than the limit grants, told from the sizes of
    /// their folders.
    fn may_not_fit<'a>(&self, versions: impl Iterator<Item = &'a Key>) -> bool {
        let engines = self.0.parts.permits.total().max(self.0.settings.instances);
        let copies = u64::try_from(engines).unwrap_or(u64::MAX).saturating_add(1);
        let wanted = versions
            .map(|(name, version)| {
                let folder =
                    self.0.settings.directory.join(name.as_str()).join(version.to_string());
                scan::bytes_in(&folder).saturating_mul(copies)
            })
            .fold(self.0.memory.used(), u64::saturating_add);
        wanted > self.0.settings.memory_limit
    }

    /// Loads versions, as many beside each other as there are cores; returns what was refused.
    fn load_versions(&self, tasks: Vec<Key>) -> Vec<(Key, Arc<str>)> {
        let threads = self.0.parts.permits.total().min(tasks.len());
        let (tasks, refused) = (Mutex::new(tasks.into_iter()), Mutex::new(Vec::new()));
        let next = || {
            let stopping = self.0.stopping.load(Ordering::Relaxed);
            tasks.lock().unwrap_or_else(PoisonError::into_inner).next().filter(|_| !stopping)
        };
        let work = || {
            while let Some(key) = next() {
                if let Some(reason) = self.load_version(&key) {
                    refused.lock().unwrap_or_else(PoisonError::into_inner).push((key, reason));
                }
            }
        };
        // This thread works too: what it allocates again and again stays in one place.
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        refused.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads one version and puts it in its place; returns why it was refused.
    fn load_version(&self, (name, version): &Key) -> Option<Arc<str>> {
        let begun = Instant::now();
        let loaded: Result<LoadedVersion, LoadError> = load::version(self, name, *version);
        let (state, reason) = match loaded {
            Ok(loaded) => {
                let (digest, provider) = (loaded.digest, loaded.batcher().provider());
                let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(model = %name, %version, %digest, provider, took_ms, "version ready");
                (Some(VersionState::Ready(Arc::new(loaded))), None)
            }
            Err(error) => {
                let reason: Arc<str> = error.to_string().into();
                tracing::error!(model = %name, %version, %reason, "version refused");
                (None, Some(reason))
            }
        };
        let mut replaced = None;
        self.update(|models| {
            let model = models.get_mut(name);
            let Some(entry) = model.and_then(|model| model.versions.get_mut(version)) else {
                return;
            };
            entry.note = None;
            match (state, &reason) {
                (Some(ready), _) => {
                    let old = std::mem::replace(&mut entry.state, ready);
                    if let VersionState::Ready(old) = old {
                        replaced = Some(old);
                    }
                }
                (None, Some(reason)) if entry.ready().is_some() => {
                    entry.note = Some(format!("a newer content was refused: {reason}").into());
                }
                (None, reason) => {
                    entry.state = VersionState::Refused(reason.clone().unwrap_or_default());
                }
            }
        });
        if let Some(old) = replaced {
            self.drain(old);
        }
        reason
    }

    /// Takes versions out of the way of new requests and unloads them.
    fn retire(&self, keys: &[Key]) {
        let mut leaving = Vec::new();
        self.update(|models| {
            for (name, version) in keys {
                let model = models.get_mut(name);
                if let Some(entry) = model.and_then(|model| model.versions.get_mut(version)) {
                    let old = std::mem::replace(&mut entry.state, VersionState::Unloading);
                    if let VersionState::Ready(old) = old {
                        leaving.push(old);
                    }
                }
            }
        });
        leaving.into_iter().for_each(|version| self.drain(version));
    }

    /// Waits until nobody holds the version any more, at most the configured time, and ends its
    /// engines.
    fn drain(&self, version: Arc<LoadedVersion>) {
        let end = Instant::now() + self.0.settings.unload_timeout;
        while Arc::strong_count(&version) > 1 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        let left = Arc::strong_count(&version) - 1;
        if left > 0 {
            let LoadedVersion { name, version, .. } = &*version;
            tracing::warn!(model = %name, %version, left, "unloaded while requests were in flight");
        }
        version.batcher().join();
        let LoadedVersion { name, version: number, .. } = &*version;
        tracing::info!(model = %name, version = %number, "version unloaded");
    }
}
