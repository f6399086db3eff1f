//! Regions of POSIX shared memory that callers on the same machine register: tensors pass through
//! them instead of through messages.
//!
//! A region is a name, a file under `/dev/shm` and a part of it. It is read and written with
//! positioned reads and writes, not mapped: the peer may shorten the file at any time, which a
//! mapping answers with a signal and a read with an error. A copy is the price.
//! This file must never open anything outside its folder, follow a link, or make a file longer.

mod error;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rustix::fs::OFlags;

pub use error::SharedMemoryError;

/// Where Linux keeps POSIX shared memory.
pub const FOLDER: &str = "/dev/shm";
/// Regions that may be registered at a time.
pub const MAX_REGIONS: usize = 256;

/// Bytes of a name or key.
pub const MAX_NAME_BYTES: usize = 255;

/// A registered region.
#[derive(Debug, Clone)]
pub struct Region {
    /// The caller's name for it.
    pub name: String,
    /// The object's key, as given to `shm_open`.
    pub key: String,
    /// Where it begins in the object.
    pub offset: u64,
    /// Its bytes.
    pub byte_size: u64,
    file: Arc<File>,
}

/// A part of a region, as a tensor's parameters name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionPart {
    /// The region's name.
    pub region: String,
    /// Where the part begins in the region.
    pub offset: u64,
    /// Its bytes.
    pub byte_size: u64,
}

/// The regions of one service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SharedMemory(Arc<Inner>);

/// Who may register regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callers {
    /// Nobody.
    None,
    /// Those on this machine.
    Local,
    /// All.
    All,
}

#[derive(Debug)]
struct Inner {
    callers: Callers,
    folder: PathBuf,
    regions: Mutex<BTreeMap<String, Region>>,
}

impl SharedMemory {
    /// No regions yet; with [`Callers::None`] there never are any.
    pub fn new(callers: Callers) -> Self {
        Self::in_folder(callers, PathBuf::from(FOLDER))
    }

    fn in_folder(callers: Callers, folder: PathBuf) -> Self {
        Self(Arc::new(Inner { callers, folder, regions: Mutex::default() }))
    }

    /// Whether regions may be registered.
    pub fn is_allowed(&self) -> bool {
        self.0.callers != Callers::None
    }

    /// Whether regions may be registered by callers on this machine only.
    pub fn is_for_local_callers(&self) -> bool {
        self.0.callers == Callers::Local
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Region>> {
        self.0.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers bytes `offset..offset + byte_size` of the object `key` under `name`. A leading
    /// slash of the key means the same object, as for `shm_open`.
    ///
    /// # Errors
    /// [`SharedMemoryError`]; nothing was registered then.
    pub fn register(
        &self,
        name: &str,
        key: &str,
        offset: u64,
        byte_size: u64,
    ) -> Result<(), SharedMemoryError> {
        if !self.is_allowed() {
            return Err(SharedMemoryError::Off);
        }
        checked("region's name", name, name, "")?;
        let file_name = key.strip_prefix('/').unwrap_or(key);
        checked("shared memory key", key, file_name, " after a leading one")?;
        if byte_size == 0 {
            return Err(SharedMemoryError::Empty);
        }
        let failed = |error| SharedMemoryError::Open { key: key.to_owned(), error };
        // Without NONBLOCK a pipe of that name would hold the thread until somebody writes to it.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(self.0.folder.join(file_name))
            .map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(SharedMemoryError::NotAnObject(key.to_owned()));
        }
        let (name, key) = (name.to_owned(), key.to_owned());
        let region = Region { name, key, offset, byte_size, file: Arc::new(file) };
        region.check_object()?;
        let mut regions = self.lock();
        if regions.contains_key(&region.name) {
            return Err(SharedMemoryError::Taken(region.name));
        }
        if regions.len() >= MAX_REGIONS {
            return Err(SharedMemoryError::TooMany);
        }
        regions.insert(region.name.clone(), region);
        Ok(())
    }

    /// Forgets a region, or all with an empty name; one that is not there is forgotten already.
    pub fn unregister(&self, name: &str) {
        let mut regions = self.lock();
        if name.is_empty() {
            regions.clear();
        } else {
            regions.remove(name);
        }
    }

    /// The regions in the order of their names; with a name only that one.
    ///
    /// # Errors
    /// [`SharedMemoryError::Unknown`].
    pub fn regions(&self, name: &str) -> Result<Vec<Region>, SharedMemoryError> {
        if name.is_empty() {
            return Ok(self.lock().values().cloned().collect());
        }
        self.region(name).map(|region| vec![region])
    }

    fn region(&self, name: &str) -> Result<Region, SharedMemoryError> {
        let shown = || name.chars().take(64).flat_map(char::escape_debug).collect();
        self.lock().get(name).cloned().ok_or_else(|| SharedMemoryError::Unknown(shown()))
    }

    /// Whether a part lies inside its region.
    ///
    /// # Errors
    /// [`SharedMemoryError::Unknown`], [`SharedMemoryError::BeyondRegion`] or
    /// [`SharedMemoryError::BeyondObject`].
    pub fn check(&self, part: &RegionPart) -> Result<(), SharedMemoryError> {
        let region = self.region(&part.region)?;
        region.place(part)?;
        region.check_object()
    }

    /// The bytes of a part. Blocks for as long as the copy takes.
    ///
    /// # Errors
    /// As [`SharedMemory::check`], and [`SharedMemoryError::Io`].
    pub fn read(&self, part: &RegionPart) -> Result<Bytes, SharedMemoryError> {
        let region = self.region(&part.region)?;
        let at = region.place(part)?;
        // Before memory is taken: a part is not longer than an object that is really there.
        region.check_object()?;
        let mut bytes = vec![0; usize::try_from(part.byte_size).unwrap_or(usize::MAX)];
        region.file.read_exact_at(&mut bytes, at).map_err(|error| region.failed(error))?;
        Ok(bytes.into())
    }

    /// Writes `bytes` to the beginning of a part. Blocks for as long as the copy takes.
    ///
    /// # Errors
    /// As [`SharedMemory::check`], and [`SharedMemoryError::Io`].
    pub fn write(&self, part: &RegionPart, bytes: &[u8]) -> Result<(), SharedMemoryError> {
        let region = self.region(&part.region)?;
        let at = region.place(part)?;
        // A write beyond the end would make the object longer.
        region.check_object()?;
        region.file.write_all_at(bytes, at).map_err(|error| region.failed(error))
    }
}

impl Region {
    /// Where a part begins in the object.
    fn place(&self, part: &RegionPart) -> Result<u64, SharedMemoryError> {
        let end = part.offset.checked_add(part.byte_size);
        if end.is_none_or(|end| end > self.byte_size) {
            return Err(SharedMemoryError::BeyondRegion {
                name: self.name.clone(),
                offset: part.offset,
                byte_size: part.byte_size,
                length: self.byte_size,
            });
        }
        Ok(self.offset + part.offset)
    }

    /// The object may have been shortened since the region was registered.
    fn check_object(&self) -> Result<(), SharedMemoryError> {
        let length = self.file.metadata().map_err(|error| self.failed(error))?.len();
        let end = u128::from(self.offset) + u128::from(self.byte_size);
        if end > u128::from(length) {
            return Err(SharedMemoryError::BeyondObject {
                name: self.name.clone(),
                key: self.key.clone(),
                offset: self.offset,
                end,
                length,
            });
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> SharedMemoryError {
        SharedMemoryError::Io { name: self.name.clone(), error }
    }
}

fn checked(
    what: &'static str,
    shown: &str,
    text: &str,
    hint: &'static str,
) -> Result<(), SharedMemoryError> {
    let good = !text.is_empty()
        && text.len() <= MAX_NAME_BYTES
        && text != "."
        && text != ".."
        && text.chars().all(|c| c.is_ascii_graphic() && c != '/');
    if good {
        return Ok(());
    }
    Err(SharedMemoryError::Name { what, text: shown.chars().take(64).collect(), hint })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(region: &str, offset: u64, byte_size: u64) -> RegionPart {
        RegionPart { region: region.to_owned(), offset, byte_size }
    }

    fn memory() -> (tempfile::TempDir, SharedMemory) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("object"), [7_u8; 100]).unwrap();
        let memory = SharedMemory::in_folder(Callers::Local, folder.path().to_owned());
        (folder, memory)
    }

    #[test]
    fn what_is_written_stands_in_the_object_and_is_read_again() {
        let (folder, memory) = memory();
        memory.register("r", "/object", 10, 20).unwrap();
        memory.write(&part("r", 4, 6), &[1, 2, 3]).unwrap();
        assert_eq!(memory.read(&part("r", 3, 5)).unwrap(), [7, 1, 2, 3, 7].as_slice());
        let object = std::fs::read(folder.path().join("object")).unwrap();
        assert_eq!((object.len(), &object[14..17]), (100, [1, 2, 3].as_slice()));
        assert!(matches!(memory.register("r", "object", 0, 1), Err(SharedMemoryError::Taken(_))));
        memory.unregister("r");
        assert!(matches!(memory.read(&part("r", 0, 1)), Err(SharedMemoryError::Unknown(_))));
    }

    #[test]
    fn nothing_outside_the_folder_the_object_or_the_region_is_reached() {
        let (folder, memory) = memory();
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        for key in [
            "",
            "/",
            ".",
            "..",
            "../object",
            "/../object",
            "a/b",
            "//object",
            "link",
            "folder",
            "o\0",
        ] {
            assert!(memory.register("r", key, 0, 1).is_err(), "{key:?}");
        }
        for (offset, byte_size) in [(0, 101), (100, 1), (u64::MAX, 2), (1, u64::MAX), (0, 0)] {
            assert!(memory.register("r", "object", offset, byte_size).is_err());
        }
        memory.register("r", "object", 50, 50).unwrap();
        for (offset, byte_size) in [(0, 51), (50, 1), (u64::MAX, 2)] {
            let part = part("r", offset, byte_size);
            assert!(memory.read(&part).is_err());
            assert!(memory.write(&part, b"x").is_err());
        }
        // The peer shortens the object: an error, and it stays as short.
        let object = folder.path().join("object");
        File::options().write(true).open(&object).unwrap().set_len(60).unwrap();
        assert!(matches!(
            memory.read(&part("r", 0, 20)),
            Err(SharedMemoryError::BeyondObject { length: 60, .. })
        ));
        assert!(memory.write(&part("r", 0, 20), b"x").is_err());
        assert_eq!(std::fs::metadata(&object).unwrap().len(), 60);
    }

    #[test]
    fn what_is_off_stays_off() {
        let error = SharedMemory::new(Callers::None).register("r", "object", 0, 1).unwrap_err();
        assert!(error.to_string().contains("server.system_shared_memory"), "{error}");
    }
}
