//! The servers as processes of their own, ended with this one.
//!
//! This file must never leave a process behind.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hilum::domain::Digest;
use hilum::proto::inference::ModelInferRequest;
use prost::Message as _;

use crate::Failure;

/// The model that is measured.
pub const MODEL: &str = "mnist";

/// The bundled models.
pub fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

/// A server's process.
pub struct Process {
    child: Child,
    port: u16,
}

impl Process {
    /// `host:port` of its gRPC listener.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn start(command: &mut Command, port: u16) -> Result<Self, Failure> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        Ok(Self { child, port })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// `hilum serve` with a copy of the champion in `folder`, which runs at most `max_batch` rows at
/// once.
pub async fn hilum(folder: &Path, max_batch: usize) -> Result<Process, Failure> {
    copy_champion(folder, max_batch)?;
    let (port, http, metrics) = (free_port()?, free_port()?, free_port()?);
    let mut command = Command::new(env!("CARGO_BIN_EXE_hilum"));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["serve", "--grpc-address", &format!("127.0.0.1:{port}")])
        .args(["--http-address", &format!("127.0.0.1:{http}")])
        .args(["--metrics-address", &format!("127.0.0.1:{metrics}")])
        .arg("--models")
        .arg(folder)
        .env("HILUM__AUDIT__SPOOL_DIR", env!("CARGO_TARGET_TMPDIR"))
        .env("HILUM__STORE__DIRECTORY", concat!(env!("CARGO_TARGET_TMPDIR"), "/store"))
        .env(
            "HILUM__REGISTRY__URL",
            concat!("sqlite:", env!("CARGO_TARGET_TMPDIR"), "/registry.db"),
        )
        .env("HILUM__TELEMETRY__LOG_FILTER", "warn");
    let process = Process::start(&mut command, port)?;
    crate::ready(&process.address()).await?;
    Ok(process)
}

/// The echo, which is this program again.
pub async fn echo(answer: &[u8]) -> Result<Process, Failure> {
    let port = free_port()?;
    let mut command = Command::new(std::env::current_exe()?);
    let process =
        Process::start(command.args(["--echo", &port.to_string(), &hex::encode(answer)]), port)?;
    let address = process.address();
    for _ in 0..200 {
        if tokio::net::TcpStream::connect(&address).await.is_ok() {
            return Ok(process);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err("the echo does not listen within four seconds".into())
}

/// The bytes that the service answers a message with.
pub async fn answer_to(address: &str, messages: &[ModelInferRequest]) -> Result<Vec<u8>, Failure> {
    let message = messages.first().ok_or("there is no message")?;
    let client = hilum::client::Client::connect(address, Duration::from_secs(10)).await?;
    Ok(client.infer(message.clone(), None).await?.encode_to_vec())
}

/// The version that `model.toml` names.
pub fn champion(folder: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(folder.join("model.toml"))?;
    let table: toml::Table = text.parse()?;
    let version = table.get("default_version").and_then(toml::Value::as_str);
    Ok(version.ok_or("model.toml names no default_version")?.to_owned())
}

/// Copies the champion with another `max_batch` and seals it anew.
fn copy_champion(folder: &Path, max_batch: usize) -> Result<(), Failure> {
    let from = models().join(MODEL);
    let version = champion(&from)?;
    let to = folder.join(MODEL);
    let bundle = to.join(&version);
    std::fs::create_dir_all(&bundle)?;
    std::fs::copy(from.join("model.toml"), to.join("model.toml"))?;
    let mut sums = Vec::new();
    for entry in std::fs::read_dir(from.join(&version))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "SHA256SUMS" {
            continue;
        }
        let mut bytes = std::fs::read(entry.path())?;
        if name == "bundle.toml" {
            let text = String::from_utf8(bytes)?;
            if !text.contains("max_batch = 32\n") {
                return Err("bundle.toml has no line max_batch = 32".into());
            }
            let changed = text.replace("max_batch = 32\n", &format!("max_batch = {max_batch}\n"));
            bytes = changed.into_bytes();
        }
        sums.push(format!("{}  {name}\n", Digest::of(&bytes)));
        std::fs::write(bundle.join(&name), bytes)?;
    }
    sums.sort_by(|a, b| a[66..].cmp(&b[66..]));
    std::fs::write(bundle.join("SHA256SUMS"), sums.concat())?;
    Ok(())
}
