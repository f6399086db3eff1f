//! `SHA256SUMS`: the digest of every file of a bundle, in the format of `sha256sum`.
//!
//! Each file that is listed must be there and match, and each file that is there must be listed.
//! This file must never skip a file because it is large.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;

use super::{BundleError, read_text};
use crate::domain::Digest;

/// The file's name.
pub const SUMS: &str = "SHA256SUMS";
const SIGNATURE: &str = "SHA256SUMS.sig";

/// Files whose digests hold.
#[derive(Debug)]
pub struct Verified {
    files: BTreeSet<String>,
    /// The digest of `SHA256SUMS` itself: the bundle's digest.
    pub digest: Digest,
}

impl Verified {
    /// Whether a file is part of the bundle.
    pub fn contains(&self, file: &str) -> bool {
        self.files.contains(file)
    }
}

/// Checks every file of the bundle in `folder`.
///
/// # Errors
/// The first file that is missing, unlisted or different.
pub fn verify(folder: &Path) -> Result<Verified, BundleError> {
    let path = folder.join(SUMS);
    let invalid = |problem: String| BundleError::Invalid { path: path.clone(), problem };
    let text = read_text(&path)?;
    let mut files = BTreeSet::new();
    for (index, line) in text.lines().enumerate() {
        let (digest, file) = line
            .split_once("  ")
            .and_then(|(digest, file)| Some((digest.parse::<Digest>().ok()?, file)))
            .filter(|(_, file)| !file.is_empty() && !file.contains(['/', '\\', '\0']))
            .ok_or_else(|| {
                let n = index + 1;
                invalid(format!("line {n}: a digest, two spaces and a file name are expected"))
            })?;
        let path = folder.join(file);
        let io = |error| BundleError::Io { path: path.clone(), error };
        let found = Digest::of_reader(File::open(&path).map_err(io)?).map_err(io)?;
        if found != digest {
            let declared_in = SUMS;
            return Err(BundleError::Digest { path, declared_in, declared: digest, found });
        }
        files.insert(file.to_owned());
    }
    let io = |error| BundleError::Io { path: folder.to_owned(), error };
    for entry in fs::read_dir(folder).map_err(io)? {
        let name = entry.map_err(io)?.file_name().to_string_lossy().into_owned();
        let ours = name == SUMS || name == SIGNATURE || name.starts_with('.');
        if !ours && !files.contains(&name) {
            return Err(invalid(format!("'{name}' is in the folder and not listed")));
        }
    }
    Ok(Verified { files, digest: Digest::of(text.as_bytes()) })
}
