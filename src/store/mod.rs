//! Objects that are written once: a folder on this machine, or a bucket that speaks Amazon S3.
//!
//! A caller hands over a key and bytes and has them back as they were. Both stores keep the promises
//! of [`ObjectStore`]; one conformance suite holds them to it.
//! This room must never replace an object, and never know what is in one.

mod aws;
mod error;
mod key;
mod local;
mod s3;
mod s3_error;
mod s3_settings;

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::domain::Digest;

pub use error::StoreError;
pub use key::{KeyError, ObjectKey};
pub use local::LocalStore;
pub use s3::S3Store;
pub use s3_settings::{Lock, LockMode, S3Settings, S3Timing};

/// Objects of one page of [`ObjectStore::list`] at most.
pub const PAGE: usize = 1000;

/// How long an object is meant to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// For good: the retention that is configured is put on it.
    ForGood,
    /// Until it is deleted: no retention.
    UntilDeleted,
}

/// What became of an object that was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was not there and is now.
    New,
    /// The very same bytes were there already: an earlier attempt, or another writer.
    Before,
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: ObjectKey,
    /// Its length in bytes.
    pub bytes: u64,
    /// The SHA-256 of its content, where the store keeps one and was asked by [`ObjectStore::head`].
    pub sha256: Option<Digest>,
}

/// A place for objects.
///
/// Every call ends within the time and after the attempts that the settings name. A call that was cut
/// may or may not have had its effect; calling again is always right.
pub trait ObjectStore: Debug + Send + Sync + 'static {
    /// Writes an object that is not there yet. Once this returns, the object is durable and its content
    /// was compared by SHA-256.
    ///
    /// # Errors
    /// [`StoreError::Different`] if other bytes are there under this key; they stay as they are. Else
    /// what kept it from being written.
    fn put_new<'a>(
        &'a self,
        key: &'a ObjectKey,
        content: Bytes,
        keep: Keep,
    ) -> BoxFuture<'a, Result<Written, StoreError>>;

    /// The bytes of an object.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::TooLarge`] if it is longer than `limit` bytes, or what
    /// kept it from being read.
    fn get<'a>(
        &'a self,
        key: &'a ObjectKey,
        limit: u64,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>>;

    /// What is known of an object; `None` if it is not there.
    ///
    /// # Errors
    /// What kept it from being looked at.
    fn head<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectInfo>, StoreError>>;

    /// Objects whose keys begin with `prefix` and come after `after`: [`PAGE`] of them, or fewer if there
    /// are no more. The order is the store's own: that of the keys' bytes in a folder and in Amazon S3,
    /// that of folders in others. The last key of a page leads to the next one.
    ///
    /// # Errors
    /// What kept them from being listed.
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a ObjectKey>,
    ) -> BoxFuture<'a, Result<Vec<ObjectInfo>, StoreError>>;

    /// Takes an object away, if it is there.
    ///
    /// # Errors
    /// [`StoreError::Denied`] where the store holds on to it, or what kept it from being deleted.
    fn delete<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Looks whether the store is there, lets us in and can do what is configured.
    ///
    /// # Errors
    /// What is wrong.
    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Where it is, for people.
    fn place(&self) -> String;
}

/// Every object below `prefix`, page by page, then in the order of the keys' bytes.
///
/// # Errors
/// What kept a page from being listed.
pub async fn list_all(
    store: &dyn ObjectStore,
    prefix: &str,
) -> Result<Vec<ObjectInfo>, StoreError> {
    let mut all: Vec<ObjectInfo> = Vec::new();
    loop {
        let page = store.list(prefix, all.last().map(|last| &last.key)).await?;
        let more = page.len() >= PAGE;
        all.extend(page);
        if !more {
            all.sort_by(|a, b| a.key.cmp(&b.key));
            return Ok(all);
        }
    }
}

/// Which store, and what it needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreSettings {
    /// A folder.
    Local {
        /// The folder; it is made when the first object is written.
        directory: PathBuf,
    },
    /// A bucket.
    S3(Box<S3Settings>),
}

/// Opens a store. Nothing is asked of it yet: [`ObjectStore::check`] does that.
///
/// # Errors
/// Settings that make no sense.
pub async fn open(settings: StoreSettings) -> Result<Arc<dyn ObjectStore>, StoreError> {
    Ok(match settings {
        StoreSettings::Local { directory } => Arc::new(LocalStore::new(directory)),
        StoreSettings::S3(settings) => Arc::new(S3Store::open(*settings).await?),
    })
}
