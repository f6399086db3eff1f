"""`audit.durability = "store"`: no answer without its row in the store, seen by a client of another make."""

import io
import json
import re
import shutil
import struct
import threading
import urllib.error

import cbor2
import pytest
import servers
from conftest import store_config
from faults import FaultyProxy
from server_process import ServerProcess
from test_shipping import Site, download, independent


class Commits:
    """What the store has as commits, read as docs/audit.md describes them."""

    def __init__(self, server: servers.S3, bucket: str) -> None:
        self.server, self.bucket = server, bucket
        self.read: dict[str, list[str]] = {}

    def ids(self) -> set[str]:
        pages = self.server.client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.bucket, Prefix="site-a/audit/_commit/"):
            for found in page.get("Contents", []):
                if found["Key"] not in self.read:
                    content = self.server.client.get_object(Bucket=self.bucket, Key=found["Key"])["Body"].read()
                    self.read[found["Key"]] = self.rows(found["Key"], content)
        return {id for ids in self.read.values() for id in ids}

    @staticmethod
    def rows(key: str, content: bytes) -> list[str]:
        file, frames = io.BytesIO(content), []
        while head := file.read(9):
            length, _crc, kind = struct.unpack("<IIB", head)
            frames.append((kind, cbor2.loads(file.read(length))))
        assert [kind for kind, _ in frames] == [1, *[2] * (len(frames) - 2), 3], "header, rows, seal"
        rows = [value for kind, value in frames if kind == 2]
        chain, numbers = key.split("/")[-2:]
        assert {row[2] for row in rows} == {chain}
        assert numbers == f"{rows[0][3]}-{rows[-1][3]}" and len(rows) == rows[-1][3] - rows[0][3] + 1
        return [row[0] for row in rows]


def refused(site: Site, server: ServerProcess) -> str:
    """The reason of a refusal; it says when to come again."""
    with pytest.raises(urllib.error.HTTPError) as refusal:
        site.ask(server)
    assert refusal.value.code == 503 and refusal.value.headers["retry-after"], refusal.value
    return refusal.value.read().decode()


def committing(tmp_path, store: str, **audit: object) -> Site:
    return Site(tmp_path, store, durability="store", seal_age="1h", commit_timeout="20s", **audit)


def test_each_answer_is_in_the_store_at_its_very_moment(seaweedfs, bucket_name, tmp_path) -> None:
    bucket = seaweedfs.bucket(bucket_name)
    site = committing(tmp_path, store_config(seaweedfs.endpoint, bucket))
    server, commits = site.serve(), Commits(seaweedfs, bucket)
    for _ in range(20):
        site.ask(server)
        assert site.answered[-1] in commits.ids()
    # Callers at the same time share objects.
    callers = [threading.Thread(target=site.ask, args=(server, 25)) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert set(site.answered) <= commits.ids() and len(commits.read) < 220
    # Who has the store alone sees them, and a verifier sees that they are on their way.
    shown = site.hilum("audit", "show", "--output", "json").splitlines()
    assert {json.loads(line)["audit_id"] for line in shown} >= set(site.answered)
    assert site.verified()["pending_commits"] == len(commits.read)
    assert server.metric("hilum_audit_store_commit_duration_seconds_count") >= len(commits.read)
    assert server.stop() == 0
    site.everything_is_there_once()
    left = seaweedfs.client.list_objects_v2(Bucket=bucket, Prefix="site-a/audit/_commit/")
    assert "Contents" not in left, "files hold the rows now"


def flip(path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("done", ["nothing", "flipped", "removed", "swapped"])
def test_both_verifiers_find_what_was_done_to_commits(seaweedfs, bucket_name, tmp_path, done) -> None:
    bucket = seaweedfs.bucket(bucket_name)
    site = committing(tmp_path, store_config(seaweedfs.endpoint, bucket))
    server = site.serve()
    site.ask(server, 10)
    # Its process is killed, and commits are what the store has of the chain.
    server.process.kill()
    server.process.wait()
    folder = download(seaweedfs, bucket, tmp_path / "copy")
    found = folder.glob("audit/_commit/*/*")
    commits = sorted(found, key=lambda path: int(path.name.split("-")[0]))
    assert len(commits) == 10
    if done == "flipped":
        flip(commits[4])
    elif done == "removed":
        commits[4].unlink()
    elif done == "swapped":
        one, other = (path.read_bytes() for path in commits[4:6])
        commits[4].write_bytes(other)
        commits[5].write_bytes(one)
    local = f"[store]\ndirectory = {json.dumps(str(folder))}\n"
    site.config = tmp_path / "local.toml"
    site.config.write_text(f"{local}[registry]\nurl = {json.dumps(f'sqlite:{site.database}')}\n")
    code = 0 if done == "nothing" else 3
    report = site.verified(code)
    assert bool(report["findings"]) == bool(code)
    assert code or report["pending_commits"] == 10
    independent(folder, site.database, code)


@pytest.mark.parametrize("fault", [503, 500, "reset", "slow", "lost", "refused"])
def test_without_the_store_nobody_is_answered(seaweedfs, bucket_name, tmp_path, fault) -> None:
    with FaultyProxy(seaweedfs.endpoint) as proxy:
        bucket = seaweedfs.bucket(bucket_name)
        config = store_config(proxy.endpoint, bucket, attempt_timeout="2s", timeout="4s", attempts=2)
        site = committing(tmp_path, config)
        server, commits = site.serve(), Commits(seaweedfs, bucket)
        site.ask(server, 5)
        assert set(site.answered) <= commits.ids()
        proxy.fault = lambda _number, _method: fault
        assert "audit" in refused(site, server)
        server.wait_until(lambda: not server.is_ready(), "not ready")
        assert "cannot be written to the store" in refused(site, server)
        assert server.metric('hilum_audit_failures_total{reason="store"}') >= 1
        assert len(site.answered) == 5
        proxy.fault = lambda _number, _method: None
        server.wait_until(server.is_ready, "ready again")
        site.ask(server, 5)
        assert set(site.answered) <= commits.ids()
        assert server.stop() == 0
        site.everything_is_there_once()


def test_an_attempt_that_fails_is_made_again_before_the_answer(seaweedfs, bucket_name, tmp_path) -> None:
    with FaultyProxy(seaweedfs.endpoint) as proxy:
        bucket = seaweedfs.bucket(bucket_name)
        site = committing(tmp_path, store_config(proxy.endpoint, bucket))
        server, commits = site.serve(), Commits(seaweedfs, bucket)
        # Every second upload breaks, by turns before and after the store has it.
        faults = iter(["reset", None, "lost", None, 503, None] * 10)
        proxy.fault = lambda _number, method: next(faults, None) if method == "PUT" else None
        for _ in range(12):
            site.ask(server)
            assert site.answered[-1] in commits.ids()
        proxy.fault = lambda _number, _method: None
        assert server.stop() == 0
        site.everything_is_there_once()


def test_a_store_that_hangs_is_waited_for_as_long_as_a_commit_may_take(seaweedfs, bucket_name, tmp_path) -> None:
    with FaultyProxy(seaweedfs.endpoint) as proxy:
        bucket = seaweedfs.bucket(bucket_name)
        # The store alone would be given a minute.
        config = store_config(proxy.endpoint, bucket, attempt_timeout="60s", timeout="60s")
        site = committing(tmp_path, config)
        site.ask(server := site.serve())
        assert server.stop() == 0
        site.config.write_text(site.config.read_text().replace('commit_timeout = "20s"', 'commit_timeout = "2s"'))
        server, commits = site.serve(), Commits(seaweedfs, bucket)
        proxy.fault = lambda _number, _method: "slow"
        assert "audit record" in refused(site, server)
        server.wait_until(lambda: not server.is_ready(), "not ready")
        told = "no answer within 2s (audit.commit_timeout)"
        server.wait_until(lambda: any(told in line for line in server.log), "told")
        proxy.fault = lambda _number, _method: None
        server.wait_until(server.is_ready, "ready again")
        site.ask(server, 3)
        assert set(site.answered[1:]) <= commits.ids()
        assert server.stop() == 0
        site.everything_is_there_once()


def test_a_service_that_may_not_write_is_not_ready(seaweedfs, bucket_name, tmp_path) -> None:
    bucket = seaweedfs.bucket(bucket_name)
    site = committing(tmp_path, store_config(seaweedfs.endpoint, bucket))
    server = site.serve(ready=False, AWS_SECRET_ACCESS_KEY="wrong")
    # The models are there, it alone is not.
    server.wait_until(lambda: re.fullmatch(r"not ready\naudit: .*store.*\n", server.get("/readyz")[1]), "refused")
    told = "cannot be committed to the store"
    server.wait_until(lambda: any(told in line and "the store refuses" in line for line in server.log), "told")
    assert "store" in refused(site, server)
    assert server.stop() == 0
    assert "Contents" not in seaweedfs.client.list_objects_v2(Bucket=bucket)


def test_a_disk_that_is_lost_with_its_process_loses_no_answer(seaweedfs, bucket_name, tmp_path) -> None:
    bucket = seaweedfs.bucket(bucket_name)
    site = committing(tmp_path, store_config(seaweedfs.endpoint, bucket), seal_bytes=65536)
    chains = []
    for _ in range(2):
        site.kill_under_load(callers=8)
        chains += [path.parent.name for path in site.spool.glob("*/*.open")]
        for folder in site.spool.glob("*/"):
            shutil.rmtree(folder)
    assert len(set(chains)) == 2
    # The keys outlived it; the rows are in the store alone, in part as files, in part as commits.
    arguments = [argument for chain in chains for argument in ("--recover", chain)]
    said = json.loads(site.hilum("audit", "ship", *arguments, "--output", "json"))
    assert said["rows"] > 0 and said["closed"] == 2
    site.everything_is_there_once()
    site.hilum("audit", "ship", "--recover", chains[0], code=1)
    left = seaweedfs.client.list_objects_v2(Bucket=bucket, Prefix="site-a/audit/_commit/")
    assert "Contents" not in left
