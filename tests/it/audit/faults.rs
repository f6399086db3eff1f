//! Faults, with real processes: killed, side by side, on a disk that is full or cannot be written.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hilum::audit::chains;
use hilum::proto::inference::ModelInferRequest;
use hilum::proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use tonic::Code;

use super::{stored, until};
use crate::harness::{bytes_of, connect, get, raw_request, root};
use crate::process::Process;

/// A row for the smallest model of the tests.
fn question(level: f32) -> ModelInferRequest {
    raw_request("plain", &[("image", "FP32", &[1, 1, 8, 8], &bytes_of(&[level; 64]))])
}

fn keys(spool: &Path) -> Vec<(String, String)> {
    let models = root().join("tests/models");
    let own = [
        ("MODELS__DIRECTORY", models.to_str().unwrap()),
        ("MODELS__CONTROL", "explicit"),
        ("MODELS__LOAD", "[\"plain\"]"),
        ("SERVER__DRAIN_GRACE", "10ms"),
        ("AUDIT__SPOOL_DIR", spool.to_str().unwrap()),
    ];
    own.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
}

fn start(spool: &Path, more: &[(&str, &str)]) -> Process {
    let own = keys(spool);
    let own = own.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    Process::start(&own.chain(more.iter().copied()).collect::<Vec<_>>())
}

/// Asks until the process is gone; the ids of all answers that came.
async fn load(
    process: &Process,
    acknowledged: &Arc<Mutex<Vec<String>>>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let channel = connect(process.grpc).await;
    (0_u8..6)
        .map(|caller| {
            let acknowledged = Arc::clone(acknowledged);
            let mut client = GrpcInferenceServiceClient::new(channel.clone());
            tokio::spawn(async move {
                while let Ok(answer) = client.model_infer(question(f32::from(caller))).await {
                    let id = answer.metadata().get("x-audit-id").unwrap().to_str().unwrap();
                    acknowledged.lock().unwrap().push(id.to_owned());
                }
            })
        })
        .collect()
}

/// Five times in `cargo test`, as often as `HILUM_KILLS` says otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_was_answered_is_found_after_kill_9_and_nobody_twice() {
    let kills = std::env::var("HILUM_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    for round in 0..kills {
        // Small segments, so that it also dies while one is sealed.
        let process = start(&spool, &[("AUDIT__SEAL_BYTES", "65536")]);
        process.wait_ready().await;
        let before = acknowledged.lock().unwrap().len();
        let callers = load(&process, &acknowledged).await;
        let enough = 50 + 37 * (round % 9);
        until("answers come", || {
            (acknowledged.lock().unwrap().len() >= before + enough).then_some(())
        })
        .await;
        drop(process);
        for caller in callers {
            caller.await.unwrap();
        }
    }
    // The next process mends what the dead left.
    let process = start(&spool, &[]);
    process.wait_ready().await;
    let rows = stored(&spool);
    let keys: Vec<_> = rows
        .iter()
        .map(|stored| (stored.row.record.audit_id.to_string(), stored.row.record.row))
        .collect();
    let unique: BTreeSet<&(String, u32)> = keys.iter().collect();
    assert_eq!(unique.len(), keys.len(), "no row is there twice");
    let acknowledged = acknowledged.lock().unwrap();
    assert!(acknowledged.len() >= kills * 50);
    for id in acknowledged.iter() {
        assert!(unique.contains(&(id.clone(), 0)), "{id} was answered and is not found");
    }
    let dead: Vec<_> = chains(&spool).unwrap();
    assert_eq!(dead.len(), kills + 1);
    for dir in &dead[..kills] {
        assert!(dir.open_segments().unwrap().is_empty(), "{} is sealed", dir.chain);
        for segment in dir.sealed().unwrap() {
            let mut reader = segment.read().unwrap();
            assert!(reader.by_ref().all(|row| row.is_ok()));
            assert_eq!(reader.seal().unwrap().last, segment.last);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_a_directory_and_leave_each_other_alone() {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    let first = start(&spool, &[]);
    first.wait_ready().await;
    let mut one = GrpcInferenceServiceClient::new(connect(first.grpc).await);
    one.model_infer(question(0.1)).await.unwrap();
    let second = start(&spool, &[]);
    second.wait_ready().await;
    let mut two = GrpcInferenceServiceClient::new(connect(second.grpc).await);
    for _ in 0..5 {
        two.model_infer(question(0.2)).await.unwrap();
        one.model_infer(question(0.3)).await.unwrap();
    }
    let dirs = chains(&spool).unwrap();
    assert_eq!(dirs.len(), 2);
    for dir in &dirs {
        assert_eq!(dir.open_segments().unwrap().len(), 1, "each writes its own");
        assert!(dir.sealed().unwrap().is_empty(), "and nobody sealed it");
        assert!(dir.try_adopt(hilum::audit::Micros(0)).unwrap().is_none());
    }
    assert_eq!(stored(&spool).len(), 11);
    // Both hash by one key.
    let ids: BTreeSet<_> = stored(&spool).iter().map(|s| s.row.record.principal).collect();
    assert_eq!(ids.len(), 1);
    drop(first);
    let adopted = dirs[0].try_adopt(hilum::audit::Micros(0)).unwrap().expect("its owner is dead");
    assert_eq!(adopted.recovery.sealed, 1);
    two.model_infer(question(0.4)).await.unwrap();
    assert_eq!(stored(&spool).len(), 12);
}

/// A command in a mount namespace of its own, where `mount` was run; `None` where that is not allowed.
fn in_namespace(mount: &str, command: &str) -> Option<Command> {
    let allowed = Command::new("unshare").args(["-rm", "true"]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no mount namespace can be made here");
        return None;
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["-rm", "sh", "-c", &format!("{mount} && exec {command}")]);
    Some(unshare)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_met_without_a_crash_and_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("disk");
    std::fs::create_dir(&spool).unwrap();
    let mount = format!("mount -t tmpfs -o size=256k tmpfs {}", spool.display());
    let Some(command) = in_namespace(&mount, &format!("{} serve", env!("CARGO_BIN_EXE_hilum")))
    else {
        return;
    };
    let own = keys(&spool);
    let own: Vec<(&str, &str)> = own.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let mut process = Process::start_as(command, &own);
    process.wait_ready().await;
    let mut client = GrpcInferenceServiceClient::new(connect(process.grpc).await);
    let mut answered = Vec::new();
    let error = loop {
        match client.model_infer(question(0.5)).await {
            Ok(answer) => {
                let id = answer.metadata().get("x-audit-id").unwrap().to_str().unwrap().to_owned();
                answered.push(id);
            }
            Err(error) => break error,
        }
        assert!(answered.len() < 5000, "256 KiB are never full");
    };
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(error.message().contains("audit record cannot be written"), "{error}");
    assert!(!answered.is_empty());
    let (status, body) = get(process.metrics, "/readyz").await;
    assert!(status == 503 && body.contains("audit"), "{status} {body}");
    let (_, metrics) = get(process.metrics, "/metrics").await;
    assert!(metrics.contains("hilum_audit_unavailable 1"));
    assert!(process.ended().is_none(), "it lives");
    // Seen from here through the process's own root: every answered row is there, and no other.
    let inside = process.root().join(spool.strip_prefix("/").unwrap());
    let rows = stored(&inside);
    assert_eq!(rows.len(), answered.len());
    // A larger disk: it serves again, and the chain goes on.
    let pid = process.id().to_string();
    let larger = format!("mount -o remount,size=4m {}", spool.display());
    let status =
        Command::new("nsenter").args(["-U", "-m", "-t", &pid, "sh", "-c", &larger]).status();
    assert!(status.unwrap().success());
    process.wait_ready().await;
    let answer = client.model_infer(question(0.5)).await.unwrap();
    let id = answer.metadata().get("x-audit-id").unwrap().to_str().unwrap().to_owned();
    let rows = stored(&inside);
    let last = &rows.last().unwrap().row;
    assert_eq!(last.record.audit_id.to_string(), id);
    assert!(rows.iter().enumerate().all(|(n, stored)| stored.row.link.seq == n as u64));
    process.terminate();
    let mut ended = async || {
        until("it ends", || process.ended()).await;
    };
    tokio::time::timeout(Duration::from_secs(60), ended()).await.unwrap();
}

#[test]
fn a_disk_that_cannot_be_written_stops_the_start_with_one_clear_message() {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("disk");
    std::fs::create_dir(&spool).unwrap();
    let mount = format!("mount -t tmpfs -o ro tmpfs {}", spool.display());
    let Some(mut command) = in_namespace(&mount, &format!("{} serve", env!("CARGO_BIN_EXE_hilum")))
    else {
        return;
    };
    for (key, value) in keys(&spool) {
        command.env(format!("HILUM__{key}"), value);
    }
    for key in ["HTTP", "GRPC", "METRICS"] {
        command.env(format!("HILUM__SERVER__{key}_ADDRESS"), "127.0.0.1:0");
    }
    let output = command.current_dir(root()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.contains("audit") && last.contains(spool.to_str().unwrap()), "{said}");
    assert!(last.contains("Read-only"), "{said}");
}
