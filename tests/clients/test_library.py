"""A library of ONNX Runtime that is older than the build needs: one message, and what mends it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from server_process import ROOT, binary

OLD = "1.23.2"


@pytest.fixture(scope="module")
def old_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library out of an old wheel."""
    folder = tmp_path_factory.mktemp("onnxruntime")
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    fetched = subprocess.run([*download, "--dest", folder, f"onnxruntime=={OLD}"], capture_output=True, check=False)
    if fetched.returncode != 0:
        pytest.skip(f"onnxruntime {OLD} cannot be fetched")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith(f"libonnxruntime.so.{OLD}"))
        return Path(files.extract(name, folder))


@pytest.mark.parametrize(("command", "code"), [("serve", 1), ("doctor", 3)])
def test_an_old_library_is_refused_with_the_command_that_mends_it(old_library: Path, command: str, code: int) -> None:
    run = subprocess.run(
        [binary(), command, "--onnxruntime", old_library],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"HILUM__SERVER__GRPC_ADDRESS": "127.0.0.1:0", "HILUM__SERVER__METRICS_ADDRESS": "127.0.0.1:0"}
        | {"HILUM__SERVER__HTTP_ADDRESS": "127.0.0.1:0"},
    )
    said = run.stdout + run.stderr
    assert run.returncode == code, said
    for word in (str(old_library), OLD, "make onnxruntime", "1.31 or newer"):
        assert word in said, said
