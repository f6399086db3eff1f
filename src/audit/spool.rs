//! The spool directory: `<spool>/<chain>/`, one folder for each run of a process, with its segments.
//!
//! Sealed segments are listed in their order; what a dead process left behind is adopted: its torn tail
//! is cut off and its last segment sealed.
//! This file must never touch a folder whose owner lives, beyond reading it.

use std::fs::{self, File};
use std::io::{self, BufReader, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use super::lock::DirLock;
use super::record::{ChainId, Row};
use super::segment::{Seal, SegmentError, SegmentReader};
use super::segment_writer::{SegmentWriter, sync_folder};
use super::time::Micros;

/// The file on which a chain's owner holds a lock.
pub const OWNER_LOCK: &str = "lock";
/// The file on which who ships a chain holds a lock.
pub const SHIP_LOCK: &str = "ship.lock";
const OPEN: &str = "open";
const SEALED: &str = "seg";
/// What was cut off a segment is kept under this ending, in case it is wanted.
const CUT: &str = "cut";

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

/// What was done to what a dead process had left behind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Segments that were sealed.
    pub sealed: usize,
    /// Bytes of torn tails that were cut off.
    pub cut_bytes: u64,
    /// Where those of them are kept that were not zeros.
    pub kept: Vec<PathBuf>,
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

/// The rows of a spool, chain by chain; of a segment that is still written, those that are whole. A
/// segment that was shipped and removed meanwhile is passed over.
///
/// # Errors
/// A folder that cannot be read; a sealed segment that does not hold is an item.
pub fn rows_of(spool: &Path) -> Result<impl Iterator<Item = Result<Row, SpoolError>>, SpoolError> {
    let mut segments = Vec::new();
    for dir in chains(spool)? {
        segments.extend(dir.segments()?);
    }
    // Opened before any is read: what is shipped and removed meanwhile is still read.
    let open = |path: PathBuf| {
        let is_open = path.extension().is_some_and(|ending| ending == OPEN);
        match SegmentReader::open(&path) {
            Ok(reader) => Some((is_open, Ok(reader))),
            Err(_) if is_open || !path.exists() => None,
            Err(error) => Some((is_open, Err(error))),
        }
    };
    let segments: Vec<_> = segments.into_iter().filter_map(open).collect();
    Ok(segments.into_iter().flat_map(|(is_open, reader)| {
        let (reader, error) = match reader {
            Ok(reader) => (Some(reader), None),
            Err(error) => (None, Some(Err(error.into()))),
        };
        let rows = reader.into_iter().flatten().map(|row| Ok(row?.row));
        // A row that is being written is not there yet.
        error.into_iter().chain(rows.filter(move |row| !is_open || row.is_ok()))
    }))
}

/// When the oldest segment was begun that is there.
pub fn oldest(spool: &Path) -> Option<Micros> {
    let first = |dir: ChainDir| dir.segments().ok()?.into_iter().next();
    let begun = |path: PathBuf| SegmentReader::open(&path).ok().map(|it| it.header().begun);
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
            recover(&path, now, &mut recovery)?;
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

/// Cuts the torn tail of a segment off and seals it; one without a row is removed.
fn recover(path: &Path, now: Micros, recovery: &mut Recovery) -> Result<(), SpoolError> {
    let length = fs::metadata(path).map_err(at(path))?.len();
    let mut reader = match SegmentReader::open(path) {
        Ok(reader) => reader,
        Err(error) if error.fault.is_io() => return Err(error.into()),
        Err(_) => {
            // Without a header there is no row: it is durable before the first of them.
            keep_tail(path, 0, recovery)?;
            recovery.cut_bytes += length;
            fs::remove_file(path).map_err(at(path))?;
            return Ok(());
        }
    };
    for row in reader.by_ref() {
        match row {
            Ok(_) => {}
            Err(error) if error.fault.is_io() => return Err(error.into()),
            // Here the tail begins.
            Err(_) => break,
        }
    }
    let good = reader.good_bytes();
    if good < length {
        keep_tail(path, good, recovery)?;
        recovery.cut_bytes += length - good;
    }
    if reader.tree().is_empty() {
        fs::remove_file(path).map_err(at(path))?;
        return Ok(());
    }
    let seal = Seal {
        last: reader.next_seq() - 1,
        rows: reader.tree().len(),
        last_hash: reader.last_hash(),
        merkle_root: reader.tree().root(),
        sealed: now,
        recovered: true,
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    if reader.seal().is_some() && good == length {
        // The process died between the seal and the name.
        let sealed = folder.join(sealed_name(reader.header().first, seal.last));
        fs::rename(path, &sealed).map_err(at(path))?;
        sync_folder(folder).map_err(at(folder))?;
    } else {
        let header = reader.header().clone();
        // A seal that is followed by something is written anew.
        let rows_end = reader.rows_end();
        let writer = SegmentWriter::resume(path, header, rows_end).map_err(at(path));
        writer?.seal(&seal).map_err(at(path))?;
    }
    recovery.sealed += 1;
    Ok(())
}

/// Keeps what stands behind the good part of a segment, unless it is zeros: should it be more than what
/// a crash had torn, a person can look at it.
fn keep_tail(path: &Path, good: u64, recovery: &mut Recovery) -> Result<(), SpoolError> {
    let mut file = File::open(path).map_err(at(path))?;
    file.seek(io::SeekFrom::Start(good)).map_err(at(path))?;
    let zeros = BufReader::new(&file).bytes().all(|byte| byte.is_ok_and(|byte| byte == 0));
    if zeros {
        return Ok(());
    }
    let kept = path.with_extension(CUT);
    file.seek(io::SeekFrom::Start(good)).map_err(at(path))?;
    let mut copy = File::create(&kept).map_err(at(&kept))?;
    io::copy(&mut file, &mut copy).map_err(at(&kept))?;
    copy.sync_all().map_err(at(&kept))?;
    recovery.kept.push(kept);
    Ok(())
}

#[cfg(test)]
mod tests;
