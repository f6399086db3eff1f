"""Triton's own load generator, unmodified: each of its modes runs to its end and no request of it fails."""

import csv
import subprocess

import numpy as np
import pytest
from server_process import ROOT

SECONDS = 240

# Every mode with short windows; "unstable" figures are as good as others, only failures count.
SHORT = ["--measurement-mode", "count_windows", "--measurement-request-count", "10", "-p", "300", "-r", "3", "-s", "999"]


@pytest.fixture(scope="session")
def perf_analyzer() -> list[str]:
    """The command of the program."""
    found = subprocess.run([ROOT / ".ci" / "perf-analyzer"], capture_output=True, text=True, timeout=600)
    command = found.stdout.split()
    if not command:
        pytest.skip(found.stderr.strip().splitlines()[-1] if found.stderr.strip() else "perf_analyzer is not there")
    return command


@pytest.fixture(scope="session")
def inputs(tmp_path_factory) -> str:
    """Three images in the program's JSON."""
    folder = tmp_path_factory.mktemp("inputs")
    images = np.random.default_rng(7).random((3, 784), dtype=np.float32)
    rows = ",".join(
        '{"image":{"content":[' + ",".join(f"{pixel:.6f}" for pixel in image) + '],"shape":[1,28,28]}}'
        for image in images
    )
    path = folder / "images.json"
    path.write_text(f'{{"data":[{rows}]}}', encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("protocol", "options"),
    [
        ("grpc", ["--sync", "--concurrency-range", "2"]),
        ("grpc", ["--async", "--concurrency-range", "1:4:3"]),
        ("grpc", ["--async", "--streaming", "--concurrency-range", "4"]),
        ("grpc", ["--async", "-b", "8", "--concurrency-range", "2"]),
        ("grpc", ["--shared-memory", "system", "--output-shared-memory-size", "4096", "--concurrency-range", "2"]),
        ("grpc", ["--async", "--shared-memory", "system", "-b", "4", "--concurrency-range", "2"]),
        ("grpc", ["--grpc-compression-algorithm", "gzip", "--concurrency-range", "2"]),
        ("grpc", ["--request-rate-range", "50", "--request-distribution", "poisson"]),
        ("grpc", ["--input-data", "INPUTS", "--concurrency-range", "2"]),
        ("grpc", ["--input-data", "zero", "-x", "1", "--string-length", "8", "--concurrency-range", "1"]),
        ("http", ["--sync", "--concurrency-range", "2"]),
        ("http", ["--async", "--concurrency-range", "4"]),
        ("http", ["--async", "-b", "8", "--concurrency-range", "2"]),
        ("http", ["--shared-memory", "system", "--output-shared-memory-size", "4096", "--concurrency-range", "2"]),
        ("http", ["--request-rate-range", "50", "--request-distribution", "constant"]),
        ("http", ["--input-data", "INPUTS", "--input-tensor-format", "json", "--output-tensor-format", "json"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_mode_runs_to_its_end_and_nothing_fails(server, perf_analyzer, inputs, tmp_path, protocol, options):
    def counted() -> tuple[float, float]:
        lines = server.get("/metrics")[1].splitlines()
        requests = [line for line in lines if line.startswith(f'hilum_requests_total{{protocol="{protocol}"')]
        values = [('model="mnist"' in line and 'code="OK"' in line, float(line.rpartition(" ")[2])) for line in requests]
        return sum(n for good, n in values if good), sum(n for good, n in values if not good)

    report = tmp_path / "report.csv"
    options = [inputs if option == "INPUTS" else option for option in options]
    address = server.grpc if protocol == "grpc" else server.http
    command = [*perf_analyzer, "-m", "mnist", "-i", protocol, "-u", address, "-f", report, *SHORT, *options]
    good, bad = counted()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS)
    story = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, story
    assert "error" not in story.lower() and "failed" not in story.lower(), story
    with report.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert rows and all(float(row["Inferences/Second"]) > 0 for row in rows), story
    now_good, now_bad = counted()
    assert now_good - good >= 10 and now_bad == bad, story
