//! What the commands say where something is wrong: which key of the configuration, where, and what to do.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use hilum::audit::{
    ChainDir, ChainId, ChainWriter, InputKind, KeyRing, ManifestKey, Micros, Record, ShipParts,
    Status, ship_chain,
};
use hilum::registry::ChainOpening;

use super::reading::run;
use super::{BEGIN, Place, record};
use crate::commands::{hilum, text};
use crate::harness::root;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_is_shipped_under_its_own_key_alone() {
    let place = Place::new().await;
    let dir = place.chain(1, 2, 10);
    let opening = |key| ChainOpening {
        chain: dir.chain.to_string(),
        opened_at: dir.chain.made().0,
        software: "0.1.0".to_owned(),
        signing_key: key,
    };
    let own = place.parts.key.as_ref().unwrap().public();
    place.parts.registry.open_chain(&opening(Some(own))).await.unwrap();
    let other = ManifestKey::from_seed([4; 32]);
    for (key, said) in
        [(None, "names no key".to_owned()), (Some(other.clone()), hex::encode(other.public()))]
    {
        let parts = ShipParts { key, ..place.parts.clone() };
        let error = ship_chain(&parts, &dir, Micros(BEGIN)).await.unwrap_err();
        let text = error.to_string();
        assert!(!error.is_retryable() && text.contains(&said), "{text}");
        assert!(
            text.contains(&hex::encode(own)) && text.contains("audit.signing_key_file"),
            "{text}"
        );
        let noted = place.parts.registry.chain(&dir.chain.to_string()).await.unwrap().unwrap();
        assert_eq!((noted.head, noted.closing), (None, None));
    }
    place.ship(&dir).await;
    assert_eq!(place.verify().await.findings, []);
    // One whose opening says that it is not signed is shipped by whoever comes.
    let dir = place.chain(2, 1, 10);
    let unsigned = ChainOpening {
        chain: dir.chain.to_string(),
        opened_at: dir.chain.made().0,
        ..opening(None)
    };
    place.parts.registry.open_chain(&unsigned).await.unwrap();
    let parts = ShipParts { key: None, ..place.parts.clone() };
    assert_eq!(ship_chain(&parts, &dir, Micros(BEGIN)).await.unwrap().unwrap().closed, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_shipped_before_an_error_is_counted() {
    let place = Place::new().await;
    let dir = place.chain(1, 3, 10);
    let third = &dir.sealed().unwrap()[2].path;
    let mut bytes = std::fs::read(third).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(third, bytes).unwrap();
    let said = run(&["audit", "ship", "--once"], &place.config(), 1);
    assert!(said.starts_with("2 segments, 20 rows, "), "{said}");
    let json = run(&["audit", "ship", "--once", "--output", "json"], &place.config(), 1);
    assert!(json.contains("\"segments\": 0"), "the rest is as it was: {json}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_that_is_not_there_is_an_error_that_names_its_key() {
    let place = Place::new().await;
    let dir = place.chain(1, 1, 10);
    place.ship(&dir).await;
    let config = place.config();
    std::fs::remove_dir_all(place.spool()).unwrap();
    let fails = |arguments: &[&str]| {
        let output = hilum(&[arguments, &["--config", &config]].concat());
        let text = text(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(
            text.contains("audit.spool_dir ") && text.contains("there is no such folder"),
            "{text}"
        );
    };
    fails(&["audit", "ship", "--once"]);
    fails(&["audit", "show", "--spool-only"]);
    fails(&["audit", "show", "--spool", "/no/spool"]);
    // The store is read all the same by one who has no spool; it is told that something may be missing.
    let output = hilum(&["audit", "show", "--output", "json", "--config", &config]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 20);
    assert!(String::from_utf8_lossy(&output.stderr).contains("audit.spool_dir"));
    std::fs::remove_dir_all(place.folder.path().join("store")).unwrap();
    fails(&["audit", "show"]);
}

/// A bucket of a server at `endpoint`.
fn bucket(endpoint: &str) -> String {
    format!(
        "[store]\nkind = \"s3\"\nbucket = \"records\"\nregion = \"eu-central-1\"\nendpoint = \"{endpoint}\"\n\
         path_style = true\nattempts = 1\nobject_lock = \"governance\"\nobject_lock_days = 1\n"
    )
}

/// The binary with these credentials, if any, and no others.
fn with_credentials(arguments: &[&str], home: &Path, given: bool) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hilum"));
    command.current_dir(root()).args(arguments);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.env("HOME", home).env("AWS_EC2_METADATA_DISABLED", "true");
    if given {
        command.env("AWS_ACCESS_KEY_ID", "someone").env("AWS_SECRET_ACCESS_KEY", "secret");
    }
    command.output().unwrap()
}

/// The configuration of `place` with the bucket at `endpoint` as its store.
fn config_with_bucket(place: &Place, endpoint: &str) -> String {
    let config = place.config();
    let settings = std::fs::read_to_string(&config).unwrap();
    let (audit, rest) = settings.split_once("[store]").unwrap();
    let registry = &rest[rest.find("[registry]").unwrap()..];
    std::fs::write(&config, format!("{audit}{}{registry}", bucket(endpoint))).unwrap();
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_down_or_that_nobody_may_enter_is_told_in_words() {
    let place = Place::new().await;
    place.chain(1, 1, 10);
    // Nobody listens on a port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{free}");
    let config = config_with_bucket(&place, &endpoint);
    let home = place.folder.path();
    for command in ["show", "ship", "verify"] {
        let once: &[&str] = if command == "ship" { &["--once"] } else { &[] };
        let arguments = [&["audit", command, "--config", &config], once].concat();
        let refused = text(&with_credentials(&arguments, home, true));
        assert!(refused.contains(&format!("connection refused to {endpoint}")), "{refused}");
        assert_eq!(refused.contains("--spool-only"), command == "show", "{refused}");
        let nobody = text(&with_credentials(&arguments, home, false));
        assert!(nobody.contains("no credentials found: "), "{nobody}");
        for said in [refused, nobody] {
            assert!(!said.contains("DispatchFailure") && !said.contains('{'), "{said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }
    let shown = run(&["audit", "show", "--spool-only", "--output", "json"], &config, 0);
    assert_eq!(shown.lines().count(), 20);
}

/// Answers as a bucket does that has no Object Lock, until the process ends.
fn bucket_without_locks() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut first, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) < 3 {
                    break;
                }
                let lower = line.to_ascii_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if first.is_empty() {
                    first = line;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let error = |code| {
                format!("<Error><Code>{code}</Code><Message>Invalid Request</Message></Error>")
            };
            let (status, body) = match first.split(' ').next() {
                Some("PUT") => ("400 Bad Request", error("InvalidRequest")),
                Some("GET") if first.contains("list-type") => {
                    ("200 OK", "<ListBucketResult></ListBucketResult>".to_owned())
                }
                Some("GET") if first.contains("object-lock") => {
                    ("404 Not Found", error("ObjectLockConfigurationNotFoundError"))
                }
                Some("GET") => ("404 Not Found", error("NoSuchKey")),
                _ => ("200 OK", String::new()),
            };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
            );
            let _ = (&stream).write_all((head + &body).as_bytes());
        }
    });
    endpoint
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_cannot_lock_is_told_with_the_key_that_wants_it() {
    let place = Place::new().await;
    place.chain(1, 1, 10);
    let config = config_with_bucket(&place, &bucket_without_locks());
    let arguments = ["audit", "ship", "--once", "--config", &config];
    let said = text(&with_credentials(&arguments, place.folder.path(), true));
    for word in ["s3://records", "no Object Lock", "store.object_lock"] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

/// A row about an image, as a version has answered it.
fn answered(file: &[u8], keys: &KeyRing, version: &str, ts: Micros) -> Record {
    let mut row = record(&mut fastrand::Rng::with_seed(1), ts);
    row.model = "spots".to_owned();
    row.version = version.parse().ok();
    row.input_kind = Some(InputKind::Png);
    row.input_hmac = Some(keys.at(ts).file(file));
    row.hmac_key_id = keys.at(ts).id().clone();
    row.status = Status::Ok;
    row.bundle_sha256 = Some(hilum::domain::Digest::of(b"of another bundle"));
    row
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay_goes_on_past_a_version_that_is_not_there() {
    let place = Place::new().await;
    let images = place.folder.path().join("images");
    std::fs::create_dir_all(&images).unwrap();
    std::fs::create_dir_all(place.spool()).unwrap();
    let picture = std::fs::read(root().join("docs/pictures/phantom.png.png")).unwrap();
    std::fs::write(images.join("a.png"), &picture).unwrap();
    let keys = KeyRing::read_or_make(&place.spool().join("keys.toml")).unwrap();
    let chain = ChainId::at(Micros(BEGIN));
    let dir = ChainDir::of(&place.spool(), chain);
    std::fs::create_dir_all(&dir.path).unwrap();
    let mut writer = ChainWriter::new(dir.path, chain);
    for version in ["7", "1", "8"] {
        let rows = std::iter::once(answered(&picture, &keys, version, Micros(BEGIN)));
        writer.append(rows, Micros(BEGIN), keys.at(Micros(BEGIN)).id(), u64::MAX, false).unwrap();
    }
    let config = place.config();
    let models = root().join("tests/models");
    let replay = |more: &[&str], code| {
        let of =
            ["audit", "replay", images.to_str().unwrap(), "--models", models.to_str().unwrap()];
        run(&[&of, more].concat(), &config, code)
    };
    let json: serde_json::Value = serde_json::from_str(&replay(&["--output", "json"], 3)).unwrap();
    assert_eq!((&json["found"], &json["unanswered"]), (&3.into(), &2.into()), "{json}");
    let found: Vec<_> = json["differences"].as_array().unwrap().iter().collect();
    let versions: Vec<_> = found.iter().map(|it| it["version"].as_str().unwrap()).collect();
    assert_eq!(versions, ["1", "7", "8"]);
    assert!(found[0]["problem"].as_str().unwrap().contains("the bundle is another"), "{json}");
    assert!(found[1]["problem"].as_str().unwrap().contains("has no such version"), "{json}");
    assert!(replay(&[], 3).contains("3 differ, 2 of them because their version is not there"));
    for tolerance in ["nan", "-1", "inf", "much"] {
        let tolerance = format!("--tolerance={tolerance}");
        replay(&[&tolerance], 2);
    }
}
