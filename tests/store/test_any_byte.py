"""Single bytes of what services wrote, changed one at a time: both verifiers say the same of each."""

import json
import os
import random
import shutil
import sqlite3
from pathlib import Path

import pyarrow.parquet
import pytest
from independent import Verifier
from test_shipping import Site
from verdicts import asked, forge, ours


@pytest.fixture(scope="session")
def live(tmp_path_factory) -> Path:
    """What services left in a folder: a chain that ended, and one of a killed process, in part as commits."""
    folder = tmp_path_factory.mktemp("live")
    store = f"[store]\ndirectory = {json.dumps(str(folder / 'store'))}\n"
    site = Site(folder, store, durability="store", seal_age="1h", seal_bytes=65536, commit_timeout="60s")
    server = site.serve()
    site.ask(server, 20)
    assert server.stop() == 0
    server = site.serve()
    while not server.metric("hilum_audit_shipped_rows_total"):
        site.ask(server, 20)
    site.ask(server, 5)
    server.process.kill()
    server.process.wait()
    return folder


def objects(store: Path) -> dict[str, list[Path]]:
    """The objects of a store by their kind."""
    kinds = {"manifests": "_chain/*/*", "files": "model=*/dt=*/*", "commits": "_commit/*/*"}
    return {kind: sorted(store.glob(f"audit/{pattern}")) for kind, pattern in kinds.items()}


@pytest.mark.parametrize("setting", ["registry", "signatures", "neither"])
def test_both_say_the_same_of_any_byte(live, tmp_path, setting) -> None:
    """One bit of one byte of one object at a time: 60 times, or as often as HILUM_FLIPS says."""
    shutil.copytree(live / "store", tmp_path / "store")
    for file in live.glob("registry.db*"):
        shutil.copy(file, tmp_path / file.name)
    if setting == "neither":
        forge(tmp_path / "store", lambda _: None, None)
    registry = tmp_path / "registry.db" if setting == "registry" else None
    arguments = [] if registry else ["--without-registry"]

    def verdicts() -> tuple[int, int]:
        found = Verifier(tmp_path / "store", registry).run()
        return asked(tmp_path, *arguments).returncode, 3 if found else 0

    assert verdicts() == (0, 0)
    kinds = objects(tmp_path / "store")
    assert all(kinds.values()), kinds
    seed = int(os.environ.get("HILUM_SEED") or random.randrange(1 << 32))
    chosen, found = random.Random(seed), dict.fromkeys(kinds, 0)
    for _ in range(int(os.environ.get("HILUM_FLIPS", "60"))):
        kind = chosen.choice(list(kinds))
        path = chosen.choice(kinds[kind])
        content = path.read_bytes()
        at, bit = chosen.randrange(len(content)), chosen.randrange(8)
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
        by_ours, by_the_other = verdicts()
        path.write_bytes(content)
        assert by_ours == by_the_other, f"bit {bit} of byte {at} of {path}; HILUM_SEED={seed}"
        found[kind] += by_ours == 3
    assert all(found.values()), found
    assert verdicts() == (0, 0)


@pytest.mark.parametrize("setting", ["registry", "signatures"])
def test_both_find_any_byte_of_a_commit_that_is_all_there_is(live, tmp_path, setting) -> None:
    """Each byte of the frames' heads, of header and seal, and some of the rows, by turns."""
    shutil.copytree(live / "store", tmp_path / "store")
    for file in live.glob("registry.db*"):
        shutil.copy(file, tmp_path / file.name)
    registry = tmp_path / "registry.db" if setting == "registry" else None
    path = max(objects(tmp_path / "store")["commits"], key=lambda path: int(path.name.split("-")[0]))
    content = path.read_bytes()
    chosen = random.Random(len(content))
    places = {*range(12), *range(len(content) - 12, len(content)), *chosen.sample(range(len(content)), 40)}
    for at in sorted(places):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << chosen.randrange(8)]) + content[at + 1 :])
        assert Verifier(tmp_path / "store", registry).run(), at
        if at % 4 == 0:
            ours(tmp_path, 3, *([] if registry else ["--without-registry"]))


def test_ours_lives_through_levels_that_are_damaged(live, tmp_path) -> None:
    """Where a column's nulls are counted, a reader of Parquet may die of one bit; the other looks at digests first."""
    shutil.copytree(live / "store", tmp_path / "store")
    path = max(objects(tmp_path / "store")["files"], key=lambda path: path.stat().st_size)
    group = pyarrow.parquet.read_metadata(path).row_group(0)
    columns = {column.path_in_schema: column for column in map(group.column, range(group.num_columns))}
    # Nobody has sent an image: all are null, and the last bytes of the column say so.
    column = columns["std"]
    assert column.statistics.null_count == group.num_rows
    end = (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size
    content = path.read_bytes()
    for at in range(end - 8, end):
        for bit in range(8):
            path.write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
            assert str(path.name) in str(ours(tmp_path, 3, "--without-registry")["findings"])


def test_both_find_commits_that_no_chain_can_have(tmp_path) -> None:
    """Of a chain that the registry does not know, and of one that has ended."""
    store = f"[store]\ndirectory = {json.dumps(str(tmp_path / 'store'))}\n"
    site = Site(tmp_path, store, durability="store", seal_age="1h", commit_timeout="60s")
    server = site.serve()
    site.ask(server, 5)
    server.process.kill()
    server.process.wait()

    def verdicts() -> tuple[int, int]:
        found = Verifier(tmp_path / "store", tmp_path / "registry.db").run()
        return asked(tmp_path).returncode, 3 if found else 0

    assert verdicts() == (0, 0)
    for change in ("UPDATE audit_chains SET closed_at = opened_at, closed_by = 'owner'", "DELETE FROM audit_chains"):
        with sqlite3.connect(tmp_path / "registry.db") as registry:
            registry.execute(change)
        registry.close()
        assert verdicts() == (3, 3), change
