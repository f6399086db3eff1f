//! The audit by its public face: group commit, bounds, the clock, the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hilum::audit::{
    Audit, AuditError, AuditId, AuditSettings, Durability, Micros, Record, SegmentReader, chains,
};
use hilum::domain::Digest;
use hilum::lifecycle::{Clock, ManualClock, Readiness};
use hilum::telemetry::Metrics;

use super::{stored, until};

pub struct Kept {
    pub folder: tempfile::TempDir,
    pub spool: PathBuf,
    pub audit: Audit,
    pub clock: Arc<ManualClock>,
    pub metrics: Metrics,
    pub readiness: Readiness,
}

/// An audit; `change` may name a store in the folder of the spool.
pub fn kept(change: impl FnOnce(&mut AuditSettings)) -> Kept {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    let mut settings = AuditSettings {
        spool_dir: spool.clone(),
        keys_file: None,
        durability: Durability::Spool,
        store: None,
        max_bytes: 1 << 30,
        seal_bytes: 1 << 20,
        seal_age: Duration::from_secs(60),
        commit_timeout: Duration::from_secs(30),
        queue: 4096,
        image_digest: None,
    };
    change(&mut settings);
    let clock = Arc::new(ManualClock::default());
    let (metrics, readiness) = (Metrics::new().unwrap(), Readiness::new());
    let shared: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
    let audit = Audit::start(&settings, &shared, &metrics, &readiness).unwrap();
    Kept { folder, spool, audit, clock, metrics, readiness }
}

impl Kept {
    pub fn rows(&self, count: u32) -> Vec<Record> {
        let ring = self.audit.keys().unwrap();
        let key = &ring.all()[0];
        let base = Record::empty(
            AuditId::at(Micros::of(self.clock.utc())),
            ring.principal(key, "anonymous"),
            key.id().clone(),
        );
        (0..count).map(|row| Record { row, ..base.clone() }).collect()
    }

    /// Lets the thread look after its directory: it does so a second after the last time.
    pub async fn look<T>(&self, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
        until(what, || {
            self.clock.advance(Duration::from_secs(1));
            found()
        })
        .await
    }

    pub fn sealed(&self) -> Vec<PathBuf> {
        let chains = chains(&self.spool).unwrap();
        chains.iter().flat_map(|dir| dir.sealed().unwrap()).map(|segment| segment.path).collect()
    }
}

/// Every row of the chain, whose numbers and hashes have no gap.
pub fn whole(spool: &Path) -> usize {
    let rows = stored(spool);
    let mut hash = Digest::from_bytes([0; 32]);
    let mut ts = Micros(i64::MIN);
    for (n, stored) in rows.iter().enumerate() {
        assert_eq!((stored.row.link.seq, stored.row.link.prev_hash), (n as u64, hash));
        assert!(stored.row.record.ts >= ts, "time never goes back within a chain");
        (hash, ts) = (stored.hash, stored.row.record.ts);
    }
    rows.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_recorded_is_on_disk_and_many_share_a_commit() {
    let kept = kept(|_| {});
    let waiting: Vec<_> = (0..400)
        .map(|_| {
            let (audit, rows) = (kept.audit.clone(), kept.rows(2));
            tokio::spawn(async move { audit.record(rows).await })
        })
        .collect();
    for one in waiting {
        one.await.unwrap().unwrap();
    }
    assert_eq!(whole(&kept.spool), 800);
    let head = kept.audit.head().unwrap().borrow().to_owned();
    assert_eq!(head.rows, 800);
    assert_eq!(head.hash, stored(&kept.spool).last().unwrap().hash);
    let scrape = kept.metrics.render();
    let value = |name: &str| -> f64 {
        let line = scrape.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(value("hilum_audit_records_total "), 800.0);
    assert!(value("hilum_audit_commit_duration_seconds_count ") < 400.0, "{scrape}");
    let audit = kept.audit.clone();
    tokio::task::spawn_blocking(move || audit.end()).await.unwrap();
    assert_eq!(kept.sealed().len(), 1);
    assert_eq!(whole(&kept.spool), 800);
    assert_eq!(kept.audit.record(kept.rows(1)).await, Err(AuditError::Ended));
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_take_the_chain_with_it() {
    let kept = kept(|_| {});
    let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_867_200);
    let mut ids = std::collections::BTreeSet::new();
    for (step, utc) in [0, 100, 50, 3600, -86_400_i64, 0, 3700].iter().enumerate() {
        let by = Duration::from_secs(utc.unsigned_abs());
        kept.clock.set_utc(if *utc < 0 { noon - by } else { noon + by });
        let rows = kept.rows(1);
        ids.insert(rows[0].audit_id);
        kept.audit.record(rows).await.unwrap();
        assert_eq!(whole(&kept.spool), step + 1);
    }
    assert_eq!(ids.len(), 7);
    let last = stored(&kept.spool).pop().unwrap().row.record.ts;
    assert_eq!(last, Micros::of(noon + Duration::from_secs(3700)));
}

#[tokio::test]
async fn a_segment_is_sealed_by_its_size_and_by_its_age() {
    let kept = kept(|settings| settings.seal_bytes = 10_000);
    for _ in 0..10 {
        kept.audit.record(kept.rows(10)).await.unwrap();
    }
    let by_size = kept.sealed().len();
    assert!(by_size >= 2, "{by_size}");
    kept.audit.record(kept.rows(1)).await.unwrap();
    kept.clock.advance(Duration::from_secs(60));
    let more = || (kept.sealed().len() > by_size).then_some(());
    kept.look("the segment is sealed by its age", more).await;
    assert_eq!(whole(&kept.spool), 101);
    for path in kept.sealed() {
        let mut reader = SegmentReader::open(&path).unwrap();
        assert!(reader.by_ref().all(|row| row.is_ok()));
        assert!(reader.seal().is_some_and(|seal| !seal.recovered));
    }
}

#[tokio::test]
async fn a_full_spool_refuses_until_there_is_room_again() {
    let kept = kept(|settings| {
        settings.max_bytes = 100_000;
        settings.seal_bytes = 100_000;
    });
    let mut written = 0;
    let error = loop {
        match kept.audit.record(kept.rows(10)).await {
            Ok(()) => written += 10,
            Err(error) => break error,
        }
        assert!(written < 10_000);
    };
    assert_eq!((error, kept.audit.check()), (AuditError::Full, Err(AuditError::Full)));
    assert!(!kept.readiness.is_ready() && kept.readiness.reasons()[0].contains("full"));
    assert_eq!(whole(&kept.spool), written);
    assert!(kept.metrics.render().contains("hilum_audit_failures_total{reason=\"spool_full\"} 1"));
    // What is full is sealed: only so it can be shipped.
    assert_eq!(kept.sealed().len(), 1);
    // Shipped and removed: there is room again, and the chain goes on where it was.
    let next = written as u64;
    kept.sealed().iter().for_each(|path| std::fs::remove_file(path).unwrap());
    kept.look("there is room again", || kept.audit.check().ok()).await;
    assert!(kept.readiness.is_ready());
    kept.audit.record(kept.rows(1)).await.unwrap();
    assert_eq!(stored(&kept.spool).last().unwrap().row.link.seq, next);
}

#[tokio::test]
async fn best_effort_goes_on_without_its_record_and_says_so() {
    let kept = kept(|settings| {
        settings.durability = Durability::BestEffort;
        settings.max_bytes = 70_000;
    });
    for _ in 0..100 {
        kept.audit.record(kept.rows(10)).await.unwrap();
        assert_eq!(kept.audit.check(), Ok(()));
    }
    let dropped = || {
        let scrape = kept.metrics.render();
        let none = "hilum_audit_dropped_total{reason=\"spool_full\"} 0\n";
        (scrape.contains(none.trim_end_matches("0\n")) && !scrape.contains(none)).then_some(())
    };
    until("rows were dropped and counted", dropped).await;
    assert!(kept.readiness.is_ready());
    let audit = kept.audit.clone();
    tokio::task::spawn_blocking(move || audit.end()).await.unwrap();
    // What is written together is dropped together.
    assert!(whole(&kept.spool) < 1000);
}

#[tokio::test]
async fn a_directory_that_is_taken_away_stops_the_answers() {
    let kept = kept(|_| {});
    kept.audit.record(kept.rows(1)).await.unwrap();
    let dir = chains(&kept.spool).unwrap().remove(0);
    assert!(dir.try_adopt(Micros(0)).unwrap().is_none(), "its owner lives");
    std::fs::remove_dir_all(&dir.path).unwrap();
    kept.look("the loss is seen", || kept.audit.check().err()).await;
    assert_eq!(kept.audit.record(kept.rows(1)).await, Err(AuditError::Lost));
    assert!(!kept.readiness.is_ready());
}

#[tokio::test]
async fn a_lock_that_is_lost_stops_the_very_next_answer() {
    let kept = kept(|_| {});
    kept.audit.record(kept.rows(1)).await.unwrap();
    let lock = chains(&kept.spool).unwrap().remove(0).path.join(hilum::audit::OWNER_LOCK);
    std::fs::remove_file(&lock).unwrap();
    std::fs::write(&lock, b"").unwrap();
    // No look in between: the clock stands still.
    assert_eq!(kept.audit.record(kept.rows(1)).await, Err(AuditError::Lost));
    assert_eq!(kept.audit.check(), Err(AuditError::Lost));
    assert!(!kept.readiness.is_ready());
}

#[tokio::test]
async fn a_run_without_a_row_leaves_nothing_behind() {
    let kept = kept(|_| {});
    assert_eq!(chains(&kept.spool).unwrap().len(), 1);
    let audit = kept.audit.clone();
    tokio::task::spawn_blocking(move || audit.end()).await.unwrap();
    assert_eq!(chains(&kept.spool).unwrap(), []);
    assert_eq!(kept.audit.record(Vec::new()).await, Err(AuditError::Ended));
}
