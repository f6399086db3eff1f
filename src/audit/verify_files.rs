//! Files of rows that no manifest names: on their way, left behind by a manifest that is gone, or foreign.
//!
//! Takes the files' keys and what the manifests of all chains say.
//! This file must never blame a file for what became of its manifest.

use std::collections::{BTreeMap, BTreeSet};

use super::verify::{Verification, Verified};
use crate::domain::Digest;
use crate::registry::Chain;
use crate::store::ObjectKey;

/// What the manifests of all chains say.
#[derive(Debug, Default)]
pub(super) struct Covered {
    /// Every file that a manifest names.
    pub named: BTreeSet<String>,
    /// The number of the row that is next, by chain.
    pub next: BTreeMap<String, u64>,
    /// The hash of the last row, by chain, where there is one.
    pub hashes: BTreeMap<String, Digest>,
    /// Rows whose manifests are missing or damaged, by chain.
    pub lost: BTreeMap<String, Vec<Lost>>,
}

/// Rows whose manifest is missing, damaged or not to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost {
    /// The manifests and what is the matter with them, as in "manifest 3, which is missing".
    pub manifests: String,
    /// The number of the first row.
    pub first: u64,
    /// That of the last one; `None` where nobody knows.
    pub last: Option<u64>,
}

/// Manifests `from` to `to` in words, without what is the matter with them.
pub(super) fn manifests(from: u64, to: u64) -> String {
    if from == to { format!("manifest {from}") } else { format!("manifests {from} to {to}") }
}

impl Covered {
    /// Notes rows that have lost their manifest, unless there are none.
    pub fn lose(&mut self, chain: &str, lost: Lost) {
        if lost.last.is_none_or(|last| last >= lost.first) {
            self.lost.entry(chain.to_owned()).or_default().push(lost);
        }
    }

    /// What became of the manifest of a row.
    fn lost_at(&self, chain: &str, row: u64) -> Option<&Lost> {
        let within = |lost: &&Lost| lost.first <= row && lost.last.is_none_or(|last| row <= last);
        self.lost.get(chain)?.iter().find(within)
    }
}

impl Verification<'_> {
    /// What is the matter with a file of rows that no manifest names.
    pub(super) fn stranger(
        &self,
        key: &ObjectKey,
        covered: &Covered,
        noted: &BTreeMap<String, Chain>,
        report: &mut Verified,
    ) {
        let file = key.as_str().rsplit('/').next().unwrap_or_default();
        let mut parts = file.split('-');
        let chain = parts.next().unwrap_or_default();
        let first = parts.next().and_then(|first| first.parse::<u64>().ok());
        // Consoles make an object for a folder.
        if covered.named.contains(key.as_str()) || !self.wants(chain) || file.is_empty() {
            return;
        }
        let has_manifests = covered.next.contains_key(chain);
        let known = has_manifests || noted.contains_key(chain);
        let next = covered.next.get(chain).copied().unwrap_or_default();
        let ended = noted.get(chain).is_some_and(|noted| noted.closing.is_some());
        let cause = match first {
            Some(first) if let Some(lost) = covered.lost_at(chain, first) => {
                format!("it belonged to {}", lost.manifests)
            }
            Some(first) if known && !ended && first >= next => {
                report.pending_files += 1;
                return;
            }
            // A chain that nothing else is known of.
            Some(_) if !known && self.registry.is_none() => {
                "its manifest is missing, or somebody else put it there".to_owned()
            }
            _ => "somebody else put it there".to_owned(),
        };
        report.say(chain, Some(key), None, format!("no manifest names this file of rows: {cause}"));
    }
}
