//! `[store]`: where objects are kept for good.
//!
//! The comments below are the reference, as everywhere in the tree. Credentials of a bucket are never
//! here: they come by the standard chain.
//! This file must never hold a secret.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::non_zero_u32;
use crate::store::{Lock, LockMode, S3Settings, S3Timing, StoreSettings};

/// Where objects are kept for good: the audit record's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// `local` = a folder of this machine, `s3` = a bucket of Amazon S3 or of a store that speaks its
    /// protocol.
    pub kind: StoreKind,
    /// With `local`, the folder.
    pub directory: PathBuf,
    /// With `s3`, the bucket. Credentials come by the standard chain: environment, shared files, web
    /// identity, the container's or the instance's role.
    pub bucket: String,
    /// With `s3`, what every key in the bucket begins with, as in `hospital-a`.
    pub prefix: String,
    /// With `s3`, the region. Empty: by the standard chain, as in `AWS_REGION`.
    pub region: String,
    /// With `s3`, the address of another store than Amazon's, as in `https://s3.example`.
    pub endpoint: String,
    /// With `s3`, puts the bucket's name into the path rather than into the host's name; most other
    /// stores need it.
    pub path_style: bool,
    /// With `s3`, the key of KMS that encrypts what is written: id, ARN or alias. Empty: as the bucket
    /// has it. A store that passes it over is not used.
    pub kms_key: String,
    /// With `s3`, locks what is kept for good against deletion: `off` = as the bucket has it,
    /// `governance` = who has the permission may lift the lock, `compliance` = nobody may. The bucket
    /// must have Object Lock.
    pub object_lock: ObjectLockConfig,
    /// Days that an object is locked for.
    pub object_lock_days: u32,
    /// How long connecting to the store may take.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub connect_timeout: Duration,
    /// How long one attempt of a call may take.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub attempt_timeout: Duration,
    /// How long a call may take with all its attempts.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// Attempts of a call.
    pub attempts: NonZeroU32,
    /// The wait before the second attempt; it doubles with each further one and is jittered.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub backoff: Duration,
}

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// A folder.
    Local,
    /// A bucket.
    S3,
}

/// Whether and how objects are locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ObjectLockConfig {
    /// As the bucket has it.
    Off,
    /// Who has the permission may lift the lock.
    Governance,
    /// Nobody may.
    Compliance,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            kind: StoreKind::Local,
            directory: PathBuf::from("data/store"),
            bucket: String::new(),
            prefix: String::new(),
            region: String::new(),
            endpoint: String::new(),
            path_style: false,
            kms_key: String::new(),
            object_lock: ObjectLockConfig::Off,
            object_lock_days: 0,
            connect_timeout: Duration::from_secs(5),
            attempt_timeout: Duration::from_secs(30),
            timeout: Duration::from_secs(120),
            attempts: non_zero_u32(5),
            backoff: Duration::from_millis(200),
        }
    }
}

impl StoreConfig {
    /// What the store needs to know.
    pub fn settings(&self) -> StoreSettings {
        let given = |text: &String| (!text.is_empty()).then(|| text.clone());
        let mode = match self.object_lock {
            ObjectLockConfig::Off => None,
            ObjectLockConfig::Governance => Some(LockMode::Governance),
            ObjectLockConfig::Compliance => Some(LockMode::Compliance),
        };
        let lock = mode.zip(NonZeroU32::new(self.object_lock_days));
        match self.kind {
            StoreKind::Local => StoreSettings::Local { directory: self.directory.clone() },
            StoreKind::S3 => StoreSettings::S3(Box::new(S3Settings {
                bucket: self.bucket.clone(),
                prefix: given(&self.prefix).map_or_else(String::new, |prefix| prefix + "/"),
                region: given(&self.region),
                endpoint: given(&self.endpoint),
                path_style: self.path_style,
                kms_key: given(&self.kms_key),
                lock: lock.map(|(mode, days)| Lock { mode, days }),
                timing: S3Timing {
                    connect: self.connect_timeout,
                    attempt: self.attempt_timeout,
                    whole: self.timeout,
                    attempts: self.attempts,
                    backoff: self.backoff,
                },
            })),
        }
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.kind == StoreKind::Local && self.directory.as_os_str().is_empty() {
            problems.push("store.directory is empty; name a folder".to_owned());
        }
        if self.kind == StoreKind::S3 && self.bucket.is_empty() {
            problems.push("store.bucket is empty; store.kind = \"s3\" needs a bucket".to_owned());
        }
        let only_s3 = [
            ("store.bucket", !self.bucket.is_empty()),
            ("store.prefix", !self.prefix.is_empty()),
            ("store.endpoint", !self.endpoint.is_empty()),
            ("store.kms_key", !self.kms_key.is_empty()),
            ("store.object_lock", self.object_lock != ObjectLockConfig::Off),
        ];
        if self.kind == StoreKind::Local {
            let given = only_s3.iter().filter(|(_, given)| *given);
            problems.extend(given.map(|(key, _)| format!("{key} is for store.kind = \"s3\" only")));
        }
        if !self.prefix.is_empty()
            && let Err(error) = self.prefix.parse::<crate::store::ObjectKey>()
        {
            problems.push(format!("store.prefix: {error}"));
        }
        let uri = self.endpoint.parse::<http::Uri>().ok();
        let usable = uri.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some()
        });
        if !self.endpoint.is_empty() && !usable {
            problems.push(format!(
                "store.endpoint = \"{}\" is not https://HOST[:PORT]",
                self.endpoint.escape_debug()
            ));
        }
        if (self.object_lock == ObjectLockConfig::Off) != (self.object_lock_days == 0) {
            problems.push(
                "store.object_lock and store.object_lock_days belong together: a mode needs days, \
                 days need a mode"
                    .to_owned(),
            );
        }
        let times = [self.connect_timeout, self.attempt_timeout, self.timeout, self.backoff];
        if times.iter().any(Duration::is_zero) {
            problems.push(
                "store.connect_timeout, attempt_timeout, timeout and backoff: above 0".to_owned(),
            );
        }
        problems
    }
}
