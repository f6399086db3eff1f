"""The server that the examples are run against: the same as for the client tests."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "clients"))
from server_process import ServerProcess  # noqa: E402


@pytest.fixture(scope="session")
def server():
    """The server; at the end SIGTERM must make it exit with code 0."""
    server = ServerProcess()
    yield server
    code = server.stop()
    assert code == 0, server.story(f"exit code {code}")
