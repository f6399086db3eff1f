//! `durability = "store"`: what an answer waits for is in the store, whatever becomes of the disk.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hilum::audit::{
    Audit, AuditError, AuditSettings, ChainDir, Durability, Filter, Micros, SegmentReader,
    ShipParts, Shipper, ShipperSettings, Verification, Verified, each_row, ship_chain,
};
use hilum::lifecycle::{Clock, ManualClock, Readiness};
use hilum::registry::{self, ChainOpening, DatabaseUrl, RegistrySettings};
use hilum::store::{LocalStore, StoreSettings};
use hilum::telemetry::Metrics;

use super::commit::{Kept, kept, whole};
use super::until;

/// An audit whose commits go to a folder beside the spool.
async fn committing() -> Kept {
    let kept = kept(|settings| {
        settings.durability = Durability::Store;
        settings.store = Some(StoreSettings::Local {
            directory: settings.spool_dir.parent().unwrap().join("store"),
        });
    });
    until("it is ready", || kept.audit.check().ok()).await;
    // As a service does when it begins.
    let chain = kept.audit.chain().unwrap();
    let opening = ChainOpening {
        chain: chain.to_string(),
        opened_at: chain.made().0,
        software: "test".to_owned(),
        signing_key: None,
    };
    kept.parts().await.registry.open_chain(&opening).await.unwrap();
    kept
}

impl Kept {
    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// The commits' files, by the number of their first row.
    fn commits(&self) -> Vec<PathBuf> {
        let folder = self.store().join("audit/_commit");
        let walk = walkdir::WalkDir::new(folder).into_iter().filter_map(Result::ok);
        let files = walk.filter(|entry| entry.file_type().is_file());
        let mut files: Vec<PathBuf> = files.map(|entry| entry.path().to_owned()).collect();
        files.sort_by_key(|path| first(path));
        files
    }

    /// Every row that somebody sees who has the store alone, by its number.
    async fn seen(&self) -> Vec<u64> {
        let (store, mut seen) = (LocalStore::new(self.store()), Vec::new());
        let mut each = |row: hilum::audit::Row| {
            seen.push(row.link.seq);
            std::ops::ControlFlow::Continue(())
        };
        let nowhere = self.folder.path().join("nowhere");
        each_row(Some(&store), &nowhere, &Filter::default(), &mut each).await.unwrap();
        seen
    }

    fn settings(&self) -> ShipperSettings {
        ShipperSettings {
            spool: self.spool.clone(),
            store: StoreSettings::Local { directory: self.store() },
            registry: RegistrySettings {
                url: DatabaseUrl::Sqlite(self.folder.path().join("registry.db")),
                password: None,
                connections: std::num::NonZeroU32::MIN,
                timeout: Duration::from_secs(60),
            },
            key: None,
            interval: Duration::from_secs(1),
            max_backoff: Duration::from_secs(1),
        }
    }

    async fn parts(&self) -> ShipParts {
        ShipParts {
            store: Arc::new(LocalStore::new(self.store())),
            registry: registry::open_current(&self.settings().registry).await.unwrap(),
            key: None,
        }
    }

    async fn verify(&self) -> Verified {
        let parts = self.parts().await;
        let (store, registry) = (parts.store.as_ref(), Some(parts.registry.as_ref()));
        Verification { store, registry, keys: Vec::new(), chain: None }.run().await.unwrap()
    }

    fn dir(&self) -> ChainDir {
        ChainDir::of(&self.spool, self.audit.chain().unwrap())
    }

    async fn end(&self) {
        let audit = self.audit.clone();
        tokio::task::spawn_blocking(move || audit.end()).await.unwrap();
    }

    fn shipper(&self) -> Shipper {
        Shipper::new(self.settings(), Arc::new(ManualClock::default()), self.metrics.audit())
    }
}

fn first(path: &std::path::Path) -> u64 {
    path.file_name().unwrap().to_str().unwrap().split('-').next().unwrap().parse().unwrap()
}

fn numbers(to: u64) -> BTreeSet<u64> {
    (0..to).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_recorded_is_in_the_store_and_many_share_an_object() {
    let kept = committing().await;
    for n in 1..=5 {
        kept.audit.record(kept.rows(2)).await.unwrap();
        // At this very moment, by another reader.
        assert_eq!(kept.seen().await.into_iter().collect::<BTreeSet<_>>(), numbers(2 * n));
    }
    let waiting: Vec<_> = (0..400)
        .map(|_| {
            let (audit, rows) = (kept.audit.clone(), kept.rows(1));
            tokio::spawn(async move { audit.record(rows).await })
        })
        .collect();
    for one in waiting {
        one.await.unwrap().unwrap();
    }
    let seen = kept.seen().await;
    assert_eq!((seen.len(), seen.into_iter().collect()), (410, numbers(410)));
    assert_eq!(whole(&kept.spool), 410);
    let commits = kept.commits();
    assert!(commits.len() < 400, "{}", commits.len());
    // An object is a sealed segment: the spool's own reader takes it.
    let mut next = 0;
    for path in commits {
        let mut reader = SegmentReader::open(&path).unwrap();
        assert_eq!(reader.header().first, next);
        assert!(reader.by_ref().all(|row| row.is_ok()));
        next = reader.seal().expect("it is sealed").last + 1;
    }
    let scrape = kept.metrics.render();
    assert!(scrape.contains("hilum_audit_store_commit_duration_seconds_count "), "{scrape}");
    // Nothing was shipped: to a verifier these are commits that are about to be.
    let verified = kept.verify().await;
    assert_eq!((verified.findings, verified.rows), (vec![], 0));
    assert!(verified.pending_commits > 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_cannot_be_written_stops_the_answers_until_it_can() {
    let kept = committing().await;
    kept.audit.record(kept.rows(1)).await.unwrap();
    let (store, away) = (kept.store(), kept.folder.path().join("away"));
    std::fs::rename(&store, &away).unwrap();
    std::fs::write(&store, "no folder").unwrap();
    assert_eq!(kept.audit.record(kept.rows(1)).await, Err(AuditError::Store));
    assert_eq!(kept.audit.check(), Err(AuditError::Store));
    assert!(kept.readiness.reasons()[0].contains("store"), "{:?}", kept.readiness.reasons());
    assert!(kept.metrics.render().contains("hilum_audit_failures_total{reason=\"store\"} 1"));
    // It stays so, and no row is written meanwhile.
    for _ in 0..3 {
        kept.clock.advance(Duration::from_secs(1));
        assert_eq!(kept.audit.record(kept.rows(1)).await, Err(AuditError::Store));
    }
    assert_eq!(whole(&kept.spool), 2);
    std::fs::remove_file(&store).unwrap();
    std::fs::rename(&away, &store).unwrap();
    kept.look("the store is back", || kept.audit.check().ok()).await;
    assert!(kept.readiness.is_ready());
    // What waited is there, and the chain goes on.
    assert_eq!(kept.seen().await, [0, 1]);
    kept.audit.record(kept.rows(1)).await.unwrap();
    assert_eq!(kept.seen().await, [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_nobody_asks_is_not_ready_without_its_store() {
    let kept = committing().await;
    kept.audit.record(kept.rows(1)).await.unwrap();
    let (store, away) = (kept.store(), kept.folder.path().join("away"));
    std::fs::rename(&store, &away).unwrap();
    std::fs::write(&store, "no folder").unwrap();
    kept.look("the loss is seen", || kept.audit.check().err()).await;
    assert_eq!(kept.audit.check(), Err(AuditError::Store));
    std::fs::remove_file(&store).unwrap();
    std::fs::rename(&away, &store).unwrap();
    kept.look("the store is back", || kept.audit.check().ok()).await;
    kept.audit.record(kept.rows(1)).await.unwrap();
    assert_eq!(kept.seen().await, [0, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_whose_store_is_not_there_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    std::fs::write(&store, "no folder").unwrap();
    let kept = kept(|settings| {
        settings.durability = Durability::Store;
        settings.store = Some(StoreSettings::Local { directory: store.clone() });
    });
    for _ in 0..3 {
        assert!(!kept.readiness.is_ready());
        assert_eq!(kept.audit.record(kept.rows(1)).await, Err(AuditError::Store));
        kept.clock.advance(Duration::from_secs(1));
    }
    std::fs::remove_file(&store).unwrap();
    kept.look("it is ready", || kept.audit.check().ok()).await;
    kept.audit.record(kept.rows(1)).await.unwrap();
    // Without any store it does not begin.
    let mut settings = settings_of(&kept);
    settings.store = None;
    let clock: Arc<dyn Clock> = Arc::clone(&kept.clock) as Arc<dyn Clock>;
    let refused = Audit::start(&settings, &clock, &Metrics::new().unwrap(), &Readiness::new());
    assert!(refused.unwrap_err().to_string().contains("needs a store"));
}

fn settings_of(kept: &Kept) -> AuditSettings {
    AuditSettings {
        spool_dir: kept.spool.clone(),
        keys_file: None,
        durability: Durability::Store,
        store: None,
        max_bytes: 1 << 30,
        seal_bytes: 1 << 20,
        seal_age: Duration::from_secs(60),
        commit_timeout: Duration::from_secs(30),
        queue: 16,
        image_digest: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shipped_leaves_no_commit_behind() {
    let kept = committing().await;
    for _ in 0..7 {
        kept.audit.record(kept.rows(3)).await.unwrap();
    }
    assert_eq!(kept.commits().len(), 7);
    kept.end().await;
    let shipped = ship_chain(&kept.parts().await, &kept.dir(), Micros(0)).await.unwrap().unwrap();
    assert_eq!((shipped.segments, shipped.rows, shipped.closed), (1, 21, 1));
    assert_eq!(kept.commits(), Vec::<PathBuf>::new());
    let verified = kept.verify().await;
    assert_eq!((verified.findings, verified.rows, verified.pending_commits), (vec![], 21, 0));
    assert_eq!(kept.seen().await.len(), 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_lost_loses_no_answered_row() {
    let kept = committing().await;
    for _ in 0..10 {
        kept.audit.record(kept.rows(2)).await.unwrap();
    }
    // One manifest is in the store already, then more rows come, and the disk is gone with its process.
    kept.clock.advance(Duration::from_secs(61));
    kept.look("sealed by its age", || (!kept.sealed().is_empty()).then_some(())).await;
    ship_chain(&kept.parts().await, &kept.dir(), Micros(0)).await.unwrap().unwrap();
    for _ in 0..10 {
        kept.audit.record(kept.rows(2)).await.unwrap();
    }
    assert_eq!(kept.commits().len(), 10);
    let chain = kept.audit.chain().unwrap();
    kept.end().await;
    std::fs::remove_dir_all(&kept.spool).unwrap();
    let mut shipper = kept.shipper();
    shipper.recover(chain).await.unwrap();
    let round = shipper.round().await.unwrap();
    assert!(round.failures.is_empty(), "{:?}", round.failures);
    assert_eq!((round.shipped.rows, round.shipped.closed), (20, 1));
    let verified = kept.verify().await;
    assert_eq!((verified.findings, verified.rows, verified.manifests), (vec![], 40, 2));
    assert_eq!(kept.commits(), Vec::<PathBuf>::new());
    let again = shipper.recover(chain).await.unwrap_err().to_string();
    assert!(again.contains("closed"), "{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_was_taken_away_is_found_and_not_passed_over() {
    let kept = committing().await;
    for _ in 0..5 {
        kept.audit.record(kept.rows(2)).await.unwrap();
    }
    let commits = kept.commits();
    let (chain, bytes) = (kept.audit.chain().unwrap(), std::fs::read(&commits[2]).unwrap());
    std::fs::remove_file(&commits[2]).unwrap();
    let findings = kept.verify().await.findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].problem.contains("rows 4 to 5 are missing"), "{findings:?}");
    // A byte of it is changed.
    let mut changed = bytes.clone();
    changed[200] ^= 1;
    std::fs::write(&commits[2], &changed).unwrap();
    let findings = kept.verify().await.findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].problem.contains("CRC"), "{findings:?}");
    // With the disk lost too, what is behind the gap is not shipped as if nothing were missing.
    std::fs::remove_file(&commits[2]).unwrap();
    kept.end().await;
    std::fs::remove_dir_all(&kept.spool).unwrap();
    let mut shipper = kept.shipper();
    shipper.recover(chain).await.unwrap();
    let round = shipper.round().await.unwrap();
    let said = round.failures[0].1.to_string();
    assert!(said.contains("row 4 is next") && !round.failures[0].1.is_retryable(), "{said}");
    assert_eq!(kept.commits().len(), 4, "nothing was taken away");
    // The object is put back: everything is there.
    std::fs::write(&commits[2], &bytes).unwrap();
    let round = shipper.round().await.unwrap();
    assert!(round.failures.is_empty(), "{:?}", round.failures);
    let verified = kept.verify().await;
    assert_eq!((verified.findings, verified.rows), (vec![], 10));
}
