"""The way of records from a running service to a real store: outages, refusals, replicas, sidecars, kills."""

import collections
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import pyarrow.parquet
import pytest
import servers
from conftest import ROOT, store_config
from faults import FaultyProxy
from server_process import ServerProcess, binary

PIXELS = json.dumps({"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [0.5] * 64}]})


class Site:
    """A folder for a spool, a store's and a registry's settings, and the services that share them."""

    def __init__(self, folder: Path, store: str, registry: str | None = None, **audit: object) -> None:
        self.folder = folder
        self.spool = folder / "spool"
        self.database = folder / "registry.db"
        self.key = folder / "signing.pem"
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", self.key], check=True, capture_output=True)
        settings = {
            "spool_dir": str(self.spool),
            "seal_age": "1s",
            "ship_interval": "100ms",
            "ship_max_backoff": "1s",
            "signing_key_file": str(self.key),
            **audit,
        }
        registry = registry or f"[registry]\nurl = {json.dumps(f'sqlite:{self.database}')}\n"
        lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
        self.config = folder / "hilum.toml"
        self.config.write_text(f"[audit]\n{lines}{store}{registry}")
        self.environment = {
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ACCESS_KEY_ID": servers.ADMIN[0],
            "AWS_SECRET_ACCESS_KEY": servers.ADMIN[1],
        }
        self.answered: list[str] = []

    def serve(self, models: list[str] | None = None, ready: bool = True, **more: str) -> ServerProcess:
        environment = {"HILUM__SERVER__DRAIN_GRACE": "10ms", **self.environment, **more}
        return ServerProcess(ROOT / "tests/models", models or ["plain"], environment, self.config, ready)

    def ask(self, server: ServerProcess, times: int = 1) -> None:
        """Asks; every answer that comes names its record."""
        for _ in range(times):
            url = f"http://{server.http}/v2/models/plain/infer"
            request = urllib.request.Request(url, PIXELS.encode(), {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                self.answered.append(answer.headers["x-audit-id"])

    def kill_under_load(self, callers: int) -> None:
        """Serves until some hundred answers have come, and is killed while more are asked for."""
        server = self.serve()
        before = len(self.answered)

        def ask() -> None:
            try:
                self.ask(server, 10_000)
            except (OSError, http.client.HTTPException):
                pass

        threads = [threading.Thread(target=ask) for _ in range(callers)]
        for thread in threads:
            thread.start()
        server.wait_until(lambda: len(self.answered) >= before + 300, "answering")
        server.process.kill()
        server.process.wait()
        for thread in threads:
            thread.join()

    def hilum(self, *arguments: str, code: int | None = 0) -> str:
        done = subprocess.run(
            [binary(), *arguments, "--config", self.config],
            cwd=ROOT,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=300,
        )
        said = done.stdout + done.stderr
        assert code is None or done.returncode == code, said
        return done.stdout

    def sealed(self) -> list[Path]:
        return list(self.spool.glob("*/*.seg"))

    def verified(self, code: int = 0, *arguments: str) -> dict:
        return json.loads(self.hilum("audit", "verify", "--output", "json", *arguments, code=code))

    def everything_is_there_once(self) -> None:
        """Every answer's record is in the store, and none twice; both verifiers agree that it is whole."""
        rows = [json.loads(line) for line in self.hilum("audit", "show", "--output", "json").splitlines()]
        seen = collections.Counter((row["audit_id"], row["row"]) for row in rows)
        assert max(seen.values(), default=1) == 1
        missing = [id for id in self.answered if (id, 0) not in seen]
        assert not missing, f"{len(missing)} of {len(self.answered)} answers are not in the record"
        report = self.verified()
        assert report["findings"] == [] and report["with_registry"]
        assert report["signed"] == report["manifests"] > 0


def download(server: servers.S3, bucket: str, folder: Path) -> Path:
    """The bucket as a folder, without our own prefix."""
    pages = server.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    for found in (found for page in pages for found in page.get("Contents", [])):
        path = folder / found["Key"].removeprefix("site-a/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(server.client.get_object(Bucket=bucket, Key=found["Key"])["Body"].read())
    return folder


def independent(folder: Path, registry: Path | None, code: int, *arguments: str) -> str:
    """The verifier that was written from docs/audit.md; it ends with this code."""
    script = Path(__file__).with_name("independent.py")
    command = [sys.executable, script, folder, *([registry] if registry else []), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_records_reach_the_store_and_both_verifiers_agree(seaweedfs, bucket_name, tmp_path) -> None:
    site = Site(tmp_path, store_config(seaweedfs.endpoint, seaweedfs.bucket(bucket_name)))
    server = site.serve()
    site.ask(server, 50)
    server.wait_until(lambda: server.metric("hilum_audit_shipped_rows_total") >= 50, "shipped")
    server.wait_until(lambda: server.metric("hilum_audit_ship_lag_seconds") == 0, "without a lag")
    site.ask(server, 30)
    # The end ships what is left, and closes the chain.
    assert server.stop() == 0
    assert not list(site.spool.glob("*/*")), "nothing is left in the spool"
    site.everything_is_there_once()
    folder = download(seaweedfs, bucket_name, tmp_path / "copy")
    independent(folder, site.database, 0)
    # One row is changed, and the file is written anew in all its form.
    file = max(folder.glob("audit/model=plain/*/*.parquet"), key=lambda path: path.stat().st_size)
    table = pyarrow.parquet.read_table(file, partitioning=None)
    at = table.num_rows // 2
    labels = table.column("label").to_pylist()
    labels[at] = "another"
    changed = table.set_column(table.column_names.index("label"), table.schema.field("label"), [labels])
    meta = pyarrow.parquet.read_metadata(file).metadata
    pyarrow.parquet.write_table(changed.replace_schema_metadata(meta), file, compression="zstd")
    wrong = table.column("audit_id")[at].as_py()
    local = tmp_path / "local.toml"
    local.write_text(f"[store]\ndirectory = {json.dumps(str(folder))}\n[registry]\nurl = {json.dumps(f'sqlite:{site.database}')}\n")
    site.config = local
    findings = site.verified(3)["findings"]
    assert wrong in [finding.get("audit_id") for finding in findings], findings
    assert "SHA-256" in str(findings)
    assert file.name in independent(folder, site.database, 3)


@pytest.mark.parametrize("fault", [503, 500, "reset", "slow"])
def test_an_outage_costs_disk_only(seaweedfs, bucket_name, tmp_path, fault) -> None:
    with FaultyProxy(seaweedfs.endpoint) as proxy:
        proxy.fault = lambda _number, _method: fault
        bucket = seaweedfs.bucket(bucket_name)
        config = store_config(proxy.endpoint, bucket, attempt_timeout="500ms", timeout="1s", attempts=2)
        site = Site(tmp_path, config)
        server = site.serve()
        site.ask(server, 20)
        server.wait_until(lambda: server.metric("hilum_audit_ship_failures_total") >= 2, "failing")
        site.ask(server, 20)
        assert server.is_ready()
        assert site.sealed(), "what is not shipped is in the spool"
        assert server.metric("hilum_audit_ship_lag_seconds") > 0
        proxy.fault = lambda _number, _method: None
        server.wait_until(lambda: not site.sealed(), "shipped after the outage")
        assert server.stop() == 0
        site.everything_is_there_once()


def test_refused_credentials_are_told_and_lose_nothing(seaweedfs, bucket_name, tmp_path) -> None:
    site = Site(tmp_path, store_config(seaweedfs.endpoint, seaweedfs.bucket(bucket_name)))
    server = site.serve(AWS_SECRET_ACCESS_KEY="wrong")
    site.ask(server, 10)
    server.wait_until(lambda: server.metric("hilum_audit_ship_failures_total") >= 2, "failing")
    assert any("the store refuses" in line and "ERROR" in line for line in server.log), server.log
    assert server.stop() == 0
    assert site.sealed()
    # The next process has the right ones, and adopts.
    server = site.serve()
    server.wait_until(lambda: server.metric("hilum_audit_shipped_rows_total") >= 10, "adopted")
    assert server.stop() == 0
    site.everything_is_there_once()


def test_credentials_that_are_taken_back_while_it_ships_cost_disk_only(seaweedfs, bucket_name, tmp_path) -> None:
    with FaultyProxy(seaweedfs.endpoint) as proxy:
        site = Site(tmp_path, store_config(proxy.endpoint, seaweedfs.bucket(bucket_name)), seal_age="200ms")
        server = site.serve()
        site.ask(server, 10)
        server.wait_until(lambda: server.metric("hilum_audit_shipped_rows_total") >= 10, "shipped")
        # In the middle of a segment: its file is there, its manifest is not any more.
        refusing = threading.Event()

        def fault(_number: int, method: str) -> object:
            if method == "PUT" and not refusing.is_set():
                refusing.set()
                return None
            return "refused" if refusing.is_set() else None

        proxy.fault = fault
        for _ in range(5):
            site.ask(server, 5)
            time.sleep(0.1)
        server.wait_until(lambda: server.metric("hilum_audit_ship_failures_total") >= 3, "failing")
        site.ask(server, 10)
        assert server.is_ready() and site.sealed()
        assert any("the store refuses" in line and "ERROR" in line for line in server.log), server.log
        proxy.fault = lambda _number, _method: None
        server.wait_until(lambda: not site.sealed(), "shipped with good ones")
        assert server.stop() == 0
        site.everything_is_there_once()


def test_a_registry_that_is_down_for_long_costs_disk_only(seaweedfs, bucket_name, tmp_path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="hilum-postgresql-"))
    try:
        with servers.postgresql(folder) as postgresql:
            url = postgresql.database("registry")
            registry = f"[registry]\nurl = {json.dumps(url)}\npassword_file = {json.dumps(str(postgresql.password))}\n"
            registry += 'timeout = "2s"\n'
            config = store_config(seaweedfs.endpoint, seaweedfs.bucket(bucket_name))
            site = Site(tmp_path, config, registry, seal_age="200ms")
            site.hilum("migrate", "up")
            server = site.serve()
            site.ask(server, 20)
            server.wait_until(lambda: server.metric("hilum_audit_shipped_rows_total") >= 20, "shipped")
            postgresql.stop()
            while server.metric("hilum_audit_ship_failures_total") < 4:
                site.ask(server, 5)
                time.sleep(0.1)
            assert server.is_ready() and len(site.sealed()) > 1
            # One that starts meanwhile answers as well, and adopts what the first one leaves.
            server.process.kill()
            server.process.wait()
            server = site.serve()
            site.ask(server, 20)
            server.wait_until(lambda: server.metric("hilum_audit_ship_failures_total") >= 2, "failing")
            assert server.is_ready()
            postgresql.start()
            server.wait_until(lambda: not site.sealed(), "shipped after it is back")
            assert server.stop() == 0
            site.everything_is_there_once()
            assert site.verified()["chains"] == 2
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_objects_are_locked_and_encrypted(seaweedfs, moto, bucket_name, tmp_path) -> None:
    key = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    locked = {"object_lock": "compliance", "object_lock_days": 3}
    for server, keys in ((seaweedfs, locked), (moto, {"kms_key": key})):
        bucket = server.bucket(bucket_name, locked="object_lock" in keys)
        folder = tmp_path / bucket / ("lock" if server is seaweedfs else "kms")
        folder.mkdir(parents=True)
        # With commits, which are encrypted but not locked, and gone in the end.
        site = Site(folder, store_config(server.endpoint, bucket, **keys), durability="store", commit_timeout="60s")
        service = site.serve()
        site.ask(service, 5)
        assert service.stop() == 0
        site.everything_is_there_once()
        for found in server.client.list_objects_v2(Bucket=bucket)["Contents"]:
            head = server.client.head_object(Bucket=bucket, Key=found["Key"], ChecksumMode="ENABLED")
            if "kms_key" in keys:
                assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key)
            else:
                assert head["ObjectLockMode"] == "COMPLIANCE"


def test_two_replicas_share_a_prefix_and_a_server(seaweedfs, postgresql, bucket_name, tmp_path) -> None:
    url = postgresql.database(f"replicas_{bucket_name[-6:]}")
    registry = f"[registry]\nurl = {json.dumps(url)}\npassword_file = {json.dumps(str(postgresql.password))}\n"
    config = store_config(seaweedfs.endpoint, seaweedfs.bucket(bucket_name))
    sites = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        sites.append(Site(tmp_path / name, config, registry))
    sites[0].hilum("migrate", "up")
    replicas = [site.serve() for site in sites]
    for _ in range(5):
        for site, server in zip(sites, replicas, strict=True):
            site.ask(server, 10)
    for server in replicas:
        assert server.stop() == 0
    sites[0].answered += sites[1].answered
    sites[0].everything_is_there_once()
    assert sites[0].verified()["chains"] == 2
    assert json.loads(sites[0].hilum("migrate", "status", "--output", "json"))["migrations"][0]["applied"]


@pytest.mark.parametrize("durability", ["spool", "store"])
def test_two_sidecars_after_one_folder_ship_each_segment_once(seaweedfs, bucket_name, tmp_path, durability) -> None:
    config = store_config(seaweedfs.endpoint, seaweedfs.bucket(bucket_name))
    audit = {"durability": durability, "commit_timeout": "60s"}
    site = Site(tmp_path, config, shipper="sidecar", seal_age="200ms", **audit)
    environment = {**os.environ, **site.environment}
    command = [binary(), "audit", "ship", "--config", site.config]
    sidecars = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    logs: list[list[str]] = [[], []]
    readers = [
        threading.Thread(target=log.extend, args=(sidecar.stderr,), daemon=True)
        for log, sidecar in zip(logs, sidecars, strict=True)
    ]
    for reader in readers:
        reader.start()
    server = site.serve()
    for _ in range(20):
        site.ask(server, 5)
        time.sleep(0.05)
    # All end at once, as the containers of a task do.
    for sidecar in sidecars:
        sidecar.terminate()
    assert server.stop() == 0
    assert [sidecar.wait(timeout=60) for sidecar in sidecars] == [0, 0]
    for reader in readers:
        reader.join(timeout=10)
    assert not list(site.spool.glob("*/*.seg")) and not list(site.spool.glob("*/*.open"))
    site.everything_is_there_once()
    left = seaweedfs.client.list_objects_v2(Bucket=bucket_name, Prefix="site-a/audit/_commit/")
    assert "Contents" not in left, "what the service committed is removed by who shipped it"
    assert not re.search(r"cannot be shipped", "".join(sum(logs, [])))


@pytest.mark.parametrize("durability", ["spool", "store"])
def test_killed_again_and_again_loses_no_record_and_doubles_none(seaweedfs, bucket_name, tmp_path, durability) -> None:
    """Five times, as often as HILUM_KILLS says otherwise: while records are written and shipped."""
    config = store_config(seaweedfs.endpoint, seaweedfs.bucket(bucket_name))
    site = Site(tmp_path, config, seal_bytes=65536, durability=durability, commit_timeout="60s")
    for _ in range(int(os.environ.get("HILUM_KILLS", "5"))):
        site.kill_under_load(callers=4)
    server = site.serve()
    server.wait_until(lambda: not site.sealed(), "shipped")
    assert server.stop() == 0
    site.everything_is_there_once()
