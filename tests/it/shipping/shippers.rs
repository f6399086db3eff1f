//! Shippers: a whole chain, deaths at any call, several after one folder, what is left over, gaps.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hilum::audit::{Micros, ShipParts, ship_chain};
use hilum::store::{Keep, ObjectInfo, ObjectKey, ObjectStore, StoreError, Written};

use super::{BEGIN, Place};

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
    fn get<'a>(
        &'a self,
        key: &'a ObjectKey,
        limit: u64,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>> {
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
            assert_eq!(
                (verified.findings.as_slice(), verified.rows),
                (&[][..], 36),
                "call {calls}"
            );
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_damaged_chain_what_is_sealed_is_shipped_and_the_rest_waits_for_a_person() {
    let place = Place::new().await;
    let dir = place.chain(1, 2, 10);
    let open = dir.open_segments().unwrap().remove(0);
    let whole = std::fs::read(&open).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    std::fs::write(&open, &damaged).unwrap();
    let error = ship_chain(&place.parts, &dir, Micros(BEGIN)).await.unwrap_err();
    assert!(
        error.to_string().contains("damage and no torn tail") && !error.is_retryable(),
        "{error}"
    );
    assert_eq!(place.verify().await.rows, 20, "what is sealed is in the store");
    assert_eq!(std::fs::read(&open).unwrap(), damaged);
    // Put right from a copy, all of it is shipped.
    std::fs::write(&open, &whole).unwrap();
    place.ship(&dir).await;
    assert_eq!((place.verify().await.rows, dir.path.exists()), (30, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_is_left_over_is_held_against_the_store_before_it_goes() {
    let place = Place::new().await;
    let dir = place.chain(1, 2, 10);
    let left = dir.sealed().unwrap().remove(0);
    let bytes = std::fs::read(&left.path).unwrap();
    place.ship(&dir).await;
    std::fs::create_dir(&dir.path).unwrap();
    std::fs::write(&left.path, &bytes).unwrap();
    let shipped = ship_chain(&place.parts, &dir, Micros(BEGIN)).await.unwrap().unwrap();
    assert_eq!((shipped.rows, dir.path.exists()), (0, false));
    // The same name with other rows: it stays, for a person.
    let other = Place::new().await;
    let foreign = other.chain_of(dir.chain, 7, 2, 10).sealed().unwrap().remove(0);
    std::fs::create_dir(&dir.path).unwrap();
    std::fs::copy(&foreign.path, &left.path).unwrap();
    let error = ship_chain(&place.parts, &dir, Micros(BEGIN)).await.unwrap_err();
    assert!(error.to_string().contains("does not continue"), "{error}");
    assert!(left.path.exists() && !error.is_retryable());
}
