//! Whether the record in the store is complete and as it was written.
//!
//! For each chain: manifests in their order, each file's digest, each row's hash and place, the Merkle
//! roots, signatures, and the head that the registry noted. What is wrong is named by its object and row.
//! This file must never write anything anywhere.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::manifest::{MANIFESTS, MAX_MANIFEST, Manifest, ManifestFile};
use super::merkle::MerkleTree;
use super::parquet_read;
use super::record::{ChainId, NO_HASH, Row};
use super::segment::StoredRow;
use crate::domain::Digest;
use crate::registry::{Chain, ChainHead, Registry, RegistryError};
use crate::store::{ObjectInfo, ObjectKey, ObjectStore, StoreError, list_all};

/// Bytes of a file of rows at most.
const MAX_FILE: u64 = 4 << 30;

/// What is to be verified, and against what.
#[derive(Debug)]
pub struct Verification<'a> {
    /// The store.
    pub store: &'a dyn ObjectStore,
    /// The registry that noted the heads; without it a missing end or chain is not seen.
    pub registry: Option<&'a dyn Registry>,
    /// Public keys that signatures may be by; empty = any that a manifest or the registry names.
    pub keys: Vec<[u8; 32]>,
    /// Only this chain.
    pub chain: Option<ChainId>,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The chain.
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
    /// Files of rows.
    pub files: u64,
    /// Rows.
    pub rows: u64,
    /// Whether heads were compared with a registry.
    pub with_registry: bool,
    /// What is wrong; empty = nothing is.
    pub findings: Vec<Finding>,
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
    /// The work was cut off.
    #[error("the work was cut off: {0}")]
    Cut(#[from] tokio::task::JoinError),
}

/// One row at fault, or the file itself.
type Fault = (Option<(u64, String)>, String);

impl Verification<'_> {
    /// Verifies; what is wrong is in the answer.
    ///
    /// # Errors
    /// What kept it from being done.
    pub async fn run(&self) -> Result<Verified, VerifyError> {
        let mut report = Verified { with_registry: self.registry.is_some(), ..Verified::default() };
        let mut noted = self.noted().await?;
        let mut named = BTreeSet::new();
        for (chain, manifests) in self.manifests(&mut report).await? {
            let known = noted.remove(&chain.to_string());
            report.chains += 1;
            let walk = Walk { all: self, chain, known, signed_by: None };
            walk.run(&manifests, &mut report, &mut named).await?;
        }
        for (chain, known) in noted {
            report.chains += 1;
            if let Some(head) = known.head {
                let problem = format!(
                    "no manifest of this chain is in the store, the registry noted {} with rows to {}",
                    head.manifest + 1,
                    head.seq
                );
                report.say(&chain, None, Some((0, None)), problem);
            }
        }
        self.strangers(&named, &mut report).await?;
        Ok(report)
    }

    fn wants(&self, chain: &str) -> bool {
        self.chain.is_none_or(|wanted| wanted.to_string() == chain)
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
                all.retain(|chain, _| self.wants(chain));
                return Ok(all);
            }
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
                None => report.say("", Some(&key), None, "no manifest is called so".to_owned()),
            }
        }
        Ok(chains)
    }

    /// Files of rows that no manifest names, of chains that are complete.
    async fn strangers(
        &self,
        named: &BTreeSet<String>,
        report: &mut Verified,
    ) -> Result<(), VerifyError> {
        for ObjectInfo { key, .. } in list_all(self.store, "audit/model=").await? {
            let file = key.as_str().rsplit('/').next().unwrap_or_default();
            let chain = file.split('-').next().unwrap_or_default();
            if !named.contains(key.as_str()) && self.wants(chain) {
                let problem = "no manifest names this file: it is being shipped at this moment, or was \
                               put there by somebody"
                    .to_owned();
                report.say(chain, Some(&key), None, problem);
            }
        }
        Ok(())
    }
}

impl Verified {
    fn say(
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

/// One chain.
struct Walk<'a> {
    all: &'a Verification<'a>,
    chain: ChainId,
    known: Option<Chain>,
    signed_by: Option<String>,
}

impl Walk<'_> {
    async fn run(
        mut self,
        manifests: &BTreeMap<u64, ObjectKey>,
        report: &mut Verified,
        named: &mut BTreeSet<String>,
    ) -> Result<(), VerifyError> {
        let chain = self.chain.to_string();
        let (mut next, mut hash, mut previous) = (0, NO_HASH, None);
        let mut digests: BTreeMap<u64, (Digest, Manifest)> = BTreeMap::new();
        let last = manifests.keys().next_back().copied().unwrap_or_default();
        for number in 0..=last {
            let Some(key) = manifests.get(&number) else {
                let problem = format!("manifest {number} is missing");
                report.say(&chain, None, Some((next, None)), problem);
                previous = None;
                continue;
            };
            let bytes = self.all.store.get(key, MAX_MANIFEST).await?;
            report.manifests += 1;
            let manifest = match Manifest::read(&bytes) {
                Ok(manifest) => manifest,
                Err(error) => {
                    report.say(&chain, Some(key), Some((next, None)), error.to_string());
                    previous = None;
                    continue;
                }
            };
            named.extend(manifest.files.iter().map(|file| file.key.clone()));
            report.signed += u64::from(manifest.signature.is_some());
            for problem in self.links(&manifest, number, next, hash, previous) {
                report.say(&chain, Some(key), Some((next, None)), problem);
            }
            self.rows(&manifest, key, report).await?;
            (next, hash) = (manifest.last.saturating_add(1), manifest.last_hash);
            previous = Some(Digest::of(&bytes));
            digests.insert(number, (Digest::of(&bytes), manifest));
        }
        self.ends(&digests, report);
        Ok(())
    }

    /// What of a manifest does not continue the one before.
    fn links(
        &mut self,
        manifest: &Manifest,
        number: u64,
        next: u64,
        hash: Digest,
        previous: Option<Digest>,
    ) -> Vec<String> {
        let mut problems = Vec::new();
        if (manifest.chain.as_str(), manifest.number) != (self.chain.to_string().as_str(), number) {
            problems.push(format!("it is manifest {} of {}", manifest.number, manifest.chain));
        }
        if (manifest.first, manifest.prev_hash) != (next, hash) {
            problems.push(format!(
                "it begins with row {} after {}, but row {next} after {hash} is next",
                manifest.first, manifest.prev_hash
            ));
        }
        if previous.is_some() && manifest.previous != previous
            || number == 0 && manifest.previous.is_some()
        {
            problems.push("it does not name the manifest before by its digest".to_owned());
        }
        let noted = self.known.as_ref().and_then(|known| known.opening.signing_key).map(hex::encode);
        let allowed: Vec<String> = self.all.keys.iter().map(hex::encode).collect();
        match &manifest.signing_key {
            None if noted.is_some() || !allowed.is_empty() || self.signed_by.is_some() => {
                problems.push("it is not signed".to_owned());
            }
            Some(key) if !allowed.is_empty() && !allowed.contains(key) => {
                problems.push(format!("it is signed by {key}, which is none of the keys given"));
            }
            Some(key) => self.signed_by = Some(key.clone()),
            None => {}
        }
        problems
    }

    /// Every row that a manifest covers.
    async fn rows(
        &self,
        manifest: &Manifest,
        key: &ObjectKey,
        report: &mut Verified,
    ) -> Result<(), VerifyError> {
        let chain = self.chain.to_string();
        let mut rows: Vec<StoredRow> = Vec::new();
        let mut whole = true;
        for file in &manifest.files {
            report.files += 1;
            match self.file(file).await? {
                Ok(read) => rows.extend(read),
                Err((row, problem)) => {
                    whole = false;
                    let place = file.key.parse().ok();
                    let row = row.map_or((file.first, None), |(seq, id)| (seq, Some(id)));
                    report.say(&chain, place.as_ref(), Some(row), problem);
                }
            }
        }
        report.rows += rows.len() as u64;
        if !whole {
            // What its files say of each other means nothing any more.
            return Ok(());
        }
        rows.sort_by_key(|stored| stored.row.link.seq);
        let (mut next, mut hash, mut tree) =
            (manifest.first, manifest.prev_hash, MerkleTree::default());
        for stored in &rows {
            let link = &stored.row.link;
            if (link.chain, link.seq, link.prev_hash) != (self.chain, next, hash) {
                let problem = format!(
                    "the row is number {} of chain {} after {}; number {next} after {hash} is next",
                    link.seq, link.chain, link.prev_hash
                );
                let id = stored.row.record.audit_id.to_string();
                report.say(&chain, Some(key), Some((next, Some(id))), problem);
                return Ok(());
            }
            (next, hash) = (next + 1, stored.hash);
            tree.push(&stored.hash);
        }
        let found = (next, tree.len(), hash, tree.root());
        let said = (
            manifest.last.saturating_add(1),
            manifest.rows,
            manifest.last_hash,
            manifest.merkle_root,
        );
        if found != said {
            let problem = format!(
                "it covers {} rows to {} with root {}, its files give {} rows with root {}",
                said.1, manifest.last, said.3, found.1, found.3
            );
            report.say(&chain, Some(key), Some((next, None)), problem);
        }
        Ok(())
    }

    /// The rows of a file, or what is wrong with it.
    async fn file(&self, file: &ManifestFile) -> Result<Result<Vec<StoredRow>, Fault>, VerifyError> {
        let Ok(key) = file.key.parse::<ObjectKey>() else {
            return Ok(Err((None, "a manifest names a file that cannot be".to_owned())));
        };
        let bytes = match self.all.store.get(&key, MAX_FILE).await {
            Ok(bytes) => bytes,
            Err(StoreError::NotFound { .. }) => {
                return Ok(Err((None, "the file is missing".to_owned())));
            }
            Err(error) => return Err(error.into()),
        };
        let file = file.clone();
        Ok(tokio::task::spawn_blocking(move || {
            let found = Digest::of(&bytes);
            let mut rows = Vec::new();
            let mut broken = None;
            let read = parquet_read::rows(bytes, |row: Row| {
                let hash = row.hash();
                if let Some(StoredRow { row: before, hash: last }) = rows.last()
                    && before.link.seq + 1 == row.link.seq
                    && *last != row.link.prev_hash
                    && broken.is_none()
                {
                    // The row before is not the one that was chained.
                    broken = Some((before.link.seq, before.record.audit_id.to_string()));
                }
                rows.push(StoredRow { row, hash });
                Ok(())
            });
            if found != file.sha256 {
                let problem = format!("its SHA-256 is {found}, its manifest says {}", file.sha256);
                return Err((broken, problem));
            }
            if let Err(error) = read {
                return Err((None, error.to_string()));
            }
            if rows.len() as u64 != file.rows {
                return Err((None, format!("it has {} rows, not {}", rows.len(), file.rows)));
            }
            Ok(rows)
        })
        .await?)
    }

    /// The store's end of the chain beside the registry's.
    fn ends(&self, manifests: &BTreeMap<u64, (Digest, Manifest)>, report: &mut Verified) {
        if self.all.registry.is_none() {
            return;
        }
        let chain = self.chain.to_string();
        let Some(known) = &self.known else {
            report.say(&chain, None, None, "the registry does not know this chain".to_owned());
            return;
        };
        let last = manifests.keys().next_back().copied();
        let Some(ChainHead { manifest, manifest_sha256, seq, row_hash, .. }) = &known.head else {
            // Noted after it is written: at this moment, or its shipper died in between.
            return;
        };
        match manifests.get(manifest) {
            Some((digest, there)) if digest == manifest_sha256 => {
                if (there.last, there.last_hash) != (*seq, *row_hash) {
                    let problem = "the registry noted another last row".to_owned();
                    report.say(&chain, None, Some((there.last, None)), problem);
                }
            }
            Some((digest, _)) => {
                let problem = format!(
                    "manifest {manifest} has the digest {digest}, the registry noted {manifest_sha256}"
                );
                report.say(&chain, None, None, problem);
            }
            None if last.is_none_or(|last| last < *manifest) => {
                let first = manifests.values().next_back().map_or(0, |(_, m)| m.last + 1);
                let problem = format!(
                    "the end is missing: the registry noted manifest {manifest} with rows to {seq}"
                );
                report.say(&chain, None, Some((first, None)), problem);
            }
            // Found already: it is missing or cannot be believed.
            None => {}
        }
    }
}
