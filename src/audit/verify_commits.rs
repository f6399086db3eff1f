//! Commits of the store that no manifest covers yet: for those rows they are all that the store has.
//!
//! Each must hold and continue the chain behind its last manifest, without a gap.
//! This file must never take what is shipped meanwhile for a loss.

use std::collections::BTreeMap;

use super::commit_objects::{CommitObject, MAX_COMMIT, commit_rows};
use super::manifest::{MAX_MANIFEST, Manifest};
use super::record::NO_HASH;
use super::store_commit::COMMITS;
use super::verify::{Verification, Verified, VerifyError};
use super::verify_files::Covered;
use crate::domain::Digest;
use crate::registry::Chain;
use crate::store::{ObjectInfo, ObjectKey, StoreError, list_all};

impl Verification<'_> {
    /// The commits that there are, by chain and number.
    pub(super) async fn commits(
        &self,
        report: &mut Verified,
    ) -> Result<Vec<CommitObject>, VerifyError> {
        let mut found = Vec::new();
        for ObjectInfo { key, .. } in list_all(self.store, COMMITS).await? {
            match CommitObject::named(&key) {
                Some(commit) if self.wants(&commit.chain.to_string()) => found.push(commit),
                Some(_) => {}
                None if key.as_str().ends_with('/') => {}
                None => report.say("", Some(&key), None, "no commit is called so".to_owned()),
            }
        }
        found.sort();
        Ok(found)
    }

    /// Holds the commits that no manifest covers against the chain; what is wrong goes into `report`.
    pub(super) async fn committed(
        &self,
        commits: &[CommitObject],
        covered: &Covered,
        noted: &BTreeMap<String, Chain>,
        report: &mut Verified,
    ) -> Result<(), VerifyError> {
        for commits in commits.chunk_by(|a, b| a.chain == b.chain) {
            let Some(chain) = commits.first().map(|commit| commit.chain) else { continue };
            let name = chain.to_string();
            let known = noted.get(&name);
            // Of a chain with manifests that is said already.
            if self.registry.is_some() && known.is_none() && !covered.next.contains_key(&name) {
                let problem = "the registry does not know this chain".to_owned();
                report.say(&name, commits.first().map(|it| &it.key), None, problem);
            }
            let has_ended = known.is_some_and(|known| known.closing.is_some());
            let next = covered.next.get(&name).copied().unwrap_or_default();
            let mut expected =
                (next, covered.hashes.get(&name).copied().or((next == 0).then_some(NO_HASH)));
            for commit in commits.iter().filter(|commit| commit.last >= next) {
                let fault = self.commit(commit, &mut expected).await?;
                let behind =
                    || "the chain has ended: no row stands behind its last manifest".to_owned();
                let Some(problem) = fault.or_else(|| has_ended.then(behind)) else {
                    report.pending_commits += 1;
                    continue;
                };
                // Shipped and removed while we looked: a manifest covers it now.
                if self.is_covered(commit).await? {
                    break;
                }
                report.say(&name, Some(&commit.key), Some((expected.0, None)), problem);
                // What comes behind is held against itself.
                expected = (commit.last.saturating_add(1), None);
            }
        }
        Ok(())
    }

    /// What is wrong with a commit at `expected`, the number of the next row and the hash before it where that
    /// is known; moved on where nothing is.
    async fn commit(
        &self,
        commit: &CommitObject,
        expected: &mut (u64, Option<Digest>),
    ) -> Result<Option<String>, VerifyError> {
        let content = match self.store.get(&commit.key, MAX_COMMIT).await {
            Err(StoreError::NotFound { .. }) => return Ok(Some("it went away".to_owned())),
            content => content?,
        };
        let object = commit.clone();
        let read = tokio::task::spawn_blocking(move || commit_rows(&object, content)).await?;
        let rows = match read {
            Ok(rows) => rows,
            Err(error) => return Ok(Some(error.to_string())),
        };
        let (next, hash) = *expected;
        let at = rows.iter().find(|stored| stored.row.link.seq >= next);
        let fault = match at.map(|stored| stored.row.link) {
            Some(link) if link.seq > next => Some(format!(
                "rows {next} to {} are missing: no manifest covers them and no commit holds them",
                link.seq - 1
            )),
            Some(link) if hash.is_some_and(|hash| hash != link.prev_hash) => {
                Some("it does not continue the chain: prev_hash is another".to_owned())
            }
            _ => None,
        };
        if fault.is_none()
            && let Some(last) = rows.last().filter(|last| last.row.link.seq >= next)
        {
            *expected = (last.row.link.seq.saturating_add(1), Some(last.hash));
        }
        Ok(fault)
    }

    /// Whether a manifest covers a commit by now.
    async fn is_covered(&self, commit: &CommitObject) -> Result<bool, VerifyError> {
        let all = list_all(self.store, &Manifest::folder(commit.chain)).await?;
        let numbers = all.iter().filter_map(|it| Manifest::named(&it.key));
        let Some(number) = numbers.map(|(_, number)| number).max() else { return Ok(false) };
        let Ok(key) = Manifest::key(commit.chain, number).parse::<ObjectKey>() else {
            return Ok(false);
        };
        let bytes = self.store.get(&key, MAX_MANIFEST).await?;
        Ok(Manifest::read(&bytes).is_ok_and(|manifest| manifest.last >= commit.last))
    }
}
