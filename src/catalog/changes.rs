//! Carries a plan out: new versions are loaded beside the old ones, then the old ones leave.
//!
//! Champions come first; a version that is refused leaves what serves in its place.
//! This file must never decide what is to be loaded: the plan says so.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::state::VersionState;
use super::{Catalog, Key, LoadedVersion, load, scan};
use crate::domain::ModelName;

/// What is to be done for one model.
#[derive(Debug, Default)]
pub struct Plan {
    /// Versions to load.
    pub load: Vec<Key>,
    /// Versions to take away.
    pub remove: Vec<Key>,
    /// Models whose folder is gone.
    pub forget: Vec<ModelName>,
}

impl Catalog {
    /// Loads, then takes away; returns what was refused.
    pub(super) fn carry_out(&self, plan: Plan) -> Vec<(Key, Arc<str>)> {
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
        let outcome: Result<_, Arc<str>> = match load::version(self, name, *version) {
            Ok(loaded) => {
                let (digest, provider) = (loaded.digest, loaded.batcher().provider());
                let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(model = %name, %version, %digest, provider, took_ms, "version ready");
                Ok(Arc::new(loaded))
            }
            Err(error) => {
                let reason = error.to_string();
                tracing::error!(model = %name, %version, %reason, "version refused");
                Err(reason.into())
            }
        };
        let mut replaced = None;
        self.update(|models| {
            let model = models.get_mut(name);
            let Some(entry) = model.and_then(|model| model.versions.get_mut(version)) else {
                return;
            };
            entry.note = None;
            match &outcome {
                Ok(loaded) => {
                    let ready = VersionState::Ready(Arc::clone(loaded));
                    if let VersionState::Ready(old) = std::mem::replace(&mut entry.state, ready) {
                        replaced = Some(old);
                    }
                }
                Err(reason) if entry.ready().is_some() => {
                    entry.note = Some(format!("a newer content was refused: {reason}").into());
                }
                Err(reason) => entry.state = VersionState::Refused(Arc::clone(reason)),
            }
        });
        if let Some(old) = replaced {
            self.drain(old);
        }
        outcome.err()
    }

    /// Takes versions out of the way of new requests and unloads them.
    pub(super) fn retire(&self, keys: &[Key]) {
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
