//! One suite over every database of the registry: SQLite always, and the server that
//! `HILUM_TEST_REGISTRY` names by a configuration file (`make test-store` starts a real one).

use std::sync::Arc;

use futures::future::join_all;
use hilum::domain::Digest;
use hilum::registry::{
    self, ChainClosing, ChainHead, ChainOpening, ClosedBy, Registry, RegistryError,
    RegistrySettings,
};

use crate::commands::{hilum, text};

fn opening(chain: &str) -> ChainOpening {
    let (software, signing_key) = ("0.1.0".to_owned(), Some([7; 32]));
    ChainOpening {
        chain: chain.to_owned(),
        opened_at: 1_700_000_000_000_000,
        software,
        signing_key,
    }
}

fn head(manifest: u64, seq: u64) -> ChainHead {
    ChainHead {
        manifest,
        manifest_sha256: Digest::of(format!("manifest {manifest} {seq}").as_bytes()),
        seq,
        row_hash: Digest::of(format!("row {seq}").as_bytes()),
        watermark: 1_700_000_000_000_000 + i64::try_from(seq).unwrap(),
    }
}

fn is_conflict(result: Result<(), RegistryError>) -> bool {
    matches!(result, Err(RegistryError::Conflict { .. }))
}

fn settings(url: &str) -> RegistrySettings {
    let config = hilum::config::RegistryConfig { url: url.to_owned(), ..Default::default() };
    config.settings().unwrap()
}

async fn conforms(settings: &RegistrySettings) {
    let registry = registry::open(settings).unwrap();
    let before = registry.migration_status().await.unwrap();
    assert!(before.migrations.iter().all(|step| !step.applied), "{before:?}");
    // Many at once: each ends with the schema up to date.
    let others: Vec<_> = (0..4).map(|_| registry::open(settings).unwrap()).collect();
    for status in join_all(others.iter().map(|other| other.migrate())).await {
        assert!(status.unwrap().is_current());
    }
    assert!(registry.migrate().await.unwrap().is_current());
    chains_begin_once(registry.as_ref()).await;
    heads_move_forward_only(registry.as_ref()).await;
    the_end_is_the_end(registry.as_ref()).await;
    many_shippers_agree(registry.as_ref(), &others).await;
    pages_follow_the_names(registry.as_ref()).await;
    for registry in others.into_iter().chain([registry]) {
        registry.disconnect().await;
    }
}

async fn chains_begin_once(registry: &dyn Registry) {
    assert_eq!(registry.chain("begin").await.unwrap(), None);
    registry.open_chain(&opening("begin")).await.unwrap();
    registry.open_chain(&opening("begin")).await.unwrap();
    // The first words stay; another time is another chain.
    let later =
        ChainOpening { software: "0.2.0".to_owned(), signing_key: None, ..opening("begin") };
    registry.open_chain(&later).await.unwrap();
    let other = ChainOpening { opened_at: later.opened_at + 1, ..opening("begin") };
    assert!(is_conflict(registry.open_chain(&other).await));
    let noted = registry.chain("begin").await.unwrap().unwrap();
    assert_eq!((noted.opening, noted.head, noted.closing), (opening("begin"), None, None));
    let unsigned = ChainOpening { signing_key: None, opened_at: -1, ..opening("unsigned") };
    registry.open_chain(&unsigned).await.unwrap();
    assert_eq!(registry.chain("unsigned").await.unwrap().unwrap().opening, unsigned);
    // A key may come before the first head, and not afterwards; nor does one go or change.
    let keyed = |key| ChainOpening { signing_key: key, ..unsigned.clone() };
    for (key, noted) in [
        (None, None),
        (Some([7; 32]), Some([7; 32])),
        (Some([8; 32]), Some([7; 32])),
        (None, Some([7; 32])),
    ] {
        registry.open_chain(&keyed(key)).await.unwrap();
        let opening = registry.chain("unsigned").await.unwrap().unwrap().opening;
        assert_eq!((opening.signing_key, opening.software.as_str()), (noted, "0.1.0"));
    }
    let headed = ChainOpening { chain: "headed".to_owned(), ..unsigned.clone() };
    registry.open_chain(&headed).await.unwrap();
    registry.advance_chain("headed", &head(0, 1)).await.unwrap();
    let late = ChainOpening { signing_key: Some([7; 32]), ..headed.clone() };
    registry.open_chain(&late).await.unwrap();
    assert_eq!(registry.chain("headed").await.unwrap().unwrap().opening, headed);
}

async fn heads_move_forward_only(registry: &dyn Registry) {
    let lost = registry.advance_chain("nobody", &head(0, 1)).await;
    assert!(matches!(lost, Err(RegistryError::UnknownChain(_))));
    registry.open_chain(&opening("heads")).await.unwrap();
    for (manifest, seq) in [(0, 9), (1, 99), (3, i64::MAX as u64 - 1_700_000_000_000_000)] {
        let head = head(manifest, seq);
        registry.advance_chain("heads", &head).await.unwrap();
        registry.advance_chain("heads", &head).await.unwrap();
        assert_eq!(registry.chain("heads").await.unwrap().unwrap().head, Some(head));
    }
    // Overtaken: no harm.
    registry.advance_chain("heads", &head(1, 99)).await.unwrap();
    let latest = registry.chain("heads").await.unwrap().unwrap().head.unwrap();
    assert_eq!(latest.manifest, 3);
    // The same manifest with other content, a later one with fewer rows, an earlier one with more.
    for wrong in [head(3, 100), head(4, 100), head(2, latest.seq)] {
        assert!(is_conflict(registry.advance_chain("heads", &wrong).await), "{wrong:?}");
    }
    let too_many = ChainHead { manifest: u64::MAX, ..head(5, 5) };
    assert!(is_conflict(registry.advance_chain("heads", &too_many).await));
    assert_eq!(registry.chain("heads").await.unwrap().unwrap().head, Some(latest));
}

async fn the_end_is_the_end(registry: &dyn Registry) {
    let end = ChainClosing { closed_at: 5, closed_by: ClosedBy::Owner };
    let lost = registry.close_chain("nobody", end).await;
    assert!(matches!(lost, Err(RegistryError::UnknownChain(_))));
    registry.open_chain(&opening("end")).await.unwrap();
    registry.advance_chain("end", &head(0, 9)).await.unwrap();
    registry.close_chain("end", end).await.unwrap();
    let later = ChainClosing { closed_at: 6, closed_by: ClosedBy::Adopter };
    registry.close_chain("end", later).await.unwrap();
    registry.advance_chain("end", &head(0, 9)).await.unwrap();
    assert!(is_conflict(registry.advance_chain("end", &head(1, 19)).await));
    let noted = registry.chain("end").await.unwrap().unwrap();
    assert_eq!((noted.head, noted.closing), (Some(head(0, 9)), Some(end)));
    registry.open_chain(&opening("empty")).await.unwrap();
    registry.close_chain("empty", later).await.unwrap();
    let noted = registry.chain("empty").await.unwrap().unwrap();
    assert_eq!((noted.head, noted.closing), (None, Some(later)));
}

async fn many_shippers_agree(registry: &dyn Registry, others: &[Arc<dyn Registry>]) {
    registry.open_chain(&opening("race")).await.unwrap();
    let shippers = others.iter().map(async |shipper| {
        for n in 0..30 {
            shipper.advance_chain("race", &head(n, 10 * n + 9)).await.unwrap();
        }
    });
    join_all(shippers).await;
    assert_eq!(registry.chain("race").await.unwrap().unwrap().head, Some(head(29, 299)));
}

async fn pages_follow_the_names(registry: &dyn Registry) {
    let mut names: Vec<String> = (0..1100).map(|n| format!("p{n:05}")).collect();
    names.extend(["P".to_owned(), "p-".to_owned(), "pa".to_owned()]);
    for name in &names {
        registry.open_chain(&opening(name)).await.unwrap();
    }
    let mut all: Vec<String> = Vec::new();
    loop {
        let page = registry.chains(all.last().map(String::as_str)).await.unwrap();
        let full = page.len() == registry::PAGE as usize;
        all.extend(page.into_iter().map(|chain| chain.opening.chain));
        if !full {
            break;
        }
    }
    let mut sorted = all.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(all, sorted, "each once, in the order of their bytes");
    assert!(names.iter().all(|name| all.contains(name)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_the_promises() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("not/there/registry.db");
    conforms(&settings(&format!("sqlite:{}", file.display()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_keeps_the_promises() {
    let Some(file) = std::env::var_os("HILUM_TEST_REGISTRY") else {
        println!("skipped: HILUM_TEST_REGISTRY names no configuration file");
        return;
    };
    let overrides = hilum::config::Overrides::default();
    let config = hilum::config::load(Some(file.as_ref()), &overrides).unwrap();
    let settings = config.registry.settings().unwrap();
    // Not current before it is migrated, and never by itself.
    let refused = registry::open_current(&settings).await.unwrap_err();
    assert!(refused.to_string().contains("hilum migrate up"), "{refused}");
    conforms(&settings).await;
    registry::open_current(&settings).await.unwrap();
}

#[test]
fn migrate_says_what_is_missing_and_does_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hilum.toml");
    let database = folder.path().join("registry.db");
    std::fs::write(&file, format!("[registry]\nurl = \"sqlite:{}\"\n", database.display()))
        .unwrap();
    let run =
        |what| hilum(&["migrate", what, "--config", file.to_str().unwrap(), "--output", "json"]);
    let applied = |output: &std::process::Output| -> Vec<bool> {
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let steps = status["migrations"].as_array().unwrap();
        steps.iter().map(|step| step["applied"].as_bool().unwrap()).collect()
    };
    for (what, code, done) in
        [("status", 3, false), ("up", 0, true), ("up", 0, true), ("status", 0, true)]
    {
        let output = run(what);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        assert!(applied(&output).iter().all(|step| *step == done), "{what}: {}", text(&output));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_server_is_one_error_in_time_without_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "open-sesame\n").unwrap();
    let config = hilum::config::RegistryConfig {
        url: "postgres://hilum:open-sesame@127.0.0.1:1/hilum".to_owned(),
        password_file: Some(password),
        timeout: std::time::Duration::from_millis(500),
        ..Default::default()
    };
    let registry = registry::open(&config.settings().unwrap()).unwrap();
    let refused = registry.chain("a").await.unwrap_err();
    let said = format!("{refused} {registry:?} {refused:?}");
    assert!(refused.is_retryable() && said.contains("127.0.0.1:1/hilum"), "{said}");
    assert!(!said.contains("sesame"), "{said}");
}
