//! The spool directory: `<spool>/<chain>/`, one folder for each run of a process, with its segments.
//!
//! Sealed segments are listed in their order; what a dead process left behind is adopted: its torn tail
//! is cut off and its last segment sealed.
//! This file must never touch a folder whose owner lives, beyond reading it.

mod damage;
mod recovery;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::lock::DirLock;
use super::record::{ChainId, Row};
use super::segment::{SegmentError, SegmentReader};
use super::time::Micros;
use recovery::{recover, refuse_damage};

pub use damage::{Damage, WholeRows};
pub use recovery::Recovery;

/// The file on which a chain's owner holds a lock.
pub const OWNER_LOCK: &str = "lock";
/// The file on which who ships a chain holds a lock.
pub const SHIP_LOCK: &str = "ship.lock";
const OPEN: &str = "open";
const SEALED: &str = "seg";

/// A spool that cannot be read or mended.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A file or folder.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A segment.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// A segment that a dead process was writing.
    #[error(transparent)]
    Damaged(Box<Damage>),
}

fn at(path: &Path) -> impl Fn(io::Error) -> SpoolError {
    let path = path.to_owned();
    move |error| SpoolError::File { path: path.clone(), error }
}

/// A chain's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainDir {
    /// The chain.
    pub chain: ChainId,
    /// Its folder.
    pub path: PathBuf,
}

/// A segment that is not written any more. Its rows are read by [`SealedSegment::read`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSegment {
    /// The chain.
    pub chain: ChainId,
    /// The number of its first row.
    pub first: u64,
    /// The number of its last row.
    pub last: u64,
    /// The file.
    pub path: PathBuf,
}

/// A chain whose process is dead, held by the lock of its folder: nobody writes to it, and all its
/// segments are sealed.
#[derive(Debug)]
pub struct AdoptedChain {
    /// The folder.
    pub dir: ChainDir,
    /// What was done to it.
    pub recovery: Recovery,
    _lock: DirLock,
}

/// The name of the segment that is written, by its first row.
pub fn open_name(first: u64) -> String {
    format!("{first:020}.{OPEN}")
}

/// The name of a sealed segment, by its first and last row.
pub fn sealed_name(first: u64, last: u64) -> String {
    format!("{first:020}-{last:020}.{SEALED}")
}

/// The chains of a spool, the oldest first. A spool that is not there has none.
///
/// # Errors
/// A folder that cannot be read.
pub fn chains(spool: &Path) -> Result<Vec<ChainDir>, SpoolError> {
    let mut chains = Vec::new();
    let entries = match fs::read_dir(spool) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(chains),
        Err(error) => return Err(at(spool)(error)),
    };
    for entry in entries {
        let path = entry.map_err(at(spool))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(chain) = name.and_then(|name| name.parse().ok())
            && path.is_dir()
        {
            chains.push(ChainDir { chain, path });
        }
    }
    chains.sort_by_key(|dir| dir.chain);
    Ok(chains)
}

/// Bytes that the files of all chains take.
///
/// # Errors
/// A folder that cannot be read.
pub fn used_bytes(spool: &Path) -> Result<u64, SpoolError> {
    let mut bytes = 0;
    for dir in chains(spool)? {
        for path in dir.files()? {
            // A file may be shipped and gone meanwhile.
            bytes += fs::metadata(&path).map_or(0, |file| file.len());
        }
    }
    Ok(bytes)
}

/// How long the sealed segment has been waiting at `now` that waits longest to be shipped; nothing where none
/// waits or the spool cannot be read.
pub fn ship_lag(spool: &Path, now: SystemTime) -> Duration {
    // Of a chain the first was sealed first.
    let first = |dir: ChainDir| dir.sealed().ok()?.into_iter().next();
    // It may have been shipped meanwhile.
    let sealed = |segment: SealedSegment| fs::metadata(&segment.path).ok()?.modified().ok();
    let chains = chains(spool).unwrap_or_default().into_iter();
    let oldest = chains.filter_map(first).filter_map(sealed).min();
    oldest.and_then(|oldest| now.duration_since(oldest).ok()).unwrap_or_default()
}

/// When the oldest segment was begun that is there; of one whose header does not hold, when it was written last.
pub fn oldest(spool: &Path) -> Option<Micros> {
    let first = |dir: ChainDir| dir.segments().ok()?.into_iter().next();
    let written = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    let begun = |path: PathBuf| match SegmentReader::open(&path) {
        Ok(reader) => Some(reader.header().begun),
        Err(_) => written(&path).map(Micros::of),
    };
    chains(spool).ok()?.into_iter().filter_map(first).filter_map(begun).min()
}

impl ChainDir {
    /// The folder of `chain` in `spool`.
    pub fn of(spool: &Path, chain: ChainId) -> Self {
        Self { chain, path: spool.join(chain.to_string()) }
    }

    fn files(&self) -> Result<Vec<PathBuf>, SpoolError> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(at(&self.path)(error)),
        };
        let mut files = Vec::new();
        for entry in entries {
            files.push(entry.map_err(at(&self.path))?.path());
        }
        // Numbers have leading zeros: the order of the names is that of the rows.
        files.sort();
        Ok(files)
    }

    /// The sealed segments in the order of their rows.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn sealed(&self) -> Result<Vec<SealedSegment>, SpoolError> {
        let files = self.files()?.into_iter();
        Ok(files.filter_map(|path| SealedSegment::named(self.chain, path)).collect())
    }

    /// The segments that are written, or were when their process died: one at most but for a bug.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn open_segments(&self) -> Result<Vec<PathBuf>, SpoolError> {
        let mut files = self.files()?;
        files.retain(|path| path.extension().is_some_and(|ending| ending == OPEN));
        Ok(files)
    }

    /// All segments in the order of their rows, that which is written last.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn segments(&self) -> Result<Vec<PathBuf>, SpoolError> {
        let sealed = self.sealed()?.into_iter().map(|segment| segment.path);
        let mut paths: Vec<PathBuf> = sealed.collect();
        paths.extend(self.open_segments()?);
        Ok(paths)
    }

    /// The rows of all segments; of one that is still written, those that are whole. A segment that was shipped
    /// and removed meanwhile is passed over.
    ///
    /// # Errors
    /// A folder that cannot be read; a segment that does not hold is an item.
    pub fn rows(
        &self,
    ) -> Result<impl Iterator<Item = Result<Row, SpoolError>> + use<>, SpoolError> {
        let chain = self.chain;
        // Opened before any is read: what is shipped and removed meanwhile is still read.
        let open = |path: PathBuf| {
            let is_open = path.extension().is_some_and(|ending| ending == OPEN);
            match SegmentReader::open(&path) {
                Err(_) if !path.exists() => None,
                reader => Some((is_open, reader)),
            }
        };
        let segments: Vec<_> = self.segments()?.into_iter().filter_map(open).collect();
        Ok(segments.into_iter().flat_map(move |(is_open, reader)| {
            let (reader, error) = match reader {
                Ok(reader) => (Some(reader), None),
                Err(error) => (None, Some(Err(error))),
            };
            let rows = reader.into_iter().flatten().map(|row| row.map(|stored| stored.row));
            error.into_iter().chain(rows).filter_map(move |row| match row {
                // A row that is being written is not there yet.
                Err(error) if is_open && !error.fault.is_io() => {
                    refuse_damage(error, chain).err().map(Err)
                }
                row => Some(row.map_err(SpoolError::from)),
            })
        }))
    }

    /// Whether there is nothing but locks.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn is_empty(&self) -> Result<bool, SpoolError> {
        let is_lock = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name == OWNER_LOCK || name == SHIP_LOCK)
        };
        Ok(self.files()?.iter().all(is_lock))
    }

    /// Takes the chain over if its process is dead, and seals what that left behind; `None` where it
    /// lives. The folder stays this process's until what is returned is dropped.
    ///
    /// # Errors
    /// [`SpoolError`]; then nothing that could hold a row is lost.
    pub fn try_adopt(&self, now: Micros) -> Result<Option<AdoptedChain>, SpoolError> {
        let path = self.path.join(OWNER_LOCK);
        let lock = match DirLock::try_acquire(&path) {
            Ok(Some(lock)) => lock,
            Ok(None) => return Ok(None),
            // Shipped and removed by another meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&path)(error)),
        };
        let mut recovery = Recovery::default();
        for path in self.open_segments()? {
            recover(&path, self.chain, now, &mut recovery)?;
        }
        Ok(Some(AdoptedChain { dir: self.clone(), recovery, _lock: lock }))
    }
}

impl SealedSegment {
    fn named(chain: ChainId, path: PathBuf) -> Option<Self> {
        let (first, last) = path.file_name()?.to_str()?.strip_suffix(".seg")?.split_once('-')?;
        Some(Self { chain, first: first.parse().ok()?, last: last.parse().ok()?, path })
    }

    /// Reads it from its beginning.
    ///
    /// # Errors
    /// As [`SegmentReader::open`].
    pub fn read(&self) -> Result<SegmentReader, SegmentError> {
        SegmentReader::open(&self.path)
    }
}

#[cfg(test)]
mod tests;
