//! Objects as files of a folder: the embedded default.
//!
//! An object is written beside its place, synchronised and then linked to its name, which fails if the
//! name is taken; so it is there whole or not at all, and a crash leaves no more than a file whose name
//! begins with a dot.
//! This file must never open an object for writing.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Keep, ObjectInfo, ObjectKey, ObjectStore, PAGE, StoreError, Written};
use crate::domain::Digest;

/// How the names of files begin that are being written.
const UNFINISHED: &str = ".partial-";
/// A file that is being written for so long is one whose writer was killed.
const UNFINISHED_FOR: Duration = Duration::from_secs(3600);

/// A folder of objects.
#[derive(Debug, Clone)]
pub struct LocalStore {
    directory: PathBuf,
    /// When this process looked for unfinished files, by folder.
    looked: Arc<Mutex<HashMap<PathBuf, Instant>>>,
}

impl LocalStore {
    /// The store in `directory`, which is made when the first object is written.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, looked: Arc::default() }
    }

    /// Does `work` where blocking is allowed.
    fn blocking<T: Send + 'static>(
        &self,
        key: &str,
        work: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let (store, key) = (self.clone(), key.to_owned());
        let done = tokio::task::spawn_blocking(move || work(&store));
        async move {
            done.await.unwrap_or_else(|lost| {
                Err(StoreError::Unavailable { key, reason: lost.to_string() })
            })
        }
        .boxed()
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.directory.join(key.as_str())
    }

    /// Whether `folder` was not looked at for so long that a file in it may be unfinished by now: a folder may hold
    /// very many files, and each is written by a call of its own.
    fn is_to_be_looked_at(&self, folder: &Path) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        looked.retain(|_, at| at.elapsed() < UNFINISHED_FOR);
        let is_due = !looked.contains_key(folder);
        if is_due {
            looked.insert(folder.to_owned(), Instant::now());
        }
        is_due
    }

    fn write(&self, key: &ObjectKey, content: &[u8]) -> Result<Written, StoreError> {
        let path = self.path(key);
        let fail = |error| failed(&path, error);
        let folder = path.parent().unwrap_or(&self.directory);
        make_folders(folder).map_err(fail)?;
        if self.is_to_be_looked_at(folder) {
            remove_unfinished(folder);
        }
        let mut file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(fail)?;
        file.write_all(content).map_err(fail)?;
        file.as_file().sync_all().map_err(fail)?;
        match file.persist_noclobber(&path) {
            Ok(_) => {
                sync_folder(folder).map_err(fail)?;
                Ok(Written::New)
            }
            Err(taken) if taken.error.kind() == ErrorKind::AlreadyExists => {
                let file = File::open(&path).map_err(fail)?;
                let found = Digest::of_reader(&file).map_err(fail)?;
                let wanted = Digest::of(content);
                if found != wanted {
                    return Err(StoreError::Different { key: shown(&path), wanted, found });
                }
                // Its writer may have crashed before it was durable.
                file.sync_all().and_then(|()| sync_folder(folder)).map_err(fail)?;
                Ok(Written::Before)
            }
            Err(failure) => Err(fail(failure.error)),
        }
    }

    fn read(&self, key: &ObjectKey, limit: u64) -> Result<Bytes, StoreError> {
        let path = self.path(key);
        let fail = |error| failed(&path, error);
        let file = File::open(&path).map_err(fail)?;
        let bytes = file.metadata().map_err(fail)?.len();
        if bytes > limit {
            return Err(StoreError::TooLarge { key: shown(&path), bytes, limit });
        }
        let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
        file.take(limit).read_to_end(&mut content).map_err(fail)?;
        Ok(content.into())
    }

    fn page(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Vec<ObjectInfo>, StoreError> {
        // Files of the deepest folder that the prefix names, in the order of the whole keys.
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let within = |key: &str| {
            (key.starts_with(prefix) || prefix.starts_with(key))
                && after.is_none_or(|after| key > after.as_str() || after.as_str().starts_with(key))
        };
        let mut found = Vec::new();
        let start = self.directory.join(folder);
        let walk = walkdir::WalkDir::new(&start).into_iter().filter_entry(|entry| {
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            entry.depth() == 0
                || (!hidden && self.key_of(entry.path()).is_some_and(|key| within(&key)))
        });
        for entry in walk {
            let entry = match entry {
                Ok(entry) => entry,
                // A folder that nobody has written to yet, or a file that went away meanwhile.
                Err(error) if is_missing(&error) => continue,
                Err(error) => return Err(failed(&start, error.into())),
            };
            let key = self.key_of(entry.path()).and_then(|key| ObjectKey::listed(&key));
            let Some(key) = key.filter(|_| entry.file_type().is_file()) else { continue };
            if !key.as_str().starts_with(prefix) || after.is_some_and(|after| &key <= after) {
                continue;
            }
            let bytes = match entry.metadata() {
                Ok(metadata) => metadata.len(),
                Err(error) if is_missing(&error) => continue,
                Err(error) => return Err(failed(entry.path(), error.into())),
            };
            found.push(ObjectInfo { key, bytes, sha256: None });
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found.truncate(PAGE);
        Ok(found)
    }

    /// The path below the folder, as a key is written.
    fn key_of(&self, path: &Path) -> Option<String> {
        Some(path.strip_prefix(&self.directory).ok()?.to_str()?.to_owned())
    }
}

impl ObjectStore for LocalStore {
    fn put_new<'a>(
        &'a self,
        key: &'a ObjectKey,
        content: Bytes,
        _: Keep,
    ) -> BoxFuture<'a, Result<Written, StoreError>> {
        let name = key.clone();
        self.blocking(key.as_str(), move |store| store.write(&name, &content))
    }

    fn get<'a>(
        &'a self,
        key: &'a ObjectKey,
        limit: u64,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        let name = key.clone();
        self.blocking(key.as_str(), move |store| store.read(&name, limit))
    }

    fn head<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectInfo>, StoreError>> {
        let name = key.clone();
        self.blocking(key.as_str(), move |store| {
            let path = store.path(&name);
            match fs::metadata(&path) {
                Ok(file) => Ok(Some(ObjectInfo { key: name, bytes: file.len(), sha256: None })),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(failed(&path, error)),
            }
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a ObjectKey>,
    ) -> BoxFuture<'a, Result<Vec<ObjectInfo>, StoreError>> {
        let (wanted, after) = (prefix.to_owned(), after.cloned());
        self.blocking(prefix, move |store| store.page(&wanted, after.as_ref()))
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<(), StoreError>> {
        let name = key.clone();
        self.blocking(key.as_str(), move |store| {
            let path = store.path(&name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(&path, error)),
                _ => Ok(()),
            }
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.blocking("", |store| {
            let fail = |error| failed(&store.directory, error);
            make_folders(&store.directory).map_err(fail)?;
            tempfile::Builder::new()
                .prefix(UNFINISHED)
                .tempfile_in(&store.directory)
                .map_err(fail)?;
            Ok(())
        })
    }

    fn place(&self) -> String {
        self.directory.display().to_string()
    }
}

/// Removes what killed writers left in `folder`. What cannot be removed is in nobody's way.
fn remove_unfinished(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let unfinished = entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes());
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if unfinished && age().is_some_and(|age| age >= UNFINISHED_FOR) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn failed(path: &Path, error: io::Error) -> StoreError {
    let key = shown(path);
    match error.kind() {
        ErrorKind::NotFound => StoreError::NotFound { key },
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            StoreError::Denied { key, reason: error.to_string() }
        }
        _ => StoreError::Io { key, error },
    }
}

fn is_missing(error: &walkdir::Error) -> bool {
    error.io_error().is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Makes what is missing of a path; each new name is durable before anything is put below it.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(Path::new(""));
    make_folders(parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => sync_folder(if parent.as_os_str().is_empty() { Path::new(".") } else { parent }),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
