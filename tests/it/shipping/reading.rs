//! Rows out of the store and the spool, by the commands.

use std::collections::BTreeSet;
use std::path::Path;

use hilum::audit::{Micros, each_row};
use hilum::store::LocalStore;
use serde_json::Value;

use super::{BEGIN, Place};
use crate::commands::{hilum, text};

pub fn run(arguments: &[&str], config: &str, code: i32) -> String {
    let output = hilum(&[arguments, &["--config", config]].concat());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn shown(arguments: &[&str], config: &str) -> Vec<Value> {
    let arguments = [&["audit", "show", "--output", "json"], arguments].concat();
    run(&arguments, config, 0).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn unique(rows: &[Value]) -> BTreeSet<(String, u64)> {
    let key =
        |row: &Value| (row["chain"].as_str().unwrap().to_owned(), row["seq"].as_u64().unwrap());
    rows.iter().map(key).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_row_is_read_once_wherever_it_is() {
    let place = Place::new().await;
    let config = place.config();
    let shipped = place.chain(1, 2, 20);
    let waiting = place.chain(2, 2, 20);
    // One segment is in both: its shipper died before it was removed.
    let both = shipped.sealed().unwrap().remove(1);
    let bytes = std::fs::read(&both.path).unwrap();
    let before = shown(&[], &config);
    assert_eq!((before.len(), unique(&before).len()), (120, 120));
    place.ship(&shipped).await;
    std::fs::create_dir(&shipped.path).unwrap();
    std::fs::write(&both.path, bytes).unwrap();
    assert_eq!(waiting.segments().unwrap().len(), 3);
    let mut after = shown(&[], &config);
    assert_eq!(after.len(), 120);
    // The very same rows, though some have been Parquet in between.
    let place_of = |row: &Value| (row["chain"].to_string(), row["seq"].as_u64());
    let mut before = before;
    before.sort_by_key(place_of);
    after.sort_by_key(place_of);
    assert_eq!(before, after);
    assert_eq!(shown(&["--spool-only"], &config).len(), 60 + 20);

    // Filters hold over both.
    let of = |name: &str| before.iter().filter(|row| row["model"] == name).count();
    assert_eq!(shown(&["--model", "mnist"], &config).len(), of("mnist"));
    assert_eq!(shown(&["--model", "_none", "--limit", "3"], &config).len(), 3);
    let day = |row: &&Value| row["ts"].as_str().unwrap().starts_with("2026-11-28");
    assert_eq!(shown(&["--until", "2026-11-29"], &config).len(), before.iter().filter(day).count());
    assert_eq!(
        shown(&["--since", "2026-11-29T00:00:00Z", "--until", "2026-11-29"], &config).len(),
        0
    );
    let id = before[70]["audit_id"].as_str().unwrap();
    let found = shown(&["--audit-id", id], &config);
    assert!(!found.is_empty() && found.iter().all(|row| row["audit_id"] == id));
    run(&["audit", "show", "--audit-id", "0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"], &config, 3);
    assert!(run(&["audit", "show"], &config, 0).lines().count() == 121);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_come_first_over_models_chains_days_and_places() {
    let place = Place::new().await;
    let config = place.config();
    // Three hundred minutes each, over midnight, of three models: two in the store and two in the spool.
    for (seed, rows) in [(1, 7), (2, 11)] {
        place.ship(&place.chain(seed, 2, rows)).await;
    }
    place.chain(3, 1, 15);
    place.chain(4, 0, 30);
    let all = shown(&[], &config);
    assert_eq!((all.len(), unique(&all).len()), (21 + 33 + 30 + 30, 21 + 33 + 30 + 30));
    let times = |rows: &[Value]| -> Vec<String> {
        rows.iter().map(|row| row["ts"].as_str().unwrap().to_owned()).collect()
    };
    assert!(times(&all).is_sorted(), "{:?}", times(&all));
    for limit in [1, 5, 50] {
        assert_eq!(shown(&["--limit", &limit.to_string()], &config), all[..limit]);
    }
    // Within a chain the order is that of the numbers, for one model too.
    for rows in [&all, &shown(&["--model", "mnist"], &config)] {
        for chain in rows.iter().map(|row| row["chain"].as_str().unwrap()).collect::<BTreeSet<_>>()
        {
            let of = rows.iter().filter(|row| row["chain"] == chain);
            assert!(of.map(|row| row["seq"].as_u64()).is_sorted());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_exported_is_what_is_shown() {
    let place = Place::new().await;
    let config = place.config();
    place.ship(&place.chain(1, 1, 30)).await;
    place.chain(2, 0, 10);
    let rows = shown(&[], &config);
    let csv = place.folder.path().join("rows.csv");
    let said = run(&["audit", "export", csv.to_str().unwrap()], &config, 0);
    assert!(said.starts_with("70 rows"), "{said}");
    let mut reader = csv::Reader::from_path(&csv).unwrap();
    let names = reader.headers().unwrap().clone();
    assert_eq!(names.iter().collect::<Vec<_>>(), hilum::audit::COLUMNS);
    for (row, cells) in rows.iter().zip(reader.records()) {
        for (name, cell) in names.iter().zip(&cells.unwrap()) {
            let expected = match &row[name] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            assert_eq!(cell, expected, "{name}");
        }
    }
    // A table of Parquet is a file of rows of any chain: a store made of it shows the same.
    let table = place.folder.path().join("rows.parquet");
    run(&["audit", "export", table.to_str().unwrap(), "--model", "mnist"], &config, 0);
    let other = Place::new().await;
    let folder = other.folder.path().join("store/audit/model=mnist/dt=2026-11-28");
    std::fs::create_dir_all(&folder).unwrap();
    let chain = rows[0]["chain"].as_str().unwrap();
    std::fs::copy(&table, folder.join(format!("{chain}-0-9.parquet"))).unwrap();
    let again = shown(&[], &other.config());
    let mnist: Vec<Value> = rows.into_iter().filter(|row| row["model"] == "mnist").collect();
    assert_eq!(again, mnist);
    run(&["audit", "export", "rows.xlsx"], &config, 2);
    assert!(!Path::new("rows.xlsx").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_none_is_named() {
    let place = Place::new().await;
    place.ship(&place.chain(1, 1, 30)).await;
    let broken =
        place.objects().into_iter().find(|path| path.extension().unwrap() == "parquet").unwrap();
    std::fs::write(&broken, "PAR1 nothing PAR1").unwrap();
    let store = LocalStore::new(place.folder.path().join("store"));
    let spool = place.spool();
    let filter = hilum::audit::Filter::default();
    let mut each = |_| std::ops::ControlFlow::Continue(());
    let error = each_row(Some(&store), &spool, &filter, &mut each).await.unwrap_err();
    assert!(error.to_string().contains(broken.file_name().unwrap().to_str().unwrap()), "{error}");
}

/// What `tests/store/test_athena.py` queries: into the folder that `HILUM_TEST_SAMPLE` names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sample_of_the_record_is_whole() {
    let place = match std::env::var_os("HILUM_TEST_SAMPLE") {
        Some(folder) => Place::at(Path::new(&folder)).await,
        None => Place::new().await,
    };
    for seed in 1..4 {
        place.ship(&place.chain(seed, 2, 100)).await;
    }
    let verified = place.verify().await;
    assert_eq!((verified.findings.as_slice(), verified.rows), (&[][..], 900));
    let config = place.config();
    let begin = Micros(BEGIN).to_string();
    let rows = shown(&["--limit", "1000"], &config);
    assert_eq!(rows.len(), 900);
    assert!(rows.iter().all(|row| row["ts"].as_str().unwrap() >= begin.as_str()));
    assert!(run(&["audit", "verify"], &config, 0).contains("900 rows"));
}
