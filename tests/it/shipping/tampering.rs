//! What was done to the store behind our back is found and named.

use std::path::{Path, PathBuf};

use hilum::audit::Finding;

use super::Place;

/// Damages the store in one way and says what `verify` finds.
async fn tampered(damage: impl Fn(&Path, &[PathBuf])) -> Vec<Finding> {
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
    objects
        .iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "parquet"))
        .collect()
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
            let named = |finding: &Finding| {
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
    let said = |findings: Vec<Finding>, word: &str| {
        assert!(
            findings.iter().any(|finding| finding.problem.contains(word)),
            "{word}: {findings:?}"
        );
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
    said(chain.await, "the whole chain is missing");
    let foreign = tampered(|_, objects| {
        let file = files(objects)[0];
        std::fs::copy(file, file.with_file_name("planted-0-9.parquet")).unwrap();
    });
    said(foreign.await, "no manifest names this file");
}
