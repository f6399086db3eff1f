//! From a spool to the store and back: what is shipped verifies, a shipper may die at any call, and what was
//! tampered with is found and named.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hilum::audit::{
    AuditId, ChainDir, ChainId, ChainWriter, InputKind, ManifestKey, Micros, Record, ShipParts, Status,
    Verification, Verified, ship_chain,
};
use hilum::domain::{Decision, Digest, ErrorKind, Route};
use hilum::imaging::ImageStatistics;
use hilum::registry::{self, DatabaseUrl, RegistrySettings};
use hilum::store::{
    Keep, LocalStore, ObjectInfo, ObjectKey, ObjectStore, StoreError, Written,
};

/// 2026-11-28, an hour before midnight: rows lie on two days.
const BEGIN: i64 = 1_795_906_800_000_000;

struct Place {
    folder: tempfile::TempDir,
    parts: ShipParts,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = RegistrySettings {
            url: DatabaseUrl::Sqlite(folder.path().join("registry.db")),
            password: None,
            connections: std::num::NonZeroU32::MIN,
            timeout: std::time::Duration::from_secs(60),
        };
        let parts = ShipParts {
            store: Arc::new(LocalStore::new(folder.path().join("store"))),
            registry: registry::open_current(&settings).await.unwrap(),
            key: Some(ManifestKey::from_seed([3; 32])),
        };
        Self { folder, parts }
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    /// A dead process's chain: `segments` sealed ones of `rows` rows each, and one that was being written.
    fn chain(&self, seed: u64, segments: u64, rows: u64) -> ChainDir {
        let mut random = fastrand::Rng::with_seed(seed);
        let chain = ChainId::at(Micros(BEGIN + i64::try_from(seed).unwrap()));
        let dir = ChainDir::of(&self.spool(), chain);
        std::fs::create_dir_all(&dir.path).unwrap();
        let mut writer = ChainWriter::new(dir.path.clone(), chain);
        let key = "k1".parse().unwrap();
        for segment in 0..=segments {
            for row in 0..rows {
                let ts = Micros(BEGIN + i64::try_from((segment * rows + row) * 600_000_000).unwrap());
                let records = std::iter::once(record(&mut random, ts));
                writer.append(records, ts, &key, u64::MAX, false).unwrap();
            }
            if segment < segments {
                writer.seal(Micros(BEGIN)).unwrap();
            }
        }
        dir
    }

    async fn ship(&self, dir: &ChainDir) {
        ship_chain(&self.parts, dir, Micros(BEGIN)).await.unwrap().unwrap();
    }

    async fn verify(&self) -> Verified {
        let verification = Verification {
            store: self.parts.store.as_ref(),
            registry: Some(self.parts.registry.as_ref()),
            keys: vec![self.parts.key.as_ref().unwrap().public()],
            chain: None,
        };
        verification.run().await.unwrap()
    }

    fn objects(&self) -> Vec<PathBuf> {
        let walk = walkdir::WalkDir::new(self.folder.path().join("store")).sort_by_file_name();
        let files = walk.into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file());
        files.map(|entry| entry.path().to_owned()).collect()
    }
}

/// A row with all that a row may have, or may not.
fn record(random: &mut fastrand::Rng, ts: Micros) -> Record {
    let digest = |random: &mut fastrand::Rng| Digest::of(&random.u64(..).to_le_bytes());
    let floats = |random: &mut fastrand::Rng| -> Vec<f32> {
        (0..random.usize(0..4)).map(|_| random.choice([0.0, -0.0, 0.1, 1e-9, f32::NAN, 65504.0]).unwrap()).collect()
    };
    let image = random.bool();
    Record {
        audit_id: AuditId::at(ts),
        ts,
        request_id: format!("request-{}", random.u32(..)).into(),
        trace_id: random.bool().then(|| format!("{:032x}", random.u128(..))),
        principal: digest(random),
        model: random.choice(["mnist", "pneumonia", "_none"]).unwrap().to_owned(),
        version: random.bool().then(|| "2".parse().unwrap()),
        bundle_sha256: random.bool().then(|| digest(random)),
        image_digest: random.bool().then(|| digest(random)),
        route: random.choice(Route::ALL),
        input_hmac: random.bool().then(|| digest(random)),
        study_hmac: random.bool().then(|| digest(random)),
        hmac_key_id: "k1".parse().unwrap(),
        input_kind: random.choice(InputKind::ALL),
        scores: floats(random),
        calibrated: floats(random),
        label: random.bool().then(|| "PNEUMONIA".to_owned()),
        decision: random.choice(Decision::ALL),
        warnings: vec!["quality".to_owned(); random.usize(0..3)],
        statistics: image.then(|| ImageStatistics {
            mean: random.f64(),
            std: 0.25,
            p1: f64::NAN,
            p99: 1.0 / 3.0,
            entropy: 7.9,
            sharpness: 1e-300,
            aspect: 1.0,
            bits: 12,
        }),
        ood_score: random.bool().then(|| random.f64()),
        embedding: floats(random),
        queue_us: random.u64(0..1000),
        decode_us: 0,
        infer_us: random.u64(0..1 << 40),
        total_us: 3,
        batch_size: random.u32(..),
        status: random.choice([Status::Ok, Status::Failed(ErrorKind::DeadlineExceeded)]).unwrap(),
        row: random.u32(..),
        count: 1,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shipped_verifies_and_leaves_the_spool() {
    let place = Place::new().await;
    let dirs = [place.chain(1, 3, 40), place.chain(2, 0, 7)];
    for dir in &dirs {
        place.ship(dir).await;
        assert!(!dir.path.exists(), "a chain that is complete leaves no folder");
    }
    let verified = place.verify().await;
    assert_eq!(verified.findings, []);
    let counts = (verified.rows, verified.chains, verified.manifests, verified.signed);
    assert_eq!(counts, (4 * 40 + 7, 2, 5, 5));
    for dir in &dirs {
        let noted = place.parts.registry.chain(&dir.chain.to_string()).await.unwrap().unwrap();
        assert!(noted.head.is_some() && noted.closing.is_some(), "{noted:?}");
    }
}

/// A store whose calls fail from the nth on, before or after they had their effect.
#[derive(Debug)]
struct Dying {
    store: Arc<dyn ObjectStore>,
    left: AtomicI64,
    after: bool,
}

impl Dying {
    fn gone() -> StoreError {
        StoreError::Unavailable { key: "all".to_owned(), reason: "the test says so".to_owned() }
    }

    async fn call<T: Send>(
        &self,
        work: BoxFuture<'_, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match self.left.fetch_sub(1, Ordering::SeqCst) {
            left if left > 0 => work.await,
            0 if self.after => work.await.and(Err(Self::gone())),
            _ => Err(Self::gone()),
        }
    }
}

impl ObjectStore for Dying {
    fn put_new<'a>(
        &'a self,
        key: &'a ObjectKey,
        content: Bytes,
        keep: Keep,
    ) -> BoxFuture<'a, Result<Written, StoreError>> {
        self.call(self.store.put_new(key, content, keep)).boxed()
    }
    fn get<'a>(&'a self, key: &'a ObjectKey, limit: u64) -> BoxFuture<'a, Result<Bytes, StoreError>> {
        self.call(self.store.get(key, limit)).boxed()
    }
    fn head<'a>(
        &'a self,
        key: &'a ObjectKey,
    ) -> BoxFuture<'a, Result<Option<ObjectInfo>, StoreError>> {
        self.call(self.store.head(key)).boxed()
    }
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a ObjectKey>,
    ) -> BoxFuture<'a, Result<Vec<ObjectInfo>, StoreError>> {
        self.call(self.store.list(prefix, after)).boxed()
    }
    fn delete<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<(), StoreError>> {
        self.call(self.store.delete(key)).boxed()
    }
    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.check()
    }
    fn place(&self) -> String {
        self.store.place()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shipper_may_die_at_any_call() {
    let mut deaths = 0;
    for after in [false, true] {
        for calls in 0.. {
            let place = Place::new().await;
            let dir = place.chain(1, 2, 12);
            let store = Arc::clone(&place.parts.store);
            let dying = Dying { store, left: AtomicI64::new(calls), after };
            let parts = ShipParts { store: Arc::new(dying), ..place.parts.clone() };
            let died = ship_chain(&parts, &dir, Micros(BEGIN)).await.is_err();
            if died {
                deaths += 1;
                place.ship(&dir).await;
            }
            let verified = place.verify().await;
            assert_eq!((verified.findings.as_slice(), verified.rows), (&[][..], 36), "call {calls}");
            if !died {
                break;
            }
        }
    }
    assert!(deaths > 20, "{deaths}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_was_put_back_catches_up() {
    let place = Place::new().await;
    let dir = place.chain(1, 2, 12);
    let spool = place.folder.path().join("copy");
    std::fs::create_dir(&spool).unwrap();
    for file in std::fs::read_dir(&dir.path).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), spool.join(file.file_name())).unwrap();
    }
    place.ship(&dir).await;
    // The segments are back, the store is as it was, and the registry knows nothing.
    std::fs::rename(&spool, &dir.path).unwrap();
    let other = Place::new().await;
    let parts = ShipParts { registry: Arc::clone(&other.parts.registry), ..place.parts.clone() };
    let shipped = ship_chain(&parts, &dir, Micros(BEGIN)).await.unwrap().unwrap();
    assert_eq!((shipped.rows, shipped.files), (0, 0), "all of it was there");
    let name = dir.chain.to_string();
    let caught_up = parts.registry.chain(&name).await.unwrap().unwrap().head;
    let before = place.parts.registry.chain(&name).await.unwrap().unwrap().head;
    assert_eq!(caught_up, before);
    assert_eq!(place.verify().await.findings, []);
}

/// Damages the store in one way and says what `verify` finds.
async fn tampered(damage: impl Fn(&Path, &[PathBuf])) -> Vec<hilum::audit::Finding> {
    let place = Place::new().await;
    for dir in [place.chain(1, 3, 10), place.chain(2, 1, 10)] {
        place.ship(&dir).await;
    }
    assert_eq!(place.verify().await.findings, []);
    damage(&place.folder.path().join("store"), &place.objects());
    place.verify().await.findings
}

fn manifests(objects: &[PathBuf]) -> Vec<&PathBuf> {
    objects.iter().filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect()
}

fn files(objects: &[PathBuf]) -> Vec<&PathBuf> {
    objects.iter().filter(|path| path.extension().is_some_and(|ending| ending == "parquet")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_in_any_object_is_found_and_named() {
    let place = Place::new().await;
    place.ship(&place.chain(1, 2, 10)).await;
    for object in place.objects() {
        let good = std::fs::read(&object).unwrap();
        for at in [0, good.len() / 3, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&object, &bad).unwrap();
            let findings = place.verify().await.findings;
            let name = object.file_name().unwrap().to_str().unwrap();
            let named = |finding: &hilum::audit::Finding| {
                finding.object.as_ref().is_some_and(|object| object.ends_with(name))
            };
            assert!(findings.iter().any(named), "{name} byte {at}: {findings:?}");
        }
        std::fs::write(&object, &good).unwrap();
    }
    assert_eq!(place.verify().await.findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_swapped_cut_or_foreign_is_found() {
    let remove = |path: &PathBuf| std::fs::remove_file(path).unwrap();
    let said = |findings: Vec<hilum::audit::Finding>, word: &str| {
        assert!(findings.iter().any(|finding| finding.problem.contains(word)), "{word}: {findings:?}");
    };
    said(tampered(|_, objects| remove(files(objects)[0])).await, "the file is missing");
    said(tampered(|_, objects| remove(manifests(objects)[1])).await, "manifest 1 is missing");
    let last = tampered(|_, objects| {
        let of_first = manifests(objects)[3];
        assert!(of_first.ends_with("3.json"));
        remove(of_first);
    });
    said(last.await, "the end is missing");
    let swapped = tampered(|_, objects| {
        let (a, b) = (manifests(objects)[1], manifests(objects)[2]);
        let (first, second) = (std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
        std::fs::write(a, second).unwrap();
        std::fs::write(b, first).unwrap();
    });
    said(swapped.await, "it is manifest 2");
    let cut = tampered(|_, objects| {
        let bytes = std::fs::read(manifests(objects)[0]).unwrap();
        std::fs::write(manifests(objects)[0], &bytes[..bytes.len() / 2]).unwrap();
    });
    said(cut.await, "it is no manifest");
    let chain = tampered(|store, objects| {
        let folder = manifests(objects)[0].parent().unwrap();
        let chain = folder.file_name().unwrap().to_str().unwrap().to_owned();
        std::fs::remove_dir_all(folder).unwrap();
        for file in files(objects) {
            if file.to_str().unwrap().contains(&chain) {
                std::fs::remove_file(file).unwrap();
            }
        }
        assert!(store.is_dir());
    });
    said(chain.await, "no manifest of this chain is in the store");
    let foreign = tampered(|_, objects| {
        let file = files(objects)[0];
        std::fs::copy(file, file.with_file_name("planted-0-9.parquet")).unwrap();
    });
    said(foreign.await, "no manifest names this file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_shippers_after_one_folder_and_two_replicas_in_one_store() {
    let place = Place::new().await;
    let dirs = [place.chain(1, 3, 30), place.chain(2, 3, 30)];
    let rounds = (0..8).map(|n| {
        let (parts, dir) = (place.parts.clone(), dirs[n % 2].clone());
        tokio::spawn(async move { ship_chain(&parts, &dir, Micros(BEGIN)).await.unwrap() })
    });
    let shipped = futures::future::join_all(rounds.collect::<Vec<_>>()).await;
    let rows: u64 = shipped.iter().map(|one| one.as_ref().unwrap().unwrap_or_default().rows).sum();
    assert_eq!(rows, 240, "each row by one of them");
    let verified = place.verify().await;
    assert_eq!((verified.findings.as_slice(), verified.rows), (&[][..], 240));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_in_the_spool_is_refused_and_nothing_is_removed() {
    let place = Place::new().await;
    let dir = place.chain(1, 3, 10);
    let sealed = dir.sealed().unwrap();
    std::fs::remove_file(&sealed[1].path).unwrap();
    let error = ship_chain(&place.parts, &dir, Micros(BEGIN)).await.unwrap_err();
    assert!(error.to_string().contains("a segment is missing") && !error.is_retryable(), "{error}");
    assert!(sealed[2].path.exists());
}
