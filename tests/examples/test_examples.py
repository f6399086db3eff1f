"""Each example prints what onnxruntime says about a blank image, and fails when nobody listens."""

import os
import shutil
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
from server_process import ROOT

EXAMPLES = ROOT / "examples"
# As model.toml has it.
CHAMPION = ROOT / "models" / "mnist" / "2" / "model.onnx"


@pytest.fixture(scope="session")
def expected() -> tuple[int, float]:
    """The digit of a blank image and its probability, by the model file alone."""
    session = onnxruntime.InferenceSession(CHAMPION, providers=["CPUExecutionProvider"])
    scores = session.run(["probabilities"], {"image": np.zeros((1, 1, 28, 28), np.float32)})[0][0]
    return int(scores.argmax()), float(scores.max())


def node() -> list[str]:
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: the Node example is not run")
    npm = ["npm", "ci", "--silent", "--no-audit", "--no-fund"]
    subprocess.run(npm, cwd=EXAMPLES / "node", check=True, timeout=300)
    return ["node", str(EXAMPLES / "node" / "infer.js")]


def rust() -> list[str]:
    target = os.environ.get("CARGO_TARGET_DIR") or "target"
    program = ROOT / target / "debug" / "examples" / "infer"
    assert program.is_file(), f"{program} is missing: cargo build --locked --example infer"
    return [str(program)]


def java(name: str) -> list[str]:
    path = subprocess.run([ROOT / ".ci" / "java"], capture_output=True, text=True, check=True, timeout=600)
    if not path.stdout.strip():
        pytest.skip(path.stderr.strip())
    return ["java", "-cp", path.stdout.strip(), str(EXAMPLES / "java" / f"{name}.java")]


COMMANDS = {
    "tritonclient": lambda: [sys.executable, str(EXAMPLES / "python" / "with_tritonclient.py")],
    "grpcio": lambda: [sys.executable, str(EXAMPLES / "python" / "with_grpcio.py")],
    "node": node,
    "rust": rust,
    "java": lambda: java("Infer"),
}


def run(command: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_prints_the_digit(name: str, server, expected) -> None:
    done = run([*COMMANDS[name](), server.grpc])
    assert done.returncode == 0, done.stderr
    digit, score = done.stdout.split()
    assert int(digit) == expected[0]
    assert float(score) == pytest.approx(expected[1], abs=2e-4)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_without_a_server_fails(name: str) -> None:
    done = run([*COMMANDS[name](), "127.0.0.1:1"])
    assert done.returncode != 0
    assert not done.stdout
