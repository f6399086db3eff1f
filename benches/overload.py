"""Goodput at twice the saturating rate: `python benches/overload.py HILUM`, the release binary.

Starts a server over the tests' model `slow`, finds what a closed loop of 64 callers saturates it at, offers
twice that in an open loop with a deadline, and prints a table. Must never be read off a machine that others
use at the same time.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODEL = "slow"
# A full batch, so that each request is a run: what refusals cost is little beside it.
ROWS = 32
PATIENCE = 60.0


class Server:
    """`hilum serve` over tests/models on free ports, ended by SIGTERM."""

    def __init__(self, binary: str) -> None:
        addresses = {f"HILUM__SERVER__{port}_ADDRESS": "127.0.0.1:0" for port in ("HTTP", "GRPC", "METRICS")}
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HILUM__")},
            **addresses,
            "HILUM__MODELS__DIRECTORY": "tests/models",
            "HILUM__MODELS__CONTROL": "explicit",
            "HILUM__MODELS__LOAD": json.dumps([MODEL]),
            "HILUM__SERVER__DRAIN_GRACE": "100ms",
            "HILUM__TELEMETRY__LOG_FORMAT": "json",
        }
        self.process = subprocess.Popen([binary, "serve"], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            event = json.loads(line)
            if event.get("message") == "listening":
                self.grpc, self.metrics = event["grpc"], event["metrics"]
                break
        # Read on, so that a full pipe never holds the server up.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        deadline = time.monotonic() + PATIENCE
        while not self.is_ready():
            assert time.monotonic() < deadline, "the server is not ready"
            time.sleep(0.1)

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://{self.metrics}{path}", timeout=PATIENCE) as answer:
            return answer.read().decode()

    def is_ready(self) -> bool:
        try:
            return bool(self.get("/readyz"))
        except OSError:
            return False

    def counts(self) -> tuple[float, float]:
        """Rows that were run, and requests that were answered OK, since the start."""
        lines = [line for line in self.get("/metrics").splitlines() if f'model="{MODEL}"' in line]
        rows = [line for line in lines if line.startswith("hilum_rows_total")]
        answers = [line for line in lines if line.startswith("hilum_requests_total") and 'code="OK"' in line]
        total = lambda lines: sum(float(line.rpartition(" ")[2]) for line in lines)  # noqa: E731
        return total(rows), total(answers)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=PATIENCE)


def bench(binary: str, server: Server, seconds: float, *load: str) -> dict:
    command = [binary, "bench", "--model", MODEL, "--address", server.grpc, "--duration", str(seconds)]
    command += ["--rows", str(ROWS)]
    done = subprocess.run([*command, "--output", "json", *load], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--deadline-ms", type=float, default=250)
    options = parser.parse_args()
    binary = str(Path(options.binary).resolve())
    server = Server(binary)
    print("| saturation, requests/s | offered | goodput | goodput ÷ saturation | p99 of answers | rows run ÷ rows answered | refused |")
    print("|---|---|---|---|---|---|---|")
    try:
        for _ in range(options.repetitions):
            saturated = bench(binary, server, options.seconds, "--callers", "64")["requests_per_second"]
            rate = 2 * saturated
            rows, answers = server.counts()
            load = ["--rate", f"{rate:.1f}", "--deadline-ms", str(options.deadline_ms)]
            found = bench(binary, server, options.seconds, *load)
            now_rows, now_answers = server.counts()
            goodput, p99 = found["goodput_per_second"], found["latency_ms"]["p99"]
            run = (now_rows - rows) / max(ROWS * (now_answers - answers), 1)
            refused = found["by_status"].get("RESOURCE_EXHAUSTED", 0) / max(found["requests"], 1)
            print(
                f"| {saturated:.1f} | {rate:.1f} | {goodput:.1f} | {goodput / max(saturated, 1e-9):.3f} "
                f"| {p99:.1f} ms of {options.deadline_ms:.0f} | {run:.4f} | {refused:.1%} |",
                flush=True,
            )
    finally:
        server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
