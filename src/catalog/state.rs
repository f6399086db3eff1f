//! The versions of a model and which of them `champion` means.
//!
//! The folder says which version is intended; the champion is that version once it is ready, and
//! until then the version that served before.
//! This file must never load or unload anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::LoadedVersion;
use super::scan::Fingerprint;
use crate::domain::ModelVersion;

/// How far a version is.
#[derive(Debug, Clone)]
pub enum VersionState {
    /// It is being read and tested.
    Loading,
    /// It answers requests.
    Ready(Arc<LoadedVersion>),
    /// It was refused, and why; the reason names files and is for operators.
    Refused(Arc<str>),
    /// It takes no more requests; what is in flight ends.
    Unloading,
    /// It is on disk and not loaded, and why.
    Unloaded(Arc<str>),
}

/// A version as the catalog knows it.
#[derive(Debug, Clone)]
pub struct VersionEntry {
    /// How far it is.
    pub state: VersionState,
    /// Why a newer content of the same version was refused while this one goes on serving.
    pub note: Option<Arc<str>>,
    pub(super) fingerprint: Fingerprint,
}

/// A model's versions.
#[derive(Debug, Clone)]
pub struct Model {
    /// The version that the folder means by `champion`, or why it means none.
    pub intended: Result<ModelVersion, Arc<str>>,
    /// The version that answers for `champion`; it is ready.
    pub champion: Option<ModelVersion>,
    /// Every version.
    pub versions: BTreeMap<ModelVersion, VersionEntry>,
}

impl VersionEntry {
    /// An entry whose loading begins.
    pub(super) fn loading(fingerprint: Fingerprint) -> Self {
        Self { state: VersionState::Loading, note: None, fingerprint }
    }

    /// The loaded version, if it answers requests.
    pub fn ready(&self) -> Option<&Arc<LoadedVersion>> {
        match &self.state {
            VersionState::Ready(loaded) => Some(loaded),
            _ => None,
        }
    }

    /// The state's name and reason, as Triton's repository index has them.
    pub fn described(&self) -> (&'static str, String) {
        let note = || self.note.as_deref().unwrap_or_default().to_owned();
        match &self.state {
            VersionState::Loading => ("LOADING", note()),
            VersionState::Ready(_) => ("READY", note()),
            VersionState::Refused(reason) | VersionState::Unloaded(reason) => {
                ("UNAVAILABLE", reason.to_string())
            }
            VersionState::Unloading => ("UNLOADING", note()),
        }
    }
}

impl Model {
    /// The versions that answer requests, in order.
    pub fn ready_versions(&self) -> impl Iterator<Item = ModelVersion> {
        let ready = |entry: &VersionEntry| entry.ready().is_some();
        self.versions.iter().filter(move |(_, entry)| ready(entry)).map(|(version, _)| *version)
    }

    /// The intended version becomes champion once it is ready; a champion that is gone is none.
    pub(super) fn settle(&mut self) {
        let is_ready = |version: &ModelVersion| {
            self.versions.get(version).is_some_and(|e| e.ready().is_some())
        };
        self.champion = match &self.intended {
            Ok(version) if is_ready(version) => Some(*version),
            _ => self.champion.filter(is_ready),
        };
    }
}
