//! What is asked of either database: SQL that both understand, written once.
//!
//! The driver's types differ, so that a macro gives each database its implementation of
//! [`Registry`](super::Registry).
//! This file must never hold what only one database understands.

use super::{Chain, ChainClosing, ChainHead, ChainOpening, ClosedBy, RegistryError};
use crate::domain::Digest;

/// The first words stay; a key comes later only where there was none, and nothing was signed yet.
pub(super) const OPEN: &str = "INSERT INTO audit_chains (chain, opened_at, software, signing_key) \
     VALUES ($1, $2, $3, $4) ON CONFLICT (chain) DO UPDATE SET signing_key = excluded.signing_key \
     WHERE audit_chains.signing_key IS NULL AND excluded.signing_key IS NOT NULL \
     AND audit_chains.opened_at = excluded.opened_at \
     AND audit_chains.head_manifest IS NULL AND audit_chains.closed_at IS NULL";

/// Only forward, and not past the end.
pub(super) const ADVANCE: &str = "UPDATE audit_chains SET head_manifest = $2, manifest_sha256 = $3, \
     head_seq = $4, row_hash = $5, watermark = $6 WHERE chain = $1 AND closed_at IS NULL \
     AND (head_manifest IS NULL OR (head_manifest < $2 AND head_seq < $4))";

pub(super) const CLOSE: &str = "UPDATE audit_chains SET closed_at = $2, closed_by = $3 \
     WHERE chain = $1 AND closed_at IS NULL";

pub(super) const ONE: &str = "SELECT chain, opened_at, software, signing_key, head_manifest, \
     manifest_sha256, head_seq, row_hash, watermark, closed_at, closed_by FROM audit_chains \
     WHERE chain = $1";

pub(super) const PAGE: &str = "SELECT chain, opened_at, software, signing_key, head_manifest, \
     manifest_sha256, head_seq, row_hash, watermark, closed_at, closed_by FROM audit_chains \
     WHERE chain > $1 ORDER BY chain LIMIT $2";

/// Fails where no migration was ever done.
pub(super) const PROBE: &str = "SELECT 1 FROM _sqlx_migrations LIMIT 1";

/// Whether the table of [`PROBE`] is there.
pub(super) fn has_table<T>(probed: Result<T, sqlx::Error>) -> Result<bool, sqlx::Error> {
    match probed {
        Ok(_) => Ok(true),
        // PostgreSQL's undefined_table; SQLite has no code for it.
        Err(sqlx::Error::Database(error))
            if error.code().as_deref() == Some("42P01")
                || error.message().starts_with("no such table") =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// A row of the table, as either driver reads it.
pub(super) type Row = (
    String,
    i64,
    String,
    Option<Vec<u8>>,
    Option<i64>,
    Option<Vec<u8>>,
    Option<i64>,
    Option<Vec<u8>>,
    Option<i64>,
    Option<i64>,
    Option<String>,
);

/// The row as a chain.
pub(super) fn chain(row: Row) -> Result<Chain, RegistryError> {
    let (chain, opened_at, software, key, manifest, manifest_sha256, seq, hash, watermark, at, by) =
        row;
    let damaged = |column: &str| RegistryError::Damaged {
        table: "audit_chains",
        problem: format!("chain {chain}: {column} is not what it should be"),
    };
    let digest = |bytes: Vec<u8>, column: &str| -> Result<Digest, RegistryError> {
        hex::encode(bytes).parse().map_err(|_| damaged(column))
    };
    let number = |n: i64, column: &str| u64::try_from(n).map_err(|_| damaged(column));
    let signing_key = key
        .map(|bytes| <[u8; 32]>::try_from(bytes).map_err(|_| damaged("signing_key")))
        .transpose()?;
    let head = match (manifest, manifest_sha256, seq, hash, watermark) {
        (Some(manifest), Some(manifest_sha256), Some(seq), Some(hash), Some(watermark)) => {
            Some(ChainHead {
                manifest: number(manifest, "head_manifest")?,
                manifest_sha256: digest(manifest_sha256, "manifest_sha256")?,
                seq: number(seq, "head_seq")?,
                row_hash: digest(hash, "row_hash")?,
                watermark,
            })
        }
        (None, None, None, None, None) => None,
        _ => return Err(damaged("the head")),
    };
    let closing = match (at, by) {
        (Some(closed_at), Some(by)) => {
            let closed_by = ClosedBy::read(&by).ok_or_else(|| damaged("closed_by"))?;
            Some(ChainClosing { closed_at, closed_by })
        }
        (None, None) => None,
        _ => return Err(damaged("the closing")),
    };
    let opening = ChainOpening { chain, opened_at, software, signing_key };
    Ok(Chain { opening, head, closing })
}

/// Whether a chain that is there may be opened like this: it began at the same time. Who notes it first,
/// its owner or whoever ships it, says by which release and key.
pub(super) fn opened(there: Chain, opening: &ChainOpening) -> Result<(), RegistryError> {
    if there.opening.opened_at == opening.opened_at {
        return Ok(());
    }
    let noted = there.opening.opened_at;
    Err(RegistryError::Conflict {
        chain: opening.chain.clone(),
        problem: format!("it was opened at {noted} µs, not at {} µs", opening.opened_at),
    })
}

/// Why a head was not taken; fine if it is the one that is noted, or one that it has overtaken.
pub(super) fn not_advanced(there: Chain, head: &ChainHead) -> Result<(), RegistryError> {
    let chain = there.opening.chain;
    let conflict = |problem: String| Err(RegistryError::Conflict { chain: chain.clone(), problem });
    match there.head {
        Some(noted) if noted == *head => Ok(()),
        Some(noted) if noted.manifest == head.manifest => conflict(format!(
            "manifest {} is noted with digest {} and rows to {}, not {} and {}",
            head.manifest, noted.manifest_sha256, noted.seq, head.manifest_sha256, head.seq
        )),
        Some(noted) if noted.manifest > head.manifest && noted.seq > head.seq => Ok(()),
        _ if there.closing.is_some() => {
            conflict(format!("it is closed, manifest {} came afterwards", head.manifest))
        }
        Some(noted) => conflict(format!(
            "manifest {} covers rows to {}, manifest {} is noted with rows to {}",
            head.manifest, head.seq, noted.manifest, noted.seq
        )),
        None => conflict(format!("manifest {} was not noted", head.manifest)),
    }
}

/// A number as the databases have it.
pub(super) fn number(n: u64, chain: &str) -> Result<i64, RegistryError> {
    i64::try_from(n).map_err(|_| RegistryError::Conflict {
        chain: chain.to_owned(),
        problem: format!("{n} is more than a database counts"),
    })
}

/// Implements [`Registry`](super::Registry) for a type with `pool`, `place`, `timeout`, `reads_only` and `FILES`.
macro_rules! implement {
    ($registry:ty) => {
        impl $registry {
            /// Waits for the database, not for ever.
            async fn bounded<T>(
                &self,
                work: impl Future<Output = Result<T, sqlx::Error>>,
            ) -> Result<T, RegistryError> {
                let reason = match tokio::time::timeout(self.timeout, work).await {
                    Ok(Ok(done)) => return Ok(done),
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => format!("no answer within {:?}", self.timeout),
                };
                Err(RegistryError::Database { place: self.place.clone(), reason })
            }

            async fn one(&self, chain: &str) -> Result<Option<Chain>, RegistryError> {
                let row = sqlx::query_as::<_, queries::Row>(queries::ONE).bind(chain);
                let row = self.bounded(row.fetch_optional(&self.pool)).await?;
                row.map(queries::chain).transpose()
            }

            async fn known(&self, chain: &str) -> Result<Chain, RegistryError> {
                let there = self.one(chain).await?;
                there.ok_or_else(|| RegistryError::UnknownChain(chain.to_owned()))
            }

            async fn status(&self) -> Result<MigrationStatus, RegistryError> {
                let applied = self.bounded(async {
                    let mut connection = self.pool.acquire().await?;
                    if !self.reads_only {
                        connection.ensure_migrations_table(migrations::TABLE).await?;
                    } else if !queries::has_table(
                        sqlx::query(queries::PROBE).execute(&mut *connection).await,
                    )? {
                        return Ok(Vec::new());
                    }
                    Ok(connection.list_applied_migrations(migrations::TABLE).await?)
                });
                migrations::status(Self::FILES, applied.await?, self.place.clone())
            }

            async fn bring_up(&self) -> Result<MigrationStatus, RegistryError> {
                // Says what does not fit in our words, before sqlx does in its own.
                self.status().await?;
                let migrator = migrations::migrator(Self::FILES);
                let done = self.bounded(async { Ok(migrator.run(&self.pool).await?) }).await;
                let status = self.status().await?;
                match done {
                    // Another process may have been faster.
                    Err(error) if !status.is_current() => Err(error),
                    _ => Ok(status),
                }
            }

            async fn open(&self, opening: &ChainOpening) -> Result<(), RegistryError> {
                let done = sqlx::query(queries::OPEN)
                    .bind(&opening.chain)
                    .bind(opening.opened_at)
                    .bind(&opening.software)
                    .bind(opening.signing_key.map(|key| key.to_vec()))
                    .execute(&self.pool);
                if self.bounded(done).await?.rows_affected() == 1 {
                    return Ok(());
                }
                queries::opened(self.known(&opening.chain).await?, opening)
            }

            async fn advance(&self, chain: &str, head: &ChainHead) -> Result<(), RegistryError> {
                let done = sqlx::query(queries::ADVANCE)
                    .bind(chain)
                    .bind(queries::number(head.manifest, chain)?)
                    .bind(head.manifest_sha256.as_bytes().to_vec())
                    .bind(queries::number(head.seq, chain)?)
                    .bind(head.row_hash.as_bytes().to_vec())
                    .bind(head.watermark)
                    .execute(&self.pool);
                if self.bounded(done).await?.rows_affected() == 1 {
                    return Ok(());
                }
                queries::not_advanced(self.known(chain).await?, head)
            }

            async fn close(&self, chain: &str, end: ChainClosing) -> Result<(), RegistryError> {
                let done = sqlx::query(queries::CLOSE)
                    .bind(chain)
                    .bind(end.closed_at)
                    .bind(end.closed_by.word())
                    .execute(&self.pool);
                if self.bounded(done).await?.rows_affected() == 0 {
                    self.known(chain).await?;
                }
                Ok(())
            }

            async fn page(&self, after: Option<&str>) -> Result<Vec<Chain>, RegistryError> {
                let rows = sqlx::query_as::<_, queries::Row>(queries::PAGE)
                    .bind(after.unwrap_or_default())
                    .bind(i64::from(PAGE))
                    .fetch_all(&self.pool);
                self.bounded(rows).await?.into_iter().map(queries::chain).collect()
            }
        }

        impl Registry for $registry {
            fn migrate(&self) -> BoxFuture<'_, Result<MigrationStatus, RegistryError>> {
                self.bring_up().boxed()
            }

            fn migration_status(&self) -> BoxFuture<'_, Result<MigrationStatus, RegistryError>> {
                self.status().boxed()
            }

            fn open_chain<'a>(
                &'a self,
                opening: &'a ChainOpening,
            ) -> BoxFuture<'a, Result<(), RegistryError>> {
                self.open(opening).boxed()
            }

            fn advance_chain<'a>(
                &'a self,
                chain: &'a str,
                head: &'a ChainHead,
            ) -> BoxFuture<'a, Result<(), RegistryError>> {
                self.advance(chain, head).boxed()
            }

            fn close_chain<'a>(
                &'a self,
                chain: &'a str,
                closing: ChainClosing,
            ) -> BoxFuture<'a, Result<(), RegistryError>> {
                self.close(chain, closing).boxed()
            }

            fn chain<'a>(
                &'a self,
                chain: &'a str,
            ) -> BoxFuture<'a, Result<Option<Chain>, RegistryError>> {
                self.one(chain).boxed()
            }

            fn chains<'a>(
                &'a self,
                after: Option<&'a str>,
            ) -> BoxFuture<'a, Result<Vec<Chain>, RegistryError>> {
                self.page(after).boxed()
            }

            fn disconnect(&self) -> BoxFuture<'_, ()> {
                self.pool.close().boxed()
            }
        }
    };
}
pub(super) use implement;
