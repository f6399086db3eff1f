//! A service whose records a sidecar ships notes itself that its chain begins.

use std::path::Path;

use hilum::registry::{self, Chain, DatabaseUrl, RegistrySettings};

use super::Place;
use super::reading::run;
use crate::audit::until;
use crate::process::Process;

async fn noted(place: &Place) -> Vec<Chain> {
    place.parts.registry.chains(None).await.unwrap()
}

fn keys(place: &Place) -> Vec<(&'static str, String)> {
    let at = |name: &str| place.folder.path().join(name).display().to_string();
    std::fs::create_dir_all(place.spool()).unwrap();
    std::fs::create_dir_all(at("store")).unwrap();
    vec![
        ("AUDIT__SPOOL_DIR", at("spool")),
        ("AUDIT__SHIPPER", "sidecar".to_owned()),
        ("AUDIT__SHIP_INTERVAL", "100ms".to_owned()),
        ("AUDIT__SHIP_MAX_BACKOFF", "100ms".to_owned()),
        ("SERVER__DRAIN_GRACE", "10ms".to_owned()),
        ("REGISTRY__URL", format!("sqlite:{}", at("registry.db"))),
    ]
}

fn start(keys: &[(&'static str, String)]) -> Process {
    let keys: Vec<_> = keys.iter().map(|(key, value)| (*key, value.as_str())).collect();
    Process::start(&keys)
}

async fn until_noted(place: &Place, count: usize) -> Vec<Chain> {
    let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
    loop {
        let chains = noted(place).await;
        if chains.len() == count {
            return chains;
        }
        assert!(std::time::Instant::now() < deadline, "{chains:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_whose_spool_is_lost_before_a_sidecar_came_is_known_to_be_open() {
    let place = Place::new().await;
    let process = start(&keys(&place));
    let chains = until_noted(&place, 1).await;
    assert!(chains[0].head.is_none() && chains[0].closing.is_none());
    // Killed, and its disk is gone.
    drop(process);
    std::fs::remove_dir_all(place.spool()).unwrap();
    let said = run(&["audit", "verify"], &place.config(), 0);
    assert!(said.contains(&format!("open chain {} since", chains[0].opening.chain)), "{said}");
    assert!(!said.lines().any(|line| line == "whole"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_ends_without_a_row_closes_its_chain() {
    let place = Place::new().await;
    let mut process = start(&keys(&place));
    until_noted(&place, 1).await;
    process.terminate();
    until("it ends", || process.ended()).await;
    let chains = noted(&place).await;
    assert!(chains[0].closing.is_some(), "{chains:?}");
    let said = run(&["audit", "verify"], &place.config(), 0);
    assert!(said.ends_with("\nwhole\n"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_comes_later_has_it_then_and_a_sidecar_adds_the_key() {
    let place = Place::new().await;
    let mut keys = keys(&place);
    // A folder stands where the file should be; a key that only the sidecar has is done without.
    let file = place.folder.path().join("late.db");
    std::fs::create_dir(&file).unwrap();
    keys.push(("AUDIT__SIGNING_KEY_FILE", "/not/here.pem".to_owned()));
    keys.push(("REGISTRY__URL", format!("sqlite:{}", file.display())));
    let process = start(&keys);
    process.wait_ready().await;
    std::fs::remove_dir(&file).unwrap();
    let registry = open(&file).await;
    let late =
        Place { parts: hilum::audit::ShipParts { registry, ..place.parts.clone() }, ..place };
    let chains = until_noted(&late, 1).await;
    assert_eq!(chains[0].opening.signing_key, None);
    drop(process);
    let dir = hilum::audit::chains(&late.spool()).unwrap().remove(0);
    late.ship(&dir).await;
    let chains = noted(&late).await;
    let key = late.parts.key.as_ref().unwrap().public();
    assert_eq!(chains[0].opening.signing_key, Some(key));
    assert!(chains[0].closing.is_some());
}

async fn open(file: &Path) -> std::sync::Arc<dyn registry::Registry> {
    let settings = RegistrySettings {
        url: DatabaseUrl::Sqlite(file.to_owned()),
        password: None,
        connections: std::num::NonZeroU32::MIN,
        timeout: std::time::Duration::from_secs(60),
    };
    registry::open_current(&settings).await.unwrap()
}
