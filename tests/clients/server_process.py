"""The real binary as a child process: started on free ports, watched by its log, ended by SIGTERM."""

import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Seconds that a condition may take; only a broken server uses them up.
PATIENCE = 60.0


def binary() -> Path:
    """The file that HILUM_BIN names, or what `cargo build` makes."""
    target = os.environ.get("CARGO_TARGET_DIR") or "target"
    path = Path(os.environ.get("HILUM_BIN") or ROOT / target / "debug" / "hilum").resolve()
    assert path.is_file(), f"{path} is missing: run `cargo build --locked` or set HILUM_BIN"
    return path


class ServerProcess:
    """`hilum serve` over the models of this repository, or over those of `models` that `load` names.

    `http`, `grpc` and `metrics` are its addresses; `more` are further variables of its environment. With a
    file `config`, spool, store and registry are the file's; else they go with the server. Unless `ready` is
    false, it is ready when this returns.
    """

    def __init__(
        self,
        models: Path | None = None,
        load: list[str] | None = None,
        more: dict[str, str] | None = None,
        config: Path | None = None,
        ready: bool = True,
    ) -> None:
        self._spool = tempfile.TemporaryDirectory()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HILUM__")}
        environment |= {
            "HILUM__SERVER__HTTP_ADDRESS": "127.0.0.1:0",
            "HILUM__SERVER__GRPC_ADDRESS": "127.0.0.1:0",
            "HILUM__SERVER__METRICS_ADDRESS": "127.0.0.1:0",
            "HILUM__SERVER__DRAIN_GRACE": "100ms",
            "HILUM__TELEMETRY__LOG_FORMAT": "json",
        }
        if config is None:
            environment |= {
                "HILUM__AUDIT__SPOOL_DIR": self._spool.name,
                "HILUM__STORE__DIRECTORY": f"{self._spool.name}/store",
                "HILUM__REGISTRY__URL": f"sqlite:{self._spool.name}/registry.db",
            }
        if models is not None:
            environment |= {
                "HILUM__MODELS__DIRECTORY": str(models),
                "HILUM__MODELS__CONTROL": "explicit",
                "HILUM__MODELS__LOAD": json.dumps(load),
            }
        environment |= more or {}
        self.log: list[str] = []
        self.process = subprocess.Popen(
            [binary(), "serve", *(["--config", str(config)] if config else [])],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
        self._addresses: queue.Queue[dict | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        try:
            event = self._addresses.get(timeout=PATIENCE)
            assert event is not None, self.story("the server ended before it listened")
            self.http, self.grpc, self.metrics = event["http"], event["grpc"], event["metrics"]
            if ready:
                self.wait_until(self.is_ready, "ready")
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def _read_log(self) -> None:
        # Read to the end, so that a full pipe never blocks the server.
        for line in self.process.stderr:
            self.log.append(line.rstrip())
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if event.get("message") == "listening":
                self._addresses.put(event)
        self._addresses.put(None)

    def story(self, problem: str) -> str:
        """The problem and the end of the server's log."""
        return "\n".join([problem, *self.log[-20:]])

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a GET on the listener for metrics and probes."""
        try:
            with urllib.request.urlopen(f"http://{self.metrics}{path}", timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read().decode()

    def is_ready(self) -> bool:
        """Whether /readyz says so."""
        assert self.process.poll() is None, self.story("the server ended while it loaded")
        return self.get("/readyz")[0] == 200

    def metric(self, series: str) -> float:
        """The value of one series, named as a scrape names it; 0 where it is not there yet."""
        status, text = self.get("/metrics")
        assert status == 200, text
        values = [line.rpartition(" ")[2] for line in text.splitlines() if line.rpartition(" ")[0] == series]
        return float(values[0]) if values else 0.0

    def wait_until(self, condition, what: str) -> None:
        """Awaits a condition with a deadline."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.story(f"not {what} after {PATIENCE} s")
            time.sleep(0.01)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        self._reader.join(timeout=PATIENCE)
        return code
