//! The rows of one manifest: each file against its manifest, each row against the row before.
//!
//! This file must never hold the rows of more than one manifest, nor more of a row than its place and hash.

use super::manifest::{Manifest, ManifestFile, file_folder};
use super::merkle::MerkleTree;
use super::parquet_read;
use super::reading::MAX_FILE;
use super::record::{AuditId, ChainId, Row};
use super::verify::{Verified, VerifyError};
use super::verify_chain::Walk;
use crate::domain::Digest;
use crate::store::{ObjectKey, StoreError};

/// The last row of a manifest, and the object that it is in.
pub(super) type LastRow = (Linked, ObjectKey);

/// A row's place and hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Linked {
    chain: ChainId,
    pub seq: u64,
    prev_hash: Digest,
    pub hash: Digest,
    pub audit_id: AuditId,
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
    /// Every row that a manifest covers; the last of them, where all could be read.
    pub(super) async fn rows(
        &self,
        manifest: &Manifest,
        key: &ObjectKey,
        report: &mut Verified,
    ) -> Result<Option<LastRow>, VerifyError> {
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
        let last = rows.last().copied().filter(|_| whole);
        Ok(last.map(|row| {
            let file = manifest.files.get(row.file).and_then(|file| file.key.parse().ok());
            (row, file.unwrap_or_else(|| key.clone()))
        }))
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
