//! What the record costs: a million rows written, shipped and verified on this machine.
//!
//! `make bench-audit ROWS=N`, or `cargo bench --bench audit -- ROWS FOLDER`; the folder keeps the store for
//! `benches/audit_query.py`. Rows are like those of images of ten models over a week. This program must never
//! measure a store over a network: what that costs is the network's.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hilum::audit::{
    AuditId, ChainDir, ChainId, ChainWriter, InputKind, ManifestKey, Micros, Record, ShipParts,
    Verification, ship_chain,
};
use hilum::domain::{Decision, Digest, Route};
use hilum::imaging::ImageStatistics;
use hilum::registry::{self, DatabaseUrl, RegistrySettings};
use hilum::store::LocalStore;

// As in the program: another one keeps other memory back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// 2026-11-23T00:00:00Z.
const BEGIN: i64 = 1_795_392_000_000_000;
const WEEK: i64 = 7 * 24 * 3600 * 1_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let rows: u64 = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let kept = arguments.next().map(PathBuf::from);
    let made = tempfile::tempdir()?;
    let folder = kept.as_deref().unwrap_or(made.path());
    std::fs::create_dir_all(folder)?;
    println!("rows: {rows}");
    let dir = written(folder, rows)?;
    println!("resident at most, up to here: {} MiB", resident()?);
    tokio::runtime::Runtime::new()?.block_on(shipped(folder, &dir, rows))
}

/// The spool of a dead process.
fn written(folder: &Path, rows: u64) -> Result<ChainDir, Box<dyn Error>> {
    let chain = ChainId::at(Micros(BEGIN));
    let dir = ChainDir::of(&folder.join("spool"), chain);
    std::fs::create_dir_all(&dir.path)?;
    let mut writer = ChainWriter::new(dir.path.clone(), chain);
    let (mut random, key) = (fastrand::Rng::with_seed(1), "k1".parse()?);
    let begun = Instant::now();
    for n in 0..rows {
        let ts = Micros(BEGIN + (n as i64).saturating_mul(WEEK) / rows as i64);
        let record = record(&mut random, ts, &key);
        writer.append(std::iter::once(record), ts, &key, u64::MAX, false)?;
        if writer.segment().is_some_and(|segment| segment.durable_bytes() >= 64 << 20) {
            writer.seal(ts)?;
        }
    }
    writer.seal(Micros(BEGIN + WEEK))?;
    let bytes = hilum::audit::used_bytes(&folder.join("spool"))?;
    told("written to the spool without fdatasync", begun.elapsed(), rows);
    println!("bytes a row in the spool: {:.1}", bytes as f64 / rows as f64);
    Ok(dir)
}

async fn shipped(folder: &Path, dir: &ChainDir, rows: u64) -> Result<(), Box<dyn Error>> {
    let settings = RegistrySettings {
        url: DatabaseUrl::Sqlite(folder.join("registry.db")),
        password: None,
        connections: std::num::NonZeroU32::MIN,
        timeout: Duration::from_secs(60),
    };
    let parts = ShipParts {
        store: Arc::new(LocalStore::new(folder.join("store"))),
        registry: registry::open_current(&settings).await?,
        key: Some(ManifestKey::from_seed([3; 32])),
    };
    let begun = Instant::now();
    let shipped = ship_chain(&parts, dir, Micros(BEGIN + WEEK)).await?.ok_or("another ships it")?;
    told("shipped to a folder", begun.elapsed(), rows);
    println!("files: {}, manifests: {}", shipped.files, shipped.segments);
    println!("bytes a row in the store: {:.1}", shipped.bytes as f64 / rows as f64);
    println!("resident at most, up to here: {} MiB", resident()?);
    let begun = Instant::now();
    let verification = Verification {
        store: parts.store.as_ref(),
        registry: Some(parts.registry.as_ref()),
        keys: Vec::new(),
        chain: None,
    };
    let verified = verification.run().await?;
    told("verified", begun.elapsed(), verified.rows);
    if !verified.findings.is_empty() || verified.rows != rows {
        return Err(format!("it does not hold: {verified:?}").into());
    }
    println!("resident at most, up to here: {} MiB", resident()?);
    Ok(())
}

fn told(what: &str, took: Duration, rows: u64) {
    let rate = rows as f64 / took.as_secs_f64();
    println!("{what}: {:.1} s, {rate:.0} rows/s", took.as_secs_f64());
}

/// The most memory that this process had, in MiB.
fn resident() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}

fn record(random: &mut fastrand::Rng, ts: Micros, key: &hilum::audit::KeyId) -> Record {
    let digest = |random: &mut fastrand::Rng| {
        let mut bytes = [0; 32];
        random.fill(&mut bytes);
        Digest::from_bytes(bytes)
    };
    let score = random.f32();
    Record {
        audit_id: AuditId::at(ts),
        ts,
        request_id: format!("{:032x}", random.u128(..)).into(),
        trace_id: None,
        principal: Digest::of(&random.u8(0..20).to_le_bytes()),
        model: format!("model-{}", random.u8(0..10)),
        version: "2".parse().ok(),
        bundle_sha256: Some(Digest::of(b"bundle")),
        image_digest: Some(Digest::of(b"image")),
        route: Some(Route::Champion),
        input_hmac: Some(digest(random)),
        study_hmac: Some(digest(random)),
        input_kind: Some(InputKind::Dicom),
        scores: vec![1.0 - score, score],
        calibrated: vec![1.0 - score * 0.9, score * 0.9],
        label: Some(if score > 0.5 { "PNEUMONIA" } else { "NORMAL" }.to_owned()),
        decision: Some(if score > 0.5 { Decision::Positive } else { Decision::Negative }),
        statistics: Some(ImageStatistics {
            mean: random.f64() * 255.0,
            std: random.f64() * 80.0,
            p1: random.f64() * 20.0,
            p99: 235.0 + random.f64() * 20.0,
            entropy: random.f64() * 8.0,
            sharpness: random.f64(),
            aspect: random.f64() + 0.5,
            bits: 12,
        }),
        ood_score: Some(random.f64()),
        embedding: (0..8).map(|_| random.f32()).collect(),
        queue_us: random.u64(0..2000),
        decode_us: random.u64(5000..20_000),
        infer_us: random.u64(5000..10_000),
        total_us: random.u64(10_000..40_000),
        batch_size: random.u32(1..9),
        ..Record::empty(AuditId::at(ts), Digest::of(b"who"), key.clone())
    }
}
