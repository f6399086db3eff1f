"""What the suites of stores and databases share: one server of each kind, and the Rust suites as a program."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest
import servers

ROOT = Path(__file__).parents[2]
# The process of a server is the one of the tests of clients.
sys.path.append(str(ROOT / "tests/clients"))


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory):
    with servers.seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(scope="session")
def moto(tmp_path_factory):
    with servers.moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def ministack(tmp_path_factory):
    with servers.ministack(tmp_path_factory.mktemp("ministack")) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql():
    # Below the session's own folder another user could not go.
    folder = Path(tempfile.mkdtemp(prefix="hilum-postgresql-"))
    try:
        with servers.postgresql(folder) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def suites() -> Path:
    """The program of the Rust integration tests, built."""
    build = subprocess.run(
        ["cargo", "test", "--locked", "--test", "it", "--no-run", "--message-format=json"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
    )
    messages = [json.loads(line) for line in build.stdout.splitlines() if line.startswith(b"{")]
    programs = [m["executable"] for m in messages if m.get("target", {}).get("name") == "it" and m.get("executable")]
    return Path(programs[-1])


def run_suite(program: Path, test: str, environment: dict[str, str]) -> str:
    """Runs one Rust test, which must not skip itself, and says what it said."""
    done = subprocess.run(
        [program, "--exact", test, "--nocapture"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "1 passed" in said and "skipped" not in said, said
    return said


@pytest.fixture(scope="session")
def suites_run(suites: Path):
    """Runs one Rust test with further variables."""

    def run(test: str, **more: str) -> str:
        return run_suite(suites, test, {**os.environ, **more})

    return run


@pytest.fixture(scope="session")
def sample(suites_run, tmp_path_factory) -> Path:
    """Three chains of three manifests in a folder, with their registry."""
    folder = tmp_path_factory.mktemp("sample")
    suites_run("shipping::reading::a_sample_of_the_record_is_whole", HILUM_TEST_SAMPLE=str(folder))
    return folder


@pytest.fixture
def copy(sample, tmp_path) -> Path:
    """The sample to do things to."""
    shutil.copytree(sample / "store", tmp_path / "store")
    # The registry as it is on disk, its log of writes included.
    for file in sample.glob("registry.db*"):
        shutil.copy(file, tmp_path / file.name)
    return tmp_path


@pytest.fixture
def rust(suites: Path, tmp_path: Path):
    """Runs one Rust test with a configuration and says what it said."""

    def run(test: str, variable: str, config: str, credentials: tuple[str, str] | None = None, **more: str) -> str:
        file = tmp_path / f"{uuid.uuid4().hex}.toml"
        file.write_text(config)
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HILUM__"))}
        plain |= {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path), variable: str(file), **more}
        if credentials:
            plain |= {"AWS_ACCESS_KEY_ID": credentials[0], "AWS_SECRET_ACCESS_KEY": credentials[1]}
        return run_suite(suites, test, plain)

    return run


@pytest.fixture
def bucket_name() -> str:
    return f"hilum-{uuid.uuid4().hex[:12]}"


def store_config(endpoint: str, bucket: str, **keys: object) -> str:
    """`[store]` for a server of the tests; short waits, since the faults are meant."""
    values = {
        "kind": "s3",
        "bucket": bucket,
        "endpoint": endpoint,
        "region": servers.REGION,
        "path_style": True,
        "prefix": "site-a",
        "attempt_timeout": "10s",
        "timeout": "30s",
        "backoff": "20ms",
        **keys,
    }
    return "[store]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
