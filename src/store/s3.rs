//! Objects in a bucket of Amazon S3, or of another store that speaks its protocol.
//!
//! An object is sent with its SHA-256 and on the condition that there is none of its name
//! (`If-None-Match`), encrypted by a key of KMS and locked against deletion where that is configured; what
//! the store says that it did is compared with what was asked.
//! This file must never take a store's silence for consent.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, ObjectLockEnabled, ObjectLockMode, ServerSideEncryption,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::s3_error::{causes, status, told};
use super::s3_settings::{LockMode, S3Settings};
use super::{Keep, ObjectInfo, ObjectKey, ObjectStore, PAGE, StoreError, Written, aws};
use crate::domain::Digest;

/// A bucket of objects.
#[derive(Debug, Clone)]
pub struct S3Store {
    client: Client,
    settings: S3Settings,
}

impl S3Store {
    /// A client of the bucket. Nothing is asked of it yet.
    ///
    /// # Errors
    /// No region, by the settings or by the chain.
    pub async fn open(settings: S3Settings) -> Result<Self, StoreError> {
        let S3Settings { region, endpoint, timing, .. } = &settings;
        let shared = aws::configuration(region.as_deref(), endpoint.as_deref(), timing).await;
        if shared.region().is_none() {
            return Err(StoreError::Refused {
                key: format!("s3://{}", settings.bucket),
                reason: "no region is known; set store.region or AWS_REGION".to_owned(),
            });
        }
        let config = aws_sdk_s3::config::Builder::from(&shared)
            .force_path_style(settings.path_style)
            // The SHA-256 that we send is the checksum; the SDK shall not add another.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenSupported)
            .build();
        Ok(Self { client: Client::from_conf(config), settings })
    }

    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.settings.prefix)
    }

    fn shown(&self, key: &str) -> String {
        format!("s3://{}/{}{key}", self.settings.bucket, self.settings.prefix)
    }

    async fn put(
        &self,
        key: &ObjectKey,
        content: Bytes,
        keep: Keep,
    ) -> Result<Written, StoreError> {
        let wanted = Digest::of(&content);
        let length = content.len();
        let mut put = self
            .client
            .put_object()
            .bucket(&self.settings.bucket)
            .key(self.name(key.as_str()))
            .if_none_match("*")
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .checksum_sha256(STANDARD.encode(wanted.as_bytes()))
            .body(ByteStream::from(content));
        if let Some(kms_key) = &self.settings.kms_key {
            put = put.server_side_encryption(ServerSideEncryption::AwsKms).ssekms_key_id(kms_key);
        }
        if let (Some(lock), Keep::ForGood) = (&self.settings.lock, keep) {
            let period = Duration::from_secs(u64::from(lock.days.get()) * 24 * 60 * 60);
            let mode = match lock.mode {
                LockMode::Governance => ObjectLockMode::Governance,
                LockMode::Compliance => ObjectLockMode::Compliance,
            };
            put = put
                .object_lock_mode(mode)
                .object_lock_retain_until_date(DateTime::from(SystemTime::now() + period));
        }
        match put.send().await {
            Ok(output) => {
                self.compare(key, &output, wanted)?;
                self.encrypted(key, output.server_side_encryption())?;
                Ok(Written::New)
            }
            // Someone was faster, or an attempt of ours whose answer was lost.
            Err(error) if status(&error) == Some(412) => {
                let head = self.headed(key).await?;
                let found = self.digest(key, head.as_ref(), length).await?;
                if found != wanted {
                    let key = self.shown(key.as_str());
                    return Err(StoreError::Different { key, wanted, found });
                }
                self.encrypted(key, head.as_ref().and_then(|head| head.server_side_encryption()))?;
                Ok(Written::Before)
            }
            Err(error) => Err(self.not_put(key, keep, error).await),
        }
    }

    /// Why an object was not written: a bucket that cannot lock says no more than "Invalid Request".
    async fn not_put<E>(&self, key: &ObjectKey, keep: Keep, error: SdkError<E>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let locks = self.settings.lock.is_some() && keep == Keep::ForGood;
        let told = self.failed(key.as_str(), error);
        match told {
            StoreError::Refused { .. } if locks => match self.examine().await {
                Err(cause @ StoreError::Refused { .. }) => cause,
                _ => told,
            },
            told => told,
        }
    }

    /// Compares what the store says that it did with what was asked.
    fn compare(
        &self,
        key: &ObjectKey,
        output: &PutObjectOutput,
        wanted: Digest,
    ) -> Result<(), StoreError> {
        if let Some(found) = output.checksum_sha256()
            && found != STANDARD.encode(wanted.as_bytes())
        {
            let (key, found) = (self.shown(key.as_str()), found.to_owned());
            return Err(StoreError::Corrupt { key, wanted, found });
        }
        Ok(())
    }

    /// Whether an object is encrypted as the settings want it.
    fn encrypted(
        &self,
        key: &ObjectKey,
        by: Option<&ServerSideEncryption>,
    ) -> Result<(), StoreError> {
        if self.settings.kms_key.is_none() || by == Some(&ServerSideEncryption::AwsKms) {
            return Ok(());
        }
        let reason = "it was written, but not encrypted by KMS: this store passes store.kms_key over; use a \
                      store that knows SSE-KMS or clear the key";
        Err(StoreError::Refused { key: self.shown(key.as_str()), reason: reason.to_owned() })
    }

    /// The digest of an object that is there: what the store keeps of it, else of its content.
    async fn digest(
        &self,
        key: &ObjectKey,
        head: Option<&HeadObjectOutput>,
        bytes: usize,
    ) -> Result<Digest, StoreError> {
        if let Some(digest) = head.and_then(|head| head.checksum_sha256()).and_then(digest) {
            return Ok(digest);
        }
        let there = head.map_or(0, |head| length(head.content_length()));
        Ok(Digest::of(&self.read(key, there.max(bytes as u64)).await?))
    }

    async fn look(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, StoreError> {
        Ok(self.headed(key).await?.map(|head| ObjectInfo {
            key: key.clone(),
            bytes: length(head.content_length()),
            sha256: head.checksum_sha256().and_then(digest),
        }))
    }

    async fn headed(&self, key: &ObjectKey) -> Result<Option<HeadObjectOutput>, StoreError> {
        let head = self
            .client
            .head_object()
            .bucket(&self.settings.bucket)
            .key(self.name(key.as_str()))
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await;
        match head {
            Ok(head) => Ok(Some(head)),
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(self.failed(key.as_str(), error)),
        }
    }

    async fn read(&self, key: &ObjectKey, limit: u64) -> Result<Bytes, StoreError> {
        let get = self
            .client
            .get_object()
            .bucket(&self.settings.bucket)
            .key(self.name(key.as_str()))
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await
            .map_err(|error| match status(&error) {
                Some(404) if error.code() != Some("NoSuchBucket") => {
                    StoreError::NotFound { key: self.shown(key.as_str()) }
                }
                _ => self.failed(key.as_str(), error),
            })?;
        let bytes = length(get.content_length());
        if bytes > limit {
            return Err(StoreError::TooLarge { key: self.shown(key.as_str()), bytes, limit });
        }
        // The body has no attempts of its own: a connection that breaks is for the caller to try again.
        let body = tokio::time::timeout(self.settings.timing.whole, get.body.collect()).await;
        let reason = match body {
            Ok(Ok(content)) => return Ok(content.into_bytes()),
            Ok(Err(error)) => causes(&self.settings, &error),
            Err(_) => "the content took too long".to_owned(),
        };
        Err(StoreError::Unavailable { key: self.shown(key.as_str()), reason })
    }

    async fn page(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
    ) -> Result<Vec<ObjectInfo>, StoreError> {
        let listed = self
            .client
            .list_objects_v2()
            .bucket(&self.settings.bucket)
            .prefix(self.name(prefix))
            .set_start_after(after.map(|after| self.name(after.as_str())))
            .max_keys(PAGE as i32)
            .send()
            .await
            .map_err(|error| self.failed(prefix, error))?;
        let objects = listed.contents().iter().filter_map(|object| {
            let key = ObjectKey::listed(object.key()?.strip_prefix(&self.settings.prefix)?)?;
            Some(ObjectInfo { key, bytes: length(object.size()), sha256: None })
        });
        Ok(objects.collect())
    }

    async fn remove(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let name = self.name(key.as_str());
        let delete = self.client.delete_object().bucket(&self.settings.bucket).key(name);
        match delete.send().await {
            Ok(_) => Ok(()),
            Err(error) if status(&error) == Some(404) => Ok(()),
            Err(error) => Err(self.failed(key.as_str(), error)),
        }
    }

    async fn examine(&self) -> Result<(), StoreError> {
        let bucket = &self.settings.bucket;
        let missing = |reason: &str| StoreError::Refused {
            key: format!("s3://{bucket}"),
            reason: reason.to_owned(),
        };
        match self.client.head_bucket().bucket(bucket).send().await {
            Ok(_) => {}
            Err(error) if status(&error) == Some(404) => {
                return Err(missing("there is no such bucket; create it, or set store.bucket"));
            }
            Err(error) => return Err(self.failed("", error)),
        }
        if self.settings.lock.is_none() {
            return Ok(());
        }
        let locks = self.client.get_object_lock_configuration().bucket(bucket).send().await;
        let enabled = match locks {
            Ok(locks) => locks
                .object_lock_configuration()
                .and_then(|locks| locks.object_lock_enabled())
                .is_some_and(|enabled| *enabled == ObjectLockEnabled::Enabled),
            Err(error) if status(&error) == Some(404) => false,
            Err(error) => return Err(self.failed("", error)),
        };
        if enabled {
            return Ok(());
        }
        Err(missing(
            "store.object_lock wants objects locked, but the bucket has no Object Lock; enable it for the \
             bucket, or set store.object_lock = \"off\"",
        ))
    }

    fn failed<E>(&self, key: &str, error: SdkError<E>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        told(&self.settings, self.shown(key), &error)
    }
}

impl ObjectStore for S3Store {
    fn put_new<'a>(
        &'a self,
        key: &'a ObjectKey,
        content: Bytes,
        keep: Keep,
    ) -> BoxFuture<'a, Result<Written, StoreError>> {
        self.put(key, content, keep).boxed()
    }

    fn get<'a>(
        &'a self,
        key: &'a ObjectKey,
        limit: u64,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        self.read(key, limit).boxed()
    }

    fn head<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectInfo>, StoreError>> {
        self.look(key).boxed()
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a ObjectKey>,
    ) -> BoxFuture<'a, Result<Vec<ObjectInfo>, StoreError>> {
        self.page(prefix, after).boxed()
    }

    fn delete<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<(), StoreError>> {
        self.remove(key).boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.examine().boxed()
    }

    fn place(&self) -> String {
        self.shown("")
    }
}

fn length(bytes: Option<i64>) -> u64 {
    bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default()
}

/// A digest as the protocol writes it, in base64.
fn digest(text: &str) -> Option<Digest> {
    let bytes = STANDARD.decode(text).ok()?;
    hex::encode(bytes).parse().ok()
}
