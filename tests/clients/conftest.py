"""What the client tests share: one server for all of them, the model outside of it, and their figures."""

import time

import grpc
import numpy as np
import onnxruntime
import pytest
from server_process import PATIENCE, ROOT, ServerProcess
from wire import Wire

VERSIONS = ("1", "2")
FIGURES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    if config.stash[FIGURES]:
        terminalreporter.section("figures")
        for line in config.stash[FIGURES]:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> list[str]:
    """Lines that are printed after the tests."""
    return pytestconfig.stash[FIGURES]


@pytest.fixture(scope="session")
def server():
    """The server; at the end SIGTERM must make it exit with code 0, whoever is still connected."""
    server = ServerProcess()
    yield server
    with grpc.insecure_channel(server.grpc, options=[("grpc.use_local_subchannel_pool", 1)]) as idle:
        grpc.channel_ready_future(idle).result(timeout=PATIENCE)
        started = time.monotonic()
        code = server.stop()
    assert code == 0, server.story(f"exit code {code} after {time.monotonic() - started:.1f} s")
    errors = [line for line in server.log if '"level":"ERROR"' in line]
    assert not errors, "\n".join(errors)


@pytest.fixture(scope="session")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Wire:
    """The protocol files of `proto/`, compiled."""
    return Wire(tmp_path_factory.mktemp("proto"))


@pytest.fixture
def channel(server: ServerProcess):
    """A channel without bounds of the client's own."""
    unbounded = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(server.grpc, options=unbounded) as channel:
        yield channel


@pytest.fixture(scope="session")
def sessions() -> dict[str, onnxruntime.InferenceSession]:
    """Each version's model file in onnxruntime, without the service."""
    return {
        version: onnxruntime.InferenceSession(
            ROOT / "models" / "mnist" / version / "model.onnx", providers=["CPUExecutionProvider"]
        )
        for version in VERSIONS
    }


@pytest.fixture(scope="session")
def expected(sessions):
    """`expected(version, images)`: the scores that onnxruntime gives, float32 [n, 10]."""

    def run(version: str, images: np.ndarray) -> np.ndarray:
        return sessions[version].run(["probabilities"], {"image": images})[0]

    return run


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Five random images, float32 [5, 1, 28, 28] in [0, 1)."""
    return np.random.default_rng(3).random((5, 1, 28, 28), dtype=np.float32)
