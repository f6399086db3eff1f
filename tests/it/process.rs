//! The real binary as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, get, root};

/// A running process; killed at the end of the test if it has not ended.
pub struct Process {
    child: Child,
    pub grpc: SocketAddr,
    pub metrics: SocketAddr,
    /// Where its records are, unless the test named another place; removed with the process.
    _spool: tempfile::TempDir,
}

impl Process {
    /// Starts the binary with these keys (`SECTION__KEY`) and reads its addresses from its own log
    /// line.
    pub fn start(keys: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hilum"));
        command.arg("serve");
        Self::start_as(command, keys)
    }

    /// The same by a command that becomes the binary.
    pub fn start_as(mut command: Command, keys: &[(&str, &str)]) -> Self {
        command.current_dir(root()).stderr(Stdio::piped());
        let spool = tempfile::tempdir().unwrap();
        let registry = format!("sqlite:{}", spool.path().join("registry.db").display());
        let own = [
            ("REGISTRY__URL", registry.as_str()),
            ("SERVER__HTTP_ADDRESS", "127.0.0.1:0"),
            ("SERVER__GRPC_ADDRESS", "127.0.0.1:0"),
            ("SERVER__METRICS_ADDRESS", "127.0.0.1:0"),
            ("TELEMETRY__LOG_FORMAT", "json"),
            ("AUDIT__SPOOL_DIR", spool.path().to_str().unwrap()),
            // Records stay in the spool, where tests look, unless the test is about shipping.
            ("AUDIT__SHIPPER", "sidecar"),
        ];
        for (key, value) in own.iter().chain(keys) {
            command.env(format!("HILUM__{key}"), value);
        }
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let child = command.spawn().unwrap();
        let mut process = Self { child, grpc: unknown, metrics: unknown, _spool: spool };
        let mut lines = BufReader::new(process.child.stderr.take().unwrap()).lines();
        let listening = lines.by_ref().find_map(|line| {
            let event: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            (event["message"] == "listening").then_some(event)
        });
        let listening = listening.expect("the process says where it listens");
        let address = |key: &str| listening[key].as_str().unwrap().parse().unwrap();
        (process.grpc, process.metrics) = (address("grpc"), address("metrics"));
        // The log must be read on, or the process would block on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        process
    }

    /// Bytes of its memory that are resident.
    pub fn resident_bytes(&self) -> usize {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    pub async fn wait_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        while get(self.metrics, "/readyz").await.0 != 200 {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its file system, as it sees it.
    pub fn root(&self) -> std::path::PathBuf {
        format!("/proc/{}/root", self.child.id()).into()
    }

    pub fn terminate(&self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    }

    /// The exit status, once there is one.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
