//! Whose a directory is: an `fcntl` lock on a file in it.
//!
//! The kernel gives the lock back when its process dies, however it dies; on NFS it is the server's. It
//! is the process's: within one process it holds nobody off, and closing any other handle of the file
//! would lose it. What this process holds is therefore also written down here, and its files are not
//! opened again.
//! This file must never wait for a lock.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

/// What this process holds, by folder and name.
static HELD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn held() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct DirLock {
    file: File,
    /// The file's own path, without links.
    path: PathBuf,
}

impl DirLock {
    /// Takes the lock on the file `path`, which is made where it is not there; `None` where another
    /// has it, in this process or another one.
    ///
    /// # Errors
    /// What the operating system says; `NotFound` where there is no such folder.
    pub fn try_acquire(path: &Path) -> io::Result<Option<Self>> {
        let folder = path.parent().unwrap_or(Path::new(".")).canonicalize()?;
        let path = folder.join(path.file_name().unwrap_or_default());
        // Under the mutex until it is decided: the file is not opened a second time meanwhile.
        let mut held = held();
        if held.contains(&path) {
            return Ok(None);
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path)?;
        if !take(&file)? || !is_at(&file, &path)? {
            return Ok(None);
        }
        held.insert(path.clone());
        Ok(Some(Self { file, path }))
    }

    /// Whether the lock is still one on the file that the path names. One that was lost (a server that
    /// restarted, a lease that ran out) is taken again where nobody else has it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn still_holds(&self) -> io::Result<bool> {
        Ok(is_at(&self.file, &self.path)? && take(&self.file)?)
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        held().remove(&self.path);
    }
}

/// Whether this process has the lock now. Asking for what one has is answered at once.
fn take(file: &File) -> io::Result<bool> {
    match fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether `file` is what `path` names: whoever held the lock before may have removed the folder.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(there) => Ok((own.dev(), own.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
