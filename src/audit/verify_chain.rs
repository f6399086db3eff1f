//! One chain in the store, manifest by manifest.
//!
//! Each manifest is held against the one before, and the end against what the registry noted. One that cannot
//! be believed is read on: what it says of its rows shows which of them is wrong.
//! This file must never take what such a manifest says for what was recorded.

use std::collections::{BTreeMap, BTreeSet};

use super::manifest::{MAX_MANIFEST, Manifest};
use super::record::{ChainId, NO_HASH};
use super::verify::{Verification, Verified, VerifyError};
use super::verify_files::{Covered, Lost, manifests as range};
use super::verify_rows::LastRow;
use crate::domain::Digest;
use crate::registry::{Chain, ChainHead};
use crate::store::ObjectKey;

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
    /// The manifest before, if it could be read but not believed, with the last of its rows.
    doubted: Option<(ObjectKey, Option<LastRow>)>,
    /// The first of the manifests just before that are missing or no manifests.
    lost: Option<u64>,
}

/// What a manifest says of its end: its digest, the last row's number and hash.
type End = (Digest, u64, Digest);

impl Before {
    /// The manifest that is next is missing or none.
    fn lose(&mut self, number: u64) {
        (self.manifest, self.doubted, self.linked) = (None, None, false);
        self.lost.get_or_insert(number);
    }
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
        let mut before = Before {
            next: 0,
            hash: NO_HASH,
            manifest: None,
            linked: true,
            doubted: None,
            lost: None,
        };
        let mut ends: BTreeMap<u64, Option<End>> = BTreeMap::new();
        let mut expected = 0;
        for (&number, key) in manifests {
            if number > expected {
                let are = if number - 1 > expected { "are" } else { "is" };
                let problem = format!("{} {are} missing", range(expected, number - 1));
                report.say(&chain, None, Some((before.next, None)), problem);
                before.lose(expected);
            }
            expected = number.saturating_add(1);
            let bytes = self.all.store.get(key, MAX_MANIFEST).await?;
            report.manifests += 1;
            let (manifest, fault) = match Manifest::read_on(&bytes) {
                Ok(read) => read,
                Err(error) => {
                    report.say(&chain, Some(key), Some((before.next, None)), error.to_string());
                    before.lose(number);
                    ends.insert(number, None);
                    continue;
                }
            };
            if let Some(fault) = &fault {
                let problem =
                    format!("{fault}; what it says is held against its rows all the same");
                report.say(&chain, Some(key), None, problem);
            }
            if let Some(first) = before.lost {
                let manifests = format!("{}, missing or damaged", range(first, number - 1));
                let last = manifest.first.checked_sub(1);
                let last = Some(last.unwrap_or_default());
                covered.lose(&chain, Lost { manifests, first: before.next, last });
            }
            covered.named.extend(manifest.files.iter().map(|file| file.key.clone()));
            report.signed += u64::from(manifest.signature.is_some() && fault.is_none());
            if fault.is_none() {
                report.signing_keys.extend(manifest.signing_key.clone());
            }
            self.look_back(&manifest, &before, report);
            for (row, problem) in self.links(&manifest, number, &before) {
                report.say(&chain, Some(key), row.map(|row| (row, None)), problem);
            }
            let last_row = self.rows(&manifest, key, report).await?;
            let (digest, hash) = (Digest::of(&bytes), manifest.last_hash);
            ends.insert(number, Some((digest, manifest.last, hash)));
            if fault.is_some() {
                let manifests = format!("{}, which cannot be believed", range(number, number));
                let (first, last) = (manifest.first, Some(manifest.last));
                covered.lose(&chain, Lost { manifests, first, last });
            }
            before = Before {
                next: manifest.last.saturating_add(1),
                hash,
                manifest: fault.is_none().then_some(digest),
                linked: true,
                doubted: fault.is_some().then(|| (key.clone(), last_row)),
                lost: None,
            };
        }
        if before.next > 0 && before.linked {
            covered.hashes.insert(chain.clone(), before.hash);
        }
        covered.next.insert(chain.clone(), before.next);
        self.ends(&ends, report);
        let head = self.known.and_then(|known| known.head.as_ref());
        // Manifests that were lost at the end, or that the registry knows of.
        let noted = head.filter(|head| head.manifest >= expected).map(|head| head.manifest);
        if let Some(first) = before.lost.or(noted.map(|_| expected)) {
            let to = noted.unwrap_or(expected.saturating_sub(1));
            let manifests = format!("{}, missing or damaged", range(first, to));
            let last = head.map(|head| head.seq).filter(|last| *last >= before.next);
            covered.lose(&chain, Lost { manifests, first: before.next, last });
        }
        Ok(())
    }

    /// The row that a manifest which cannot be believed ends with, as the next manifest has it.
    fn look_back(&self, manifest: &Manifest, before: &Before, report: &mut Verified) {
        let Some((key, last)) = &before.doubted else { return };
        let chain = self.chain.to_string();
        let next = manifest.number;
        if manifest.first != before.next {
            let problem = format!(
                "it ends before row {}, but manifest {next} begins with row {}",
                before.next, manifest.first
            );
            report.say(&chain, Some(key), None, problem);
        } else if let Some((row, file)) = last
            && row.hash != manifest.prev_hash
            && !report.findings.iter().any(|it| it.chain == chain && it.seq == Some(row.seq))
        {
            let at = Some((row.seq, Some(row.audit_id.to_string())));
            let problem = format!("the row was changed: manifest {next} has another hash of it");
            report.say(&chain, Some(file), at, problem);
        }
    }

    /// What of a manifest does not continue the one before, with the row that is missing, if one is.
    fn links(
        &mut self,
        manifest: &Manifest,
        number: u64,
        before: &Before,
    ) -> Vec<(Option<u64>, String)> {
        let mut problems = Vec::new();
        if (manifest.chain.as_str(), manifest.number) != (self.chain.to_string().as_str(), number) {
            problems
                .push((None, format!("it is manifest {} of {}", manifest.number, manifest.chain)));
        }
        let Before { next, hash, .. } = *before;
        let linked = before.linked && before.doubted.is_none();
        if linked && (manifest.first, manifest.prev_hash) != (next, hash) {
            let problem = format!(
                "it begins with row {} after {}, but row {next} after {hash} is next",
                manifest.first, manifest.prev_hash
            );
            problems.push((Some(next), problem));
        }
        match (manifest.previous, before.manifest) {
            (Some(named), Some(there)) if named != there => {
                let problem = format!(
                    "it names manifest {} by the digest {named}, that one has {there}: one of the two was changed",
                    number.saturating_sub(1)
                );
                problems.push((None, problem));
            }
            (named, _) if named.is_none() != (number == 0) => {
                let problem = "it does not name the manifest before by its digest".to_owned();
                problems.push((None, problem));
            }
            _ => {}
        }
        let noted = self.known.is_some_and(|known| known.opening.signing_key.is_some());
        match &manifest.signing_key {
            None if noted || !self.all.keys.is_empty() || self.is_signed => {
                problems.push((None, "it is not signed".to_owned()));
            }
            Some(key) if !self.allowed.is_empty() && !self.allowed.contains(key) => {
                let problem = format!(
                    "it is signed by {key}, which is no key that the registry noted or --public-key names"
                );
                problems.push((None, problem));
            }
            Some(_) => self.is_signed = true,
            None => {}
        }
        problems
    }

    /// The store's end of the chain beside the registry's.
    fn ends(&self, manifests: &BTreeMap<u64, Option<End>>, report: &mut Verified) {
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
            Some(Some((digest, ..))) if digest != manifest_sha256 => {
                let problem = format!(
                    "manifest {manifest} has the digest {digest}, the registry noted {manifest_sha256}"
                );
                let key = Manifest::key(self.chain, *manifest).parse().ok();
                report.say(&chain, key.as_ref(), None, problem);
            }
            Some(Some((_, there, hash))) if (there, hash) != (seq, row_hash) => {
                let problem = "the registry noted another last row".to_owned();
                report.say(&chain, None, Some((*there, None)), problem);
            }
            None if last.is_none_or(|(last, _)| last < manifest) => {
                let ended = last.and_then(|(_, end)| end.as_ref());
                let first = ended.map_or(0, |(_, row, _)| row.saturating_add(1));
                let problem = format!(
                    "the end is missing: the registry noted manifest {manifest} with rows to {seq}"
                );
                report.say(&chain, None, Some((first, None)), problem);
            }
            // As noted; or missing or damaged, which was found already.
            Some(_) | None => {}
        }
    }
}
