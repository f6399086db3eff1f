//! One chain in the store, manifest by manifest.
//!
//! Each manifest is held against the one before, each file against its manifest, each row against the row
//! before, and the end against what the registry noted.
//! This file must never hold the rows of more than one manifest, nor more of a row than its place and hash.

use std::collections::{BTreeMap, BTreeSet};

use super::manifest::{MAX_MANIFEST, Manifest, ManifestFile, file_folder};
use super::merkle::MerkleTree;
use super::parquet_read;
use super::reading::MAX_FILE;
use super::record::{AuditId, ChainId, NO_HASH, Row};
use super::verify::{Covered, Verification, Verified, VerifyError};
use crate::domain::Digest;
use crate::registry::{Chain, ChainHead};
use crate::store::{ObjectKey, StoreError};

/// One chain.
pub(super) struct Walk<'a> {
    pub all: &'a Verification<'a>,
    pub chain: ChainId,
    pub known: Option<&'a Chain>,
    /// The keys that a signature may be by; empty = any.
    pub allowed: &'a BTreeSet<String>,
    /// Whether a manifest before was signed.
    pub is_signed: bool,
}

/// What a manifest must continue.
struct Before {
    next: u64,
    hash: Digest,
    /// The digest of the manifest before; `None` where it is missing or cannot be believed.
    manifest: Option<Digest>,
    /// Whether `next` and `hash` are known.
    linked: bool,
}

/// A row's place and hash.
#[derive(Debug, Clone, Copy)]
struct Linked {
    chain: ChainId,
    seq: u64,
    prev_hash: Digest,
    hash: Digest,
    audit_id: AuditId,
    /// Which of the manifest's files it is in.
    file: usize,
}

/// What a file holds: rows as far as it can be read, and what is wrong with it.
#[derive(Debug, Default)]
struct Contents {
    rows: Vec<Linked>,
    /// A row that is in the wrong place.
    row: Option<(u64, String)>,
    problem: Option<String>,
    /// Whether all its rows could be read.
    whole: bool,
}

impl Walk<'_> {
    /// Verifies; what is wrong goes into `report`.
    pub async fn run(
        mut self,
        manifests: &BTreeMap<u64, ObjectKey>,
        report: &mut Verified,
        covered: &mut Covered,
    ) -> Result<(), VerifyError> {
        let chain = self.chain.to_string();
        let mut before = Before { next: 0, hash: NO_HASH, manifest: None, linked: true };
        let mut read: BTreeMap<u64, (Digest, u64, Digest)> = BTreeMap::new();
        let last = manifests.keys().next_back().copied().unwrap_or_default();
        for number in 0..=last {
            let Some(key) = manifests.get(&number) else {
                let problem = format!("manifest {number} is missing");
                report.say(&chain, None, Some((before.next, None)), problem);
                (before.manifest, before.linked) = (None, false);
                continue;
            };
            let bytes = self.all.store.get(key, MAX_MANIFEST).await?;
            report.manifests += 1;
            let manifest = match Manifest::read(&bytes) {
                Ok(manifest) => manifest,
                Err(error) => {
                    report.say(&chain, Some(key), Some((before.next, None)), error.to_string());
                    (before.manifest, before.linked) = (None, false);
                    continue;
                }
            };
            covered.named.extend(manifest.files.iter().map(|file| file.key.clone()));
            report.signed += u64::from(manifest.signature.is_some());
            report.signing_keys.extend(manifest.signing_key.clone());
            for problem in self.links(&manifest, number, &before) {
                report.say(&chain, Some(key), Some((before.next, None)), problem);
            }
            self.rows(&manifest, key, report).await?;
            let digest = Digest::of(&bytes);
            read.insert(number, (digest, manifest.last, manifest.last_hash));
            let next = manifest.last.saturating_add(1);
            let hash = manifest.last_hash;
            before = Before { next, hash, manifest: Some(digest), linked: true };
        }
        if before.next > 0 && before.linked {
            covered.hashes.insert(chain.clone(), before.hash);
        }
        covered.next.insert(chain, before.next);
        self.ends(&read, report);
        Ok(())
    }

    /// What of a manifest does not continue the one before.
    fn links(&mut self, manifest: &Manifest, number: u64, before: &Before) -> Vec<String> {
        let mut problems = Vec::new();
        if (manifest.chain.as_str(), manifest.number) != (self.chain.to_string().as_str(), number) {
            problems.push(format!("it is manifest {} of {}", manifest.number, manifest.chain));
        }
        let Before { next, hash, .. } = *before;
        if before.linked && (manifest.first, manifest.prev_hash) != (next, hash) {
            problems.push(format!(
                "it begins with row {} after {}, but row {next} after {hash} is next",
                manifest.first, manifest.prev_hash
            ));
        }
        if before.manifest.is_some() && manifest.previous != before.manifest
            || (number == 0) != manifest.previous.is_none()
        {
            problems.push("it does not name the manifest before by its digest".to_owned());
        }
        let noted = self.known.is_some_and(|known| known.opening.signing_key.is_some());
        match &manifest.signing_key {
            None if noted || !self.all.keys.is_empty() || self.is_signed => {
                problems.push("it is not signed".to_owned());
            }
            Some(key) if !self.allowed.is_empty() && !self.allowed.contains(key) => {
                problems.push(format!(
                    "it is signed by {key}, which is no key that the registry noted or --public-key names"
                ));
            }
            Some(_) => self.is_signed = true,
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
        let mut rows: Vec<Linked> = Vec::new();
        let mut whole = true;
        for (at, file) in manifest.files.iter().enumerate() {
            report.files += 1;
            let contents = self.file(at, file).await?;
            whole &= contents.whole;
            let place = file.key.parse().ok();
            if let Some(problem) = contents.problem {
                let row = (!contents.whole).then_some((file.first, None));
                report.say(&chain, place.as_ref(), row, problem);
            }
            if let Some((seq, id)) = contents.row {
                let problem = format!("row {seq} does not belong into this file");
                report.say(&chain, place.as_ref(), Some((seq, Some(id))), problem);
            }
            rows.extend(contents.rows);
        }
        report.rows += rows.len() as u64;
        rows.sort_by_key(|row| row.seq);
        let found = self.chained(manifest, &rows, whole);
        for (row, problem) in found {
            let file = row.and_then(|row| manifest.files.get(row.file)?.key.parse().ok());
            let at = row.map(|row| (row.seq, Some(row.audit_id.to_string())));
            report.say(&chain, Some(file.as_ref().unwrap_or(key)), at, problem);
        }
        Ok(())
    }

    /// The rows of a manifest in their order: each follows on the one before, and together they are what
    /// the manifest says. Where rows are missing, what is there is held against its neighbours.
    fn chained(
        &self,
        manifest: &Manifest,
        rows: &[Linked],
        whole: bool,
    ) -> Vec<(Option<Linked>, String)> {
        let mut found = Vec::new();
        let mut tree = MerkleTree::default();
        let (mut next, mut hash) = (manifest.first, manifest.prev_hash);
        let mut before: Option<Linked> = None;
        for row in rows {
            if row.chain != self.chain {
                found.push((Some(*row), format!("the row is of chain {}", row.chain)));
            }
            if row.seq != next && whole {
                found.push((Some(*row), format!("row {next} is next, this is row {}", row.seq)));
            }
            if row.seq == next && row.prev_hash != hash {
                let problem = match before {
                    Some(_) => "the row was changed: the row after it was chained to another",
                    None => "the row does not follow on the one before: prev_hash is another",
                };
                found.push((before.or(Some(*row)), problem.to_owned()));
            }
            (next, hash, before) = (row.seq.saturating_add(1), row.hash, Some(*row));
            tree.push(&row.hash);
        }
        if !whole {
            return found;
        }
        if hash != manifest.last_hash && next == manifest.last.saturating_add(1) {
            let problem = "the row was changed: its manifest has another hash of it".to_owned();
            found.push((before, problem));
        }
        let is = (next, tree.len(), tree.root());
        let said = (manifest.last.saturating_add(1), manifest.rows, manifest.merkle_root);
        if is != said && found.is_empty() {
            let problem = format!(
                "it covers {} rows to {} with root {}, its files give {} rows with root {}",
                said.1, manifest.last, said.2, is.1, is.2
            );
            found.push((None, problem));
        }
        found
    }

    async fn file(&self, at: usize, file: &ManifestFile) -> Result<Contents, VerifyError> {
        let lost =
            |problem: &str| Contents { problem: Some(problem.to_owned()), ..Contents::default() };
        let Ok(key) = file.key.parse::<ObjectKey>() else {
            return Ok(lost("no file can be called so"));
        };
        let bytes = match self.all.store.get(&key, MAX_FILE).await {
            Ok(bytes) => bytes,
            Err(StoreError::NotFound { .. }) => return Ok(lost("the file is missing")),
            Err(error) => return Err(error.into()),
        };
        let file = file.clone();
        Ok(tokio::task::spawn_blocking(move || examine(at, &file, bytes)).await?)
    }

    /// The store's end of the chain beside the registry's.
    fn ends(&self, manifests: &BTreeMap<u64, (Digest, u64, Digest)>, report: &mut Verified) {
        if self.all.registry.is_none() {
            return;
        }
        let chain = self.chain.to_string();
        let Some(known) = self.known else {
            report.say(&chain, None, None, "the registry does not know this chain".to_owned());
            return;
        };
        // Without a head: noted after it is written, at this moment, or its shipper died in between.
        let Some(ChainHead { manifest, manifest_sha256, seq, row_hash, .. }) = &known.head else {
            return;
        };
        let last = manifests.iter().next_back();
        match manifests.get(manifest) {
            Some((digest, ..)) if digest != manifest_sha256 => {
                let problem = format!(
                    "manifest {manifest} has the digest {digest}, the registry noted {manifest_sha256}"
                );
                report.say(&chain, None, None, problem);
            }
            Some((_, there, hash)) if (there, hash) != (seq, row_hash) => {
                let problem = "the registry noted another last row".to_owned();
                report.say(&chain, None, Some((*there, None)), problem);
            }
            None if last.is_none_or(|(last, _)| last < manifest) => {
                let first = last.map_or(0, |(_, (_, row, _))| row.saturating_add(1));
                let problem = format!(
                    "the end is missing: the registry noted manifest {manifest} with rows to {seq}"
                );
                report.say(&chain, None, Some((first, None)), problem);
            }
            // As noted; or missing, which was found already.
            Some(_) | None => {}
        }
    }
}

/// Reads a file as far as it goes.
fn examine(at: usize, file: &ManifestFile, bytes: bytes::Bytes) -> Contents {
    let mut contents = Contents::default();
    let digest = Digest::of(&bytes);
    let folder = file.key.rfind('/').map_or("", |end| &file.key[..=end]);
    let read = parquet_read::rows(bytes, |row: Row| {
        let (link, record) = (&row.link, &row.record);
        let after = contents.rows.last().is_none_or(|before| before.seq < link.seq);
        let here = file_folder(&record.model, &record.ts.date()) == folder;
        if contents.row.is_none() && !(after && here) {
            contents.row = Some((link.seq, record.audit_id.to_string()));
        }
        contents.rows.push(Linked {
            chain: link.chain,
            seq: link.seq,
            prev_hash: link.prev_hash,
            hash: row.hash(),
            audit_id: record.audit_id,
            file: at,
        });
        Ok(())
    });
    let ends = (contents.rows.first().map(|row| row.seq), contents.rows.last().map(|row| row.seq));
    let rows = contents.rows.len() as u64;
    contents.whole = read.is_ok();
    contents.problem = if digest != file.sha256 {
        let beyond = read.err().map_or_else(String::new, |error| format!("; {error}"));
        Some(format!("its SHA-256 is {digest}, its manifest says {}{beyond}", file.sha256))
    } else if let Err(error) = read {
        Some(error.to_string())
    } else if (rows, ends) != (file.rows, (Some(file.first), Some(file.last))) {
        Some(format!(
            "it has {rows} rows, its manifest says {} from {} to {}",
            file.rows, file.first, file.last
        ))
    } else {
        None
    };
    contents
}
