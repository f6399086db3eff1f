//! One suite over every object store: a folder always, and the store that `HILUM_TEST_STORE` names by a
//! configuration file (`make test-store` starts real ones).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use hilum::store::{self, Keep, ObjectKey, ObjectStore, StoreError, StoreSettings, Written};

fn key(text: &str) -> ObjectKey {
    text.parse().unwrap()
}

/// Bytes that no compression or coincidence repeats.
fn noise(length: usize, seed: u64) -> Bytes {
    let mut source = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| source.u8(..)).take(length).collect()
}

/// A store with nothing in it below the prefix that comes with it.
async fn folder() -> (tempfile::TempDir, Arc<dyn ObjectStore>) {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("not/yet/there");
    let store = store::open(StoreSettings::Local { directory }).await.unwrap();
    (folder, store)
}

/// The store that the environment names, and a prefix of this run.
async fn named(variable: &str) -> Option<(Arc<dyn ObjectStore>, String)> {
    let Some(file) = std::env::var_os(variable) else {
        println!("skipped: {variable} names no configuration file");
        return None;
    };
    let overrides = hilum::config::Overrides::default();
    let config = hilum::config::load(Some(file.as_ref()), &overrides).unwrap();
    let store = store::open(config.store.settings()).await.unwrap();
    Some((store, format!("run-{}", uuid::Uuid::now_v7().simple())))
}

async fn conforms(store: &dyn ObjectStore, run: &str) {
    store.check().await.unwrap();
    what_is_written_is_read(store, run).await;
    nothing_is_replaced(store, run).await;
    one_writer_of_many_wins(store, run).await;
    pages_hold_each_object_once(store, run).await;
    what_is_deleted_is_gone(store, run).await;
}

async fn what_is_written_is_read(store: &dyn ObjectStore, run: &str) {
    for (seed, length) in [0, 1, 1000, 64 << 10, 6 << 20].into_iter().enumerate() {
        let (key, content) =
            (key(&format!("{run}/a=b/dt=2026-11-28/{length}.x")), noise(length, seed as u64));
        assert!(matches!(store.get(&key, 1).await, Err(StoreError::NotFound { .. })));
        assert_eq!(store.head(&key).await.unwrap(), None);
        let written = store.put_new(&key, content.clone(), Keep::ForGood).await.unwrap();
        assert_eq!(written, Written::New);
        assert_eq!(store.get(&key, length as u64).await.unwrap(), content);
        let info = store.head(&key).await.unwrap().unwrap();
        assert_eq!((&info.key, info.bytes), (&key, length as u64));
        let digest = hilum::domain::Digest::of(&content);
        assert!(info.sha256.is_none_or(|there| there == digest), "{info:?}");
        if length > 0 {
            let short = store.get(&key, length as u64 - 1).await;
            assert!(matches!(short, Err(StoreError::TooLarge { .. })), "{short:?}");
        }
    }
}

async fn nothing_is_replaced(store: &dyn ObjectStore, run: &str) {
    let key = key(&format!("{run}/once"));
    let (first, second) = (noise(5000, 1), noise(5000, 2));
    let put = |content: &Bytes| store.put_new(&key, content.clone(), Keep::UntilDeleted);
    assert_eq!(put(&first).await.unwrap(), Written::New);
    assert_eq!(put(&first).await.unwrap(), Written::Before);
    let refused = put(&second).await.unwrap_err();
    assert!(matches!(refused, StoreError::Different { .. }), "{refused}");
    assert!(refused.to_string().contains("once") && !refused.is_retryable(), "{refused}");
    assert_eq!(store.get(&key, 5000).await.unwrap(), first);
}

async fn one_writer_of_many_wins(store: &dyn ObjectStore, run: &str) {
    for round in 0..5 {
        let key = key(&format!("{run}/race/{round}"));
        let contents: Vec<Bytes> = (0..16).map(|seed| noise(3000, 100 + seed)).collect();
        let puts =
            contents.iter().map(|content| store.put_new(&key, content.clone(), Keep::UntilDeleted));
        let results = join_all(puts).await;
        let winners: Vec<usize> =
            (0..16).filter(|n| matches!(results[*n], Ok(Written::New))).collect();
        assert_eq!(winners.len(), 1, "{results:?}");
        let lost =
            results.iter().filter(|result| matches!(result, Err(StoreError::Different { .. })));
        assert_eq!(lost.count(), 15, "{results:?}");
        assert_eq!(store.get(&key, 3000).await.unwrap(), contents[winners[0]]);
    }
}

async fn pages_hold_each_object_once(store: &dyn ObjectStore, run: &str) {
    let nothing = store.list(&format!("{run}/list/"), None).await.unwrap();
    assert_eq!(nothing, Vec::new());
    // `-` and `.` come before `/`, `0` after it: the order of whole keys is not that of folders, and stores
    // have one or the other.
    let names = ["a/1", "a/2", "a-b/1", "a.b", "a0", "b/c/d", "b/c-d"];
    let mut keys: Vec<ObjectKey> =
        names.iter().map(|name| key(&format!("{run}/list/{name}"))).collect();
    keys.extend((0..1003).map(|n| key(&format!("{run}/list/many/{n:04}"))));
    for some in keys.chunks(32) {
        let puts =
            some.iter().map(|key| store.put_new(key, Bytes::from_static(b"x"), Keep::UntilDeleted));
        for written in join_all(puts).await {
            assert_eq!(written.unwrap(), Written::New);
        }
    }
    keys.sort();
    let listed = |page: Vec<store::ObjectInfo>| -> Vec<ObjectKey> {
        page.into_iter().map(|info| info.key).collect()
    };
    let prefix = format!("{run}/list/");
    let mut pages = listed(store.list(&prefix, None).await.unwrap());
    assert_eq!(pages.len(), store::PAGE);
    pages.extend(listed(store.list(&prefix, pages.last()).await.unwrap()));
    pages.sort();
    assert_eq!(pages, keys);
    assert_eq!(listed(store::list_all(store, &prefix).await.unwrap()), keys);
    // A prefix is of bytes, not of folders.
    let a = listed(store.list(&format!("{run}/list/a"), None).await.unwrap());
    assert_eq!(a.len(), 5);
    for at in 0..a.len() {
        let after = listed(store.list(&format!("{run}/list/a"), Some(&a[at])).await.unwrap());
        assert_eq!(after, a[at + 1..]);
    }
}

async fn what_is_deleted_is_gone(store: &dyn ObjectStore, run: &str) {
    let key = key(&format!("{run}/short"));
    store.delete(&key).await.unwrap();
    for content in [noise(10, 1), noise(10, 2)] {
        let written = store.put_new(&key, content.clone(), Keep::UntilDeleted).await.unwrap();
        assert_eq!(written, Written::New);
        assert_eq!(store.get(&key, 10).await.unwrap(), content);
        store.delete(&key).await.unwrap();
        assert_eq!(store.head(&key).await.unwrap(), None);
        assert!(matches!(store.get(&key, 10).await, Err(StoreError::NotFound { .. })));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_keeps_the_promises() {
    let (_folder, store) = folder().await;
    conforms(store.as_ref(), "run").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_store_keeps_the_promises() {
    let Some((store, run)) = named("HILUM_TEST_STORE").await else { return };
    conforms(store.as_ref(), &run).await;
}

/// Whatever is the matter with the store that the environment names: a refusal is one, a failure that may
/// pass is one, and neither is the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_with_a_fault_is_told_apart() {
    let Some((store, run)) = named("HILUM_TEST_STORE_FAULT").await else { return };
    let expected = std::env::var("HILUM_TEST_STORE_EXPECTED").unwrap();
    let key = key(&format!("{run}/x"));
    let put = store.put_new(&key, noise(100_000, 3), Keep::ForGood).await;
    match expected.as_str() {
        "works" => assert_eq!(put.unwrap(), Written::New),
        "before" => assert_eq!(put.unwrap(), Written::Before),
        "denied" => assert!(matches!(put, Err(StoreError::Denied { .. })), "{put:?}"),
        "refused" => {
            assert!(matches!(put, Err(StoreError::Refused { .. })), "{put:?}");
            // What is there by now, perhaps, is not as it should be: the next attempt does not take it.
            let again = store.put_new(&key, noise(100_000, 3), Keep::ForGood).await;
            assert!(matches!(again, Err(StoreError::Refused { .. })), "{again:?}");
        }
        "unavailable" => assert!(matches!(put, Err(StoreError::Unavailable { .. })), "{put:?}"),
        "check" => assert!(matches!(store.check().await, Err(StoreError::Refused { .. }))),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_leaves_no_object_and_a_folder_that_cannot_be_written_is_denied() {
    let (folder, store) = folder().await;
    let at = folder.path().join("not/yet/there");
    store.put_new(&key("a/b"), noise(10, 1), Keep::ForGood).await.unwrap();
    // What a crash leaves: a file in the making.
    std::fs::write(at.join("a/.partial-xyz"), "half").unwrap();
    let found = store::list_all(store.as_ref(), "").await.unwrap();
    assert_eq!(found.iter().map(|info| info.key.as_str()).collect::<Vec<_>>(), ["a/b"]);
    // A file where a folder should be.
    let refused = store.put_new(&key("a/b/c"), noise(10, 1), Keep::ForGood).await.unwrap_err();
    assert!(refused.to_string().contains("a/b"), "{refused}");
    // Nothing of ours is left behind by either.
    let left: Vec<_> =
        std::fs::read_dir(at.join("a")).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_writer_left_behind_goes_once_it_is_old() {
    let (folder, store) = folder().await;
    let at = folder.path().join("not/yet/there/a");
    std::fs::create_dir_all(&at).unwrap();
    let hours_ago = |hours: u64| std::time::SystemTime::now() - Duration::from_secs(hours * 3600);
    for (name, hours) in [(".partial-old", 2), (".partial-young", 0), (".other", 2)] {
        let file = std::fs::File::create(at.join(name)).unwrap();
        file.set_modified(hours_ago(hours)).unwrap();
    }
    store.put_new(&key("a/b"), noise(10, 1), Keep::ForGood).await.unwrap();
    let left = std::fs::read_dir(&at).unwrap().map(|f| f.unwrap().file_name());
    let mut left: Vec<_> = left.map(|name| name.into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, [".other", ".partial-young", "b"]);
}
