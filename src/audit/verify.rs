//! Whether the record in the store is complete and as it was written.
//!
//! Heads out of the registry first, then the files' names, then chain by chain the manifests: what is shipped
//! meanwhile is no finding. What is wrong is named by its object and row.
//! This file must never write anything anywhere.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::manifest::{FILES, MANIFESTS, Manifest};
use super::record::ChainId;
use super::time::Micros;
use super::verify_chain::Walk;
use super::verify_files::{Covered, Lost, manifests};
use crate::registry::{Chain, Registry, RegistryError};
use crate::store::{ObjectInfo, ObjectKey, ObjectStore, StoreError, list_all};

/// What is to be verified, and against what.
#[derive(Debug)]
pub struct Verification<'a> {
    /// The store.
    pub store: &'a dyn ObjectStore,
    /// The registry that noted the heads; without it a missing end or chain is not seen.
    pub registry: Option<&'a dyn Registry>,
    /// Public keys that signatures must be by; empty = those that the registry noted, or without one any.
    pub keys: Vec<[u8; 32]>,
    /// Only this chain.
    pub chain: Option<ChainId>,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The chain; empty where none is named.
    pub chain: String,
    /// The object at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The number of the row at fault, or of the first that is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The request of that row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_id: Option<String>,
    /// What is wrong.
    pub problem: String,
}

/// What was verified.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Chains.
    pub chains: u64,
    /// Manifests.
    pub manifests: u64,
    /// Those of them that are signed.
    pub signed: u64,
    /// The keys that they are signed by, in hexadecimal digits.
    pub signing_keys: BTreeSet<String>,
    /// Files of rows that a manifest names.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Files behind the last manifest of a chain that has not ended: their manifest is about to come.
    pub pending_files: u64,
    /// Commits that no manifest covers yet and that continue their chain (`audit.durability = "store"`).
    pub pending_commits: u64,
    /// Chains that the registry has not noted the end of: a process still writes them, or it died and nobody
    /// has shipped what it left. What of their rows is not in the store cannot be seen here.
    pub open_chains: Vec<OpenChain>,
    /// Whether heads were compared with a registry.
    pub with_registry: bool,
    /// What is wrong; empty = nothing is.
    pub findings: Vec<Finding>,
}

/// A chain without an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenChain {
    /// Its name.
    pub chain: String,
    /// When it began, as RFC 3339.
    pub opened_at: String,
    /// Its last manifest that was noted; null where nothing of it is in the store.
    pub manifest: Option<u64>,
    /// The number of the last row in the store.
    pub seq: Option<u64>,
    /// The time of the latest row in the store, as RFC 3339.
    pub watermark: Option<String>,
}

/// A verification that could not be done.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// There is nothing to verify.
    #[error("there is nothing to verify: {0}")]
    Nothing(String),
    /// The work was cut off.
    #[error("the work was cut off: {0}")]
    Cut(#[from] tokio::task::JoinError),
}

impl Verification<'_> {
    /// Verifies; what is wrong is in the answer.
    ///
    /// # Errors
    /// What kept it from being done, or [`VerifyError::Nothing`] where neither the store nor the registry has
    /// anything of what was asked for.
    pub async fn run(&self) -> Result<Verified, VerifyError> {
        let mut report = Verified { with_registry: self.registry.is_some(), ..Verified::default() };
        // Before manifests and files: what goes away meanwhile is in those.
        let commits = self.commits(&mut report).await?;
        let noted = self.noted().await?;
        let files = list_all(self.store, FILES).await?;
        let allowed = self.allowed(&noted);
        let mut covered = Covered::default();
        let mut unseen: BTreeSet<&str> = noted.keys().map(String::as_str).collect();
        unseen.retain(|chain| self.wants(chain));
        for (chain, manifests) in self.manifests(&mut report).await? {
            let name = chain.to_string();
            unseen.remove(name.as_str());
            report.chains += 1;
            let known = noted.get(&name);
            let walk = Walk { all: self, chain, known, allowed: &allowed, is_signed: false };
            walk.run(&manifests, &mut report, &mut covered).await?;
        }
        for chain in unseen {
            report.chains += 1;
            if let Some(head) = noted.get(chain).and_then(|noted| noted.head.as_ref()) {
                let problem = format!(
                    "the whole chain is missing: the registry noted {} manifests of it, with rows to {}",
                    head.manifest + 1,
                    head.seq
                );
                report.say(chain, None, Some((0, None)), problem);
                let manifests =
                    format!("{}, missing with the whole chain", manifests(0, head.manifest));
                covered.lose(chain, Lost { manifests, first: 0, last: Some(head.seq) });
            }
        }
        report.open_chains = self.open_chains(&noted);
        self.committed(&commits, &covered, &noted, &mut report).await?;
        let chain = self.chain.map(|chain| chain.to_string());
        let of_chain = |key: &ObjectKey| chain.as_ref().is_none_or(|it| key.as_str().contains(it));
        let is_there = report.chains > 0 || !commits.is_empty();
        if !is_there && !files.iter().any(|file| of_chain(&file.key)) && report.findings.is_empty()
        {
            return Err(self.nothing());
        }
        for ObjectInfo { key, .. } in files {
            self.stranger(&key, &covered, &noted, &mut report);
        }
        Ok(report)
    }

    pub(super) fn wants(&self, chain: &str) -> bool {
        self.chain.is_none_or(|wanted| wanted.to_string() == chain)
    }

    fn nothing(&self) -> VerifyError {
        let place = self.store.place();
        let what = self.chain.map_or_else(|| "a record".to_owned(), |it| format!("chain {it}"));
        let noted = if self.registry.is_some() { ", and the registry notes none" } else { "" };
        VerifyError::Nothing(format!(
            "the store {place} has nothing of {what}{noted}; see [store] and [registry]"
        ))
    }

    fn open_chains(&self, noted: &BTreeMap<String, Chain>) -> Vec<OpenChain> {
        let open =
            noted.values().filter(|it| it.closing.is_none() && self.wants(&it.opening.chain));
        let told = |it: &Chain| OpenChain {
            chain: it.opening.chain.clone(),
            opened_at: Micros(it.opening.opened_at).to_string(),
            manifest: it.head.as_ref().map(|head| head.manifest),
            seq: it.head.as_ref().map(|head| head.seq),
            watermark: it.head.as_ref().map(|head| Micros(head.watermark).to_string()),
        };
        open.map(told).collect()
    }

    /// The chains that the registry knows.
    async fn noted(&self) -> Result<BTreeMap<String, Chain>, VerifyError> {
        let mut all: BTreeMap<String, Chain> = BTreeMap::new();
        let Some(registry) = self.registry else { return Ok(all) };
        let mut last: Option<String> = None;
        loop {
            let page = registry.chains(last.as_deref()).await?;
            let more = page.len() >= crate::registry::PAGE as usize;
            last = page.last().map(|chain| chain.opening.chain.clone());
            all.extend(page.into_iter().map(|chain| (chain.opening.chain.clone(), chain)));
            if !more {
                return Ok(all);
            }
        }
    }

    /// The keys that a signature may be by; empty = any.
    fn allowed(&self, noted: &BTreeMap<String, Chain>) -> BTreeSet<String> {
        match self.keys.as_slice() {
            [] => {
                let keys = noted.values().filter_map(|chain| chain.opening.signing_key);
                keys.map(hex::encode).collect()
            }
            given => given.iter().map(hex::encode).collect(),
        }
    }

    /// The manifests' keys of each chain, by number.
    async fn manifests(
        &self,
        report: &mut Verified,
    ) -> Result<BTreeMap<ChainId, BTreeMap<u64, ObjectKey>>, VerifyError> {
        let mut chains: BTreeMap<ChainId, BTreeMap<u64, ObjectKey>> = BTreeMap::new();
        let prefix = self.chain.map_or_else(|| MANIFESTS.to_owned(), Manifest::folder);
        for ObjectInfo { key, .. } in list_all(self.store, &prefix).await? {
            match Manifest::named(&key) {
                Some((chain, number)) => drop(chains.entry(chain).or_default().insert(number, key)),
                // Consoles make an object for a folder.
                None if key.as_str().ends_with('/') => {}
                None => report.say("", Some(&key), None, "no manifest is called so".to_owned()),
            }
        }
        Ok(chains)
    }
}

impl Verified {
    pub(super) fn say(
        &mut self,
        chain: &str,
        object: Option<&ObjectKey>,
        row: Option<(u64, Option<String>)>,
        problem: String,
    ) {
        let (seq, audit_id) = row.map_or((None, None), |(seq, id)| (Some(seq), id));
        let object = object.map(ToString::to_string);
        self.findings.push(Finding { chain: chain.to_owned(), object, seq, audit_id, problem });
    }
}
