//! What `verify` says of what is wrong: which row, which manifest, and whose files are whose. And that it
//! writes nothing, nor calls nothing whole.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hilum::audit::{
    Export, ExportFormat, Filter, Finding, Manifest, Row, Verification, VerifyError, each_row,
};
use hilum::domain::Digest;
use hilum::registry::ChainOpening;

use super::reading::run;
use super::{BEGIN, Place};
use crate::commands::{hilum, text};

/// Two chains, of four manifests and of two.
async fn shipped() -> Place {
    let place = Place::new().await;
    for dir in [place.chain(1, 3, 10), place.chain(2, 1, 10)] {
        place.ship(&dir).await;
    }
    assert_eq!(place.verify().await.findings, []);
    place
}

fn named(place: &Place, ending: &str) -> Vec<PathBuf> {
    place.objects().into_iter().filter(|path| path.to_str().unwrap().ends_with(ending)).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn problems(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.problem.as_str()).collect()
}

/// Changes the last row but `back` of manifest `path`'s largest file in all its form; the manifest has the
/// new digest, and the old signature. The row that was changed.
async fn forge(place: &Place, path: &Path, back: usize) -> Row {
    let manifest = Manifest::read(&std::fs::read(path).unwrap()).unwrap();
    let file = manifest.files.iter().max_by_key(|file| file.last).unwrap();
    let mut rows = Vec::new();
    let mut each = |row: Row| {
        let folder = format!("audit/model={}/dt={}/", row.record.model, row.record.ts.date());
        let within = (file.first..=file.last).contains(&row.link.seq);
        if within && file.key.starts_with(&folder) && file.key.contains(&row.link.chain.to_string())
        {
            rows.push(row);
        }
        ControlFlow::Continue(())
    };
    let nowhere = place.folder.path().join("nowhere");
    let store = place.parts.store.as_ref();
    each_row(Some(store), &nowhere, &Filter::default(), &mut each).await.unwrap();
    assert_eq!(rows.len() as u64, file.rows);
    let at = rows.len() - 1 - back.min(rows.len() - 1);
    rows[at].record.label = Some("forged".to_owned());
    let object = place.folder.path().join("store").join(&file.key);
    let mut export = Export::create(&object, ExportFormat::Parquet).unwrap();
    rows.iter().for_each(|row| export.push(row).unwrap());
    export.finish().unwrap();
    let bytes = std::fs::read(&object).unwrap();
    let forged =
        read(path).replace(&file.sha256.to_string(), &Digest::of(&bytes).to_string()).replace(
            &format!("\"bytes\":{},\"first\":{}", file.bytes, file.first),
            &format!("\"bytes\":{},\"first\":{}", bytes.len(), file.first),
        );
    std::fs::write(path, forged).unwrap();
    rows.swap_remove(at)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_row_is_named_though_its_manifest_has_its_digest() {
    for (number, back) in [(1, 0), (1, 1), (3, 0), (0, 2)] {
        let place = shipped().await;
        let manifests = named(&place, &format!("/{number}.json"));
        let row = forge(&place, &manifests[0], back).await;
        for findings in [place.verify().await.findings, place.verify_store().await.findings] {
            let id = row.record.audit_id.to_string();
            let is =
                |it: &Finding| (it.seq, it.audit_id.as_deref()) == (Some(row.link.seq), Some(&id));
            let found = findings.iter().find(|it| is(it)).unwrap_or_else(|| panic!("{findings:?}"));
            assert!(found.problem.contains("the row was changed"), "{found:?}");
            let others = findings.iter().filter(|it| it.seq.is_some() && !is(it)).count();
            assert_eq!(others, 0, "no other row is blamed: {findings:?}");
            let said = problems(&findings);
            assert!(said.iter().any(|it| it.contains("the signature does not hold")), "{said:?}");
            assert!(!said.iter().any(|it| it.contains("no manifest names")), "{said:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_whose_manifest_is_gone_or_damaged_are_said_to_have_belonged_to_it() {
    let remove = |path: &Path| std::fs::remove_file(path).unwrap();
    let cut = |path: &Path| std::fs::write(path, &read(path)[..40]).unwrap();
    let rename = |path: &Path| {
        std::fs::write(path, read(path).replacen("\"files\"", "\"filed\"", 1)).unwrap()
    };
    for damage in [&remove as &dyn Fn(&Path), &cut, &rename] {
        for number in [0, 1, 3] {
            let place = shipped().await;
            let path = &named(&place, &format!("/{number}.json"))[0];
            let files = Manifest::read(&std::fs::read(path).unwrap()).unwrap().files;
            damage(path);
            let store = place.verify_store().await;
            let of_both = [place.verify().await, store];
            for report in &of_both {
                let findings = &report.findings;
                // The last manifest's absence is seen by the registry alone.
                if !path.exists() && number == 3 && !report.with_registry {
                    assert_eq!((findings.len(), report.pending_files), (0, files.len() as u64));
                    continue;
                }
                assert_eq!(report.pending_files, 0, "{findings:?}");
                for file in &files {
                    let of = |it: &&Finding| it.object.as_deref() == Some(file.key.as_str());
                    let found = findings.iter().find(of).unwrap();
                    let belonged = format!("it belonged to manifest {number}, ");
                    assert!(found.problem.contains(&belonged), "{found:?}");
                }
                assert!(!problems(findings).iter().any(|it| it.contains("somebody else")));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_a_chain_that_was_removed_are_its_own_and_a_planted_one_is_not() {
    let place = shipped().await;
    let manifests = named(&place, "/3.json");
    let folder = manifests[0].parent().unwrap().to_owned();
    let chain = folder.file_name().unwrap().to_str().unwrap().to_owned();
    std::fs::remove_dir_all(&folder).unwrap();
    let file =
        named(&place, ".parquet").into_iter().find(|it| it.to_str().unwrap().contains(&chain));
    let planted = file.unwrap().with_file_name(format!("{chain}-400-409.parquet"));
    std::fs::write(&planted, "PAR1").unwrap();
    let findings = place.verify().await.findings;
    let (own, other): (Vec<_>, Vec<_>) = findings
        .iter()
        .filter(|it| it.object.is_some())
        .partition(|it| it.problem.contains("it belonged to manifests 0 to 3"));
    assert!(own.len() > 3, "{findings:?}");
    assert_eq!(other.len(), 1, "{findings:?}");
    assert!(other[0].object.as_ref().unwrap().ends_with("-400-409.parquet"));
    assert!(other[0].problem.contains("somebody else put it there"), "{other:?}");
    assert!(problems(&findings).iter().any(|it| it.contains("the whole chain is missing")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_in_capitals_and_names_that_are_none_are_found() {
    let place = shipped().await;
    let last = &named(&place, "/3.json")[0];
    let good = read(last);
    for name in ["+4.json", "00.json", "4.json.bak", "4 (copy).json", "4", "x/5.json"] {
        let stray = last.with_file_name(name);
        std::fs::create_dir_all(stray.parent().unwrap()).unwrap();
        std::fs::write(&stray, &good).unwrap();
        for findings in [place.verify().await.findings, place.verify_store().await.findings] {
            assert_eq!(findings.len(), 1, "{name}: {findings:?}");
            assert!(findings[0].object.as_ref().unwrap().ends_with(name), "{findings:?}");
        }
        std::fs::remove_file(&stray).unwrap();
    }
    // A far number is one finding, and no long walk.
    let far = last.with_file_name(format!("{}.json", u64::MAX));
    std::fs::write(&far, &good).unwrap();
    let findings = place.verify_store().await.findings;
    assert!(problems(&findings).iter().any(|it| it.contains("manifests 4 to")), "{findings:?}");
    std::fs::remove_file(&far).unwrap();
    let signature = Manifest::read(good.as_bytes()).unwrap().signature.unwrap();
    std::fs::write(last, good.replace(&signature, &signature.to_uppercase())).unwrap();
    let findings = place.verify_store().await.findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].problem.contains("lower-case"), "{findings:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_without_an_end_is_listed_and_nothing_is_called_whole_bare() {
    let place = shipped().await;
    let config = place.config();
    assert!(run(&["audit", "verify"], &config, 0).ends_with("\nwhole\n"));
    let opening = ChainOpening {
        chain: "0193a1b2c3d47e5f8a9b0c1d2e3f4a5b".to_owned(),
        opened_at: BEGIN,
        software: "0.1.0".to_owned(),
        signing_key: None,
    };
    place.parts.registry.open_chain(&opening).await.unwrap();
    let said = run(&["audit", "verify"], &config, 0);
    let line = format!("open chain {} since 2026-11-28T23:00:00", opening.chain);
    assert!(said.contains(&line) && said.contains("nothing of it is in the store"), "{said}");
    assert!(!said.lines().any(|line| line == "whole") && said.contains("1 chains have no end"));
    let json = run(&["audit", "verify", "--output", "json"], &config, 0);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["open_chains"][0]["chain"], opening.chain.as_str());
    assert_eq!(json["open_chains"][0]["seq"], serde_json::Value::Null);
    // Of another chain it says nothing.
    let other = named(&place, "/3.json")[0].parent().unwrap().file_name().unwrap().to_owned();
    let said = run(&["audit", "verify", "--chain", other.to_str().unwrap()], &config, 0);
    assert!(said.ends_with("\nwhole\n"), "{said}");
}

/// Every file below a folder, with its length and when it was written.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let walk = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap);
    walk.map(|entry| {
        let about = entry.metadata().unwrap();
        (entry.path().to_owned(), (about.len(), about.modified().unwrap()))
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_writes_nothing_wherever_the_registry_comes_from() {
    let place = shipped().await;
    // As it is while a service runs, as it is after its end, and as a copy of the file and its log.
    let running = place.folder.path().join("running");
    std::fs::create_dir(&running).unwrap();
    let at = |ending: &str| place.folder.path().join(format!("registry.db{ending}"));
    let config = place.config();
    let check = |chains: &str, file: &Path| {
        let folder = place.folder.path();
        let url = format!("sqlite:{}", file.display());
        let content =
            read(Path::new(&config)).replace(&format!("sqlite:{}", at("").display()), &url);
        std::fs::write(folder.join("other.toml"), content).unwrap();
        let before = snapshot(folder);
        let said = run(&["audit", "verify"], folder.join("other.toml").to_str().unwrap(), 0);
        assert!(said.contains(chains) && said.ends_with("\nwhole\n"), "{said}");
        assert_eq!(snapshot(folder), before);
    };
    check("2 chains", &at(""));
    assert!(std::fs::metadata(at("-wal")).unwrap().len() > 0, "the test has no log to copy");
    for ending in ["", "-wal"] {
        std::fs::copy(at(ending), running.join(format!("registry.db{ending}"))).unwrap();
    }
    check("2 chains", &running.join("registry.db"));
    place.parts.registry.disconnect().await;
    check("2 chains", &at(""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_is_there_to_verify_is_an_error_and_nothing_is_made() {
    let place = Place::new().await;
    let config = place.config();
    let fails = |arguments: &[&str], config: &str, said: &str| {
        let before = snapshot(place.folder.path());
        let output = hilum(&[&["audit", "verify", "--config", config], arguments].concat());
        let text = text(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(said) && !text.contains("whole"), "{text}");
        assert_eq!(snapshot(place.folder.path()), before);
    };
    fails(&[], &config, "store.directory");
    std::fs::create_dir(place.folder.path().join("store")).unwrap();
    fails(&[], &config, "there is nothing to verify");
    fails(&["--without-registry"], &config, "there is nothing to verify");
    place.ship(&place.chain(1, 1, 10)).await;
    run(&["audit", "verify"], &config, 0);
    let nobody = "0193a1b2c3d47e5f8a9b0c1d2e3f4a5b";
    fails(&["--chain", nobody], &config, nobody);
    // A registry that is not there, and one that is empty.
    let wrong = place.folder.path().join("wrong.toml");
    let file = place.folder.path().join("not/there/r.db");
    let url = format!("sqlite:{}", place.folder.path().join("registry.db").display());
    let other = read(Path::new(&config)).replace(&url, &format!("sqlite:{}", file.display()));
    std::fs::write(&wrong, &other).unwrap();
    fails(&[], wrong.to_str().unwrap(), "there is no file");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "").unwrap();
    fails(&[], wrong.to_str().unwrap(), "hilum migrate up");
    // By the library too.
    let store = place.parts.store.as_ref();
    let chain = nobody.parse().ok();
    let nothing = Verification { store, registry: None, keys: Vec::new(), chain }.run().await;
    assert!(matches!(nothing, Err(VerifyError::Nothing(_))), "{nothing:?}");
}
