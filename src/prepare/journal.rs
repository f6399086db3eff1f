//! What has been made so far, so that an interrupted run goes on where it stopped.
//!
//! `settings` holds a keyed hash of what shapes an image; `progress.jsonl` gets one line for each
//! image once its file is in place. Both are removed or kept by `prepare` alone.
//! This file must never hold a label: labels may change between runs, images do not.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::image::Processed;
use super::{PrepareError, PrepareOptions, Row};
use crate::domain::Digest;

const SETTINGS: &str = "settings";
const PROGRESS: &str = "progress.jsonl";
const LOCK: &str = ".lock";

/// The journal of one destination.
pub(super) struct Journal {
    destination: PathBuf,
    done: HashMap<Digest, Processed>,
    progress: Mutex<File>,
    /// Held until the run ends, however it ends.
    _lock: File,
}

impl Journal {
    /// Opens or begins the destination.
    pub(super) fn open(options: &PrepareOptions) -> Result<Self, PrepareError> {
        let destination = options.destination.clone();
        let failed = || PrepareError::destination("folder");
        std::fs::create_dir_all(destination.join("images")).map_err(failed())?;
        let lock = File::create(destination.join(LOCK)).map_err(failed())?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PrepareError::Busy),
            Err(TryLockError::Error(error)) => return Err(failed()(error)),
        }
        check_settings(&destination, &settings(options))?;
        let done = recorded(&destination).into_iter().map(|made| (made.source, made)).collect();
        let progress = OpenOptions::new()
            .create(true)
            .append(true)
            .open(destination.join(PROGRESS))
            .map_err(PrepareError::destination(PROGRESS))?;
        Ok(Self { destination, done, progress: Mutex::new(progress), _lock: lock })
    }

    /// What an earlier run made of this source, if the file is still what it wrote.
    pub(super) fn done(&self, source: &Digest) -> Option<Processed> {
        let made = self.done.get(source)?;
        let file = File::open(self.destination.join(&made.image)).ok()?;
        (Digest::of_reader(file).ok()? == made.sha256).then(|| made.clone())
    }

    /// Puts the image in its place, then says so: a line without its image cannot be.
    pub(super) fn record(&self, processed: &Processed, png: &[u8]) -> Result<(), PrepareError> {
        replace(&self.destination.join(&processed.image), png, "image")?;
        self.note(processed)
    }

    fn note(&self, processed: &Processed) -> Result<(), PrepareError> {
        let failed = PrepareError::destination(PROGRESS);
        let mut line = serde_json::to_vec(processed).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        let mut progress = self.progress.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        progress.write_all(&line).map_err(failed)
    }

    /// The images of this and earlier runs that are not in `rows`, as far as they are what was
    /// written: anything else is somebody else's. They are noted, so that they are known after a
    /// crash too, when the manifest that named them has been replaced.
    pub(super) fn stale(&self, rows: &[Row]) -> Result<Vec<PathBuf>, PrepareError> {
        let kept: HashSet<&str> = rows.iter().map(|row| row.image.as_str()).collect();
        let made: BTreeMap<String, Processed> = recorded(&self.destination)
            .into_iter()
            .filter(|made| !kept.contains(made.image.as_str()) && is_own(&made.image))
            .map(|made| (made.image.clone(), made))
            .collect();
        let mut stale = Vec::new();
        for made in made.values() {
            let path = self.destination.join(&made.image);
            let digest = File::open(&path).ok().and_then(|file| Digest::of_reader(file).ok());
            if digest == Some(made.sha256) {
                self.note(made)?;
                stale.push(path);
            }
        }
        Ok(stale)
    }

    /// Removes images that the manifest no longer names.
    pub(super) fn remove(&self, stale: &[PathBuf]) -> Result<(), PrepareError> {
        stale.iter().try_for_each(std::fs::remove_file).map_err(PrepareError::destination("image"))
    }

    /// The manifest holds everything now.
    pub(super) fn close(&self) -> Result<(), PrepareError> {
        std::fs::remove_file(self.destination.join(PROGRESS))
            .map_err(PrepareError::destination(PROGRESS))
    }
}

/// Whether a recorded path is one that this program gives: a list may have been edited.
fn is_own(image: &str) -> bool {
    let name = image.strip_prefix("images/").and_then(|name| name.strip_suffix(".png"));
    name.is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Writes `bytes` beside `path` and moves them into place, so that no half file is ever seen.
pub(super) fn replace(path: &Path, bytes: &[u8], what: &'static str) -> Result<(), PrepareError> {
    let beside = path.with_extension("part");
    std::fs::write(&beside, bytes)
        .and_then(|()| std::fs::rename(&beside, path))
        .map_err(PrepareError::destination(what))
}

/// A keyed hash of all that shapes an image.
fn settings(options: &PrepareOptions) -> String {
    let expects = format!("{:?}", options.expects);
    let shape = (&options.recipe, options.max_side, &options.limits, expects);
    let text = serde_json::to_string(&shape).unwrap_or_default();
    options.key.text("settings", text.as_bytes())
}

fn check_settings(destination: &Path, settings: &str) -> Result<(), PrepareError> {
    let path = destination.join(SETTINGS);
    match std::fs::read_to_string(&path) {
        Ok(found) if found == settings => Ok(()),
        Ok(_) => Err(PrepareError::OtherSettings),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            replace(&path, settings.as_bytes(), SETTINGS)
        }
        Err(error) => Err(PrepareError::destination(SETTINGS)(error)),
    }
}

/// What the manifest and the journal of earlier runs hold; a line cut off by a crash is passed
/// over, and its image made again.
fn recorded(destination: &Path) -> Vec<Processed> {
    let lines = |name: &str| {
        let file = File::open(destination.join(name)).ok();
        file.into_iter().flat_map(|file| BufReader::new(file).lines().map_while(Result::ok))
    };
    let rows = lines(super::manifest::MANIFEST)
        .filter_map(|line| serde_json::from_str::<Row>(&line).ok().map(Row::into_processed));
    let made = lines(PROGRESS).filter_map(|line| serde_json::from_str::<Processed>(&line).ok());
    rows.chain(made).collect()
}
