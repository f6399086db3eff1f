//! From a spool to the store and back: what is shipped verifies, a shipper may die at any call, and what was
//! tampered with is found and named.

mod opening;
mod reading;
mod shippers;
mod tampering;
mod telling;
mod verifying;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hilum::audit::{
    AuditId, ChainDir, ChainId, ChainWriter, InputKind, ManifestKey, Micros, Record, ShipParts,
    Status, Verification, Verified, ship_chain,
};
use hilum::domain::{Decision, Digest, ErrorKind, Route};
use hilum::imaging::ImageStatistics;
use hilum::registry::{self, DatabaseUrl, RegistrySettings};
use hilum::store::LocalStore;

/// 2026-11-28, an hour before midnight: rows lie on two days.
pub const BEGIN: i64 = 1_795_906_800_000_000;

pub enum Folder {
    Own(tempfile::TempDir),
    Kept(PathBuf),
}

impl Folder {
    pub fn path(&self) -> &Path {
        match self {
            Self::Own(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }
}

pub struct Place {
    pub folder: Folder,
    pub parts: ShipParts,
}

impl Place {
    pub async fn new() -> Self {
        Self::of(Folder::Own(tempfile::tempdir().unwrap())).await
    }

    /// In a folder that stays.
    pub async fn at(folder: &Path) -> Self {
        Self::of(Folder::Kept(folder.to_owned())).await
    }

    async fn of(folder: Folder) -> Self {
        let settings = RegistrySettings {
            url: DatabaseUrl::Sqlite(folder.path().join("registry.db")),
            password: None,
            connections: std::num::NonZeroU32::MIN,
            timeout: std::time::Duration::from_secs(60),
        };
        let parts = ShipParts {
            store: Arc::new(LocalStore::new(folder.path().join("store"))),
            registry: registry::open_current(&settings).await.unwrap(),
            key: Some(ManifestKey::from_seed([3; 32])),
        };
        Self { folder, parts }
    }

    pub fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    /// A dead process's chain: `segments` sealed ones of `rows` rows each, and one that was being written.
    pub fn chain(&self, seed: u64, segments: u64, rows: u64) -> ChainDir {
        let chain = ChainId::at(Micros(BEGIN + i64::try_from(seed).unwrap() * 1_000_000));
        self.chain_of(chain, seed, segments, rows)
    }

    pub fn chain_of(&self, chain: ChainId, seed: u64, segments: u64, rows: u64) -> ChainDir {
        let mut random = fastrand::Rng::with_seed(seed);
        let dir = ChainDir::of(&self.spool(), chain);
        std::fs::create_dir_all(&dir.path).unwrap();
        let mut writer = ChainWriter::new(dir.path.clone(), chain);
        let key = "k1".parse().unwrap();
        for segment in 0..=segments {
            for row in 0..rows {
                let ts =
                    Micros(BEGIN + i64::try_from((segment * rows + row) * 600_000_000).unwrap());
                let records = std::iter::once(record(&mut random, ts));
                writer.append(records, ts, &key, u64::MAX, false).unwrap();
            }
            if segment < segments {
                writer.seal(Micros(BEGIN)).unwrap();
            }
        }
        dir
    }

    pub async fn ship(&self, dir: &ChainDir) {
        ship_chain(&self.parts, dir, Micros(BEGIN)).await.unwrap().unwrap();
    }

    pub async fn verify(&self) -> Verified {
        let verification = Verification {
            store: self.parts.store.as_ref(),
            registry: Some(self.parts.registry.as_ref()),
            keys: vec![self.parts.key.as_ref().unwrap().public()],
            chain: None,
        };
        verification.run().await.unwrap()
    }

    /// By one who has the store alone and trusts no key in particular.
    pub async fn verify_store(&self) -> Verified {
        let store = self.parts.store.as_ref();
        let verification = Verification { store, registry: None, keys: Vec::new(), chain: None };
        verification.run().await.unwrap()
    }

    /// A configuration of this place for the binary.
    pub fn config(&self) -> String {
        let folder = self.folder.path();
        let file = folder.join("hilum.toml");
        let at = |name: &str| folder.join(name).display().to_string();
        let content = format!(
            "[audit]\nspool_dir = {:?}\n[store]\ndirectory = {:?}\n[registry]\nurl = {:?}\n",
            at("spool"),
            at("store"),
            format!("sqlite:{}", at("registry.db")),
        );
        std::fs::write(&file, content).unwrap();
        file.display().to_string()
    }

    pub fn objects(&self) -> Vec<PathBuf> {
        let walk = walkdir::WalkDir::new(self.folder.path().join("store")).sort_by_file_name();
        let files =
            walk.into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file());
        files.map(|entry| entry.path().to_owned()).collect()
    }
}

/// A row with all that a row may have, or may not.
pub fn record(random: &mut fastrand::Rng, ts: Micros) -> Record {
    let digest = |random: &mut fastrand::Rng| Digest::of(&random.u64(..).to_le_bytes());
    let floats = |random: &mut fastrand::Rng| -> Vec<f32> {
        (0..random.usize(0..4))
            .map(|_| random.choice([0.0, -0.0, 0.1, 1e-9, f32::NAN, 65504.0]).unwrap())
            .collect()
    };
    let image = random.bool();
    Record {
        audit_id: AuditId::at(ts),
        ts,
        request_id: format!("request-{}", random.u32(..)).into(),
        trace_id: random.bool().then(|| format!("{:032x}", random.u128(..))),
        principal: Digest::of(&[random.u8(0..5)]),
        model: random.choice(["mnist", "pneumonia", "_none"]).unwrap().to_owned(),
        version: random.choice(["1", "2", "none"]).unwrap().parse().ok(),
        bundle_sha256: random.bool().then(|| digest(random)),
        image_digest: random.bool().then(|| digest(random)),
        route: random.choice(Route::ALL),
        input_hmac: random.bool().then(|| Digest::of(&[random.u8(0..40)])),
        study_hmac: random.bool().then(|| digest(random)),
        hmac_key_id: "k1".parse().unwrap(),
        input_kind: random.choice(InputKind::ALL),
        scores: floats(random),
        calibrated: floats(random),
        label: random.bool().then(|| "PNEUMONIA".to_owned()),
        decision: random.choice(Decision::ALL),
        warnings: vec!["quality".to_owned(); random.usize(0..3)],
        statistics: image.then(|| ImageStatistics {
            mean: 255.0 * random.f64(),
            std: 0.25,
            p1: f64::NAN,
            p99: 1.0 / 3.0,
            entropy: 7.9,
            sharpness: 1e-300,
            aspect: 1.0,
            bits: 12,
        }),
        ood_score: random.bool().then(|| random.f64()),
        embedding: floats(random),
        queue_us: random.u64(0..1000),
        decode_us: 0,
        infer_us: random.u64(0..1 << 40),
        total_us: 3,
        batch_size: random.u32(..),
        status: random.choice([Status::Ok, Status::Failed(ErrorKind::DeadlineExceeded)]).unwrap(),
        row: random.u32(..),
        count: 1,
    }
}
