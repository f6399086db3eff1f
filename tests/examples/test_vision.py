"""Each Vision example prints the decision of the bundle's own arithmetic and writes an overlay."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from server_process import ROOT, ServerProcess
from test_examples import EXAMPLES, java, node, run


@pytest.fixture(scope="module")
def images_server():
    """The service over the small image bundle `spots` of the tests."""
    server = ServerProcess(models=ROOT / "tests" / "models", load=["spots"])
    yield server
    code = server.stop()
    assert code == 0, server.story(f"exit code {code}")


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    """64 x 64 levels: 40, and 255 in the upper right quarter."""
    levels = np.full((64, 64), 40, np.uint8)
    levels[:32, 32:] = 255
    path = tmp_path_factory.mktemp("picture") / "spot.png"
    Image.fromarray(levels).save(path)
    return path


def rust() -> list[str]:
    target = os.environ.get("CARGO_TARGET_DIR") or "target"
    program = ROOT / target / "debug" / "examples" / "classify"
    assert program.is_file(), f"{program} is missing: cargo build --locked --example classify"
    return [str(program)]


COMMANDS = {
    "grpcio": lambda: [sys.executable, str(EXAMPLES / "python" / "classify.py")],
    "node": lambda: [*node()[:1], str(EXAMPLES / "node" / "classify.js")],
    "rust": rust,
    "java": lambda: java("Classify"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_prints_the_decision_and_keeps_the_overlay(
    name: str, images_server, picture: Path, tmp_path: Path
) -> None:
    overlay = tmp_path / "overlay.png"
    arguments = [images_server.grpc, str(picture), "spots", str(overlay)]
    done: subprocess.CompletedProcess = run([*COMMANDS[name](), *arguments])
    assert done.returncode == 0, done.stderr
    decision, label, score = done.stdout.split()
    assert (decision, label) == ("positive", "SPOTTED")
    # 12 * 0.25 - 0.75 * (1 - 80 / 255) - 1, then Platt; the resize blurs the edge a little.
    logit = 12 * 0.25 - 0.75 * (1 - 80 / 255) - 1
    assert float(score) == pytest.approx(1 / (1 + np.exp(-(0.8 * logit - 0.2))), abs=0.02)
    with Image.open(overlay) as opened:
        assert opened.format == "PNG" and opened.height > 64


@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_says_why_an_image_is_rejected(name: str, images_server, tmp_path: Path) -> None:
    dark = tmp_path / "dark.png"
    Image.new("L", (64, 64), 1).save(dark)
    overlay = tmp_path / "overlay.png"
    done = run([*COMMANDS[name](), images_server.grpc, str(dark), "spots", str(overlay)])
    assert (done.returncode, done.stdout, overlay.exists()) == (1, "", False)
    assert "rejected" in done.stderr and "too_dark" in done.stderr, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_without_a_server_fails(name: str, picture: Path, tmp_path: Path) -> None:
    done = run([*COMMANDS[name](), "127.0.0.1:1", str(picture), "spots", str(tmp_path / "x.png")])
    assert done.returncode != 0
    assert not done.stdout
