"""Two verifiers, ours and the one written from docs/audit.md alone, say the same of good and of tampered records."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT
from server_process import binary
from test_shipping import independent


@pytest.fixture(scope="session")
def sample(suites_run, tmp_path_factory) -> Path:
    """Three chains of three manifests in a folder, with their registry."""
    folder = tmp_path_factory.mktemp("sample")
    suites_run("shipping::reading::a_sample_of_the_record_is_whole", HILUM_TEST_SAMPLE=str(folder))
    return folder


def flip(path: Path, part: float) -> None:
    content = bytearray(path.read_bytes())
    content[int((len(content) - 1) * part)] ^= 1
    path.write_bytes(content)


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def drop_chain(store: Path) -> None:
    chain = manifests(store)[0].parent
    for file in files(store):
        if file.name.startswith(chain.name):
            file.unlink()
    shutil.rmtree(chain)


def manifests(store: Path) -> list[Path]:
    return sorted(store.glob("audit/_chain/*/*.json"))


def files(store: Path) -> list[Path]:
    return sorted(store.glob("audit/model=*/dt=*/*.parquet"))


TAMPERED = {
    "a byte of a file's beginning": lambda store: flip(files(store)[0], 0.0),
    "a byte in the middle of a file": lambda store: flip(files(store)[1], 0.5),
    "a byte of a file's end": lambda store: flip(files(store)[-1], 1.0),
    "a byte of a manifest": lambda store: flip(manifests(store)[1], 0.5),
    "a file that is gone": lambda store: files(store)[2].unlink(),
    "a manifest in the middle that is gone": lambda store: manifests(store)[1].unlink(),
    "the last manifest that is gone": lambda store: manifests(store)[2].unlink(),
    "a chain that is gone": drop_chain,
    "manifests that were swapped": lambda store: swap(*manifests(store)[:2]),
    "files that were swapped": lambda store: swap(*files(store)[:2]),
    "a manifest that was cut": lambda store: manifests(store)[0].write_bytes(manifests(store)[0].read_bytes()[:-20]),
    "a manifest that is spelt otherwise": lambda store: manifests(store)[0].write_bytes(
        json.dumps(json.loads(manifests(store)[0].read_bytes()), indent=1).encode()
    ),
    "a signature that was taken off": lambda store: manifests(store)[2].write_bytes(
        json.dumps(
            {k: v for k, v in json.loads(manifests(store)[2].read_bytes()).items() if k != "signature"},
            separators=(",", ":"),
            sort_keys=True,
        ).encode()
    ),
    "a file that somebody put there": lambda store: shutil.copy(
        files(store)[0], files(store)[0].with_name(f"{manifests(store)[0].parent.name}-1-2.parquet")
    ),
}


def ours(folder: Path, code: int) -> dict:
    config = folder / "verify.toml"
    config.write_text(
        f"[store]\ndirectory = {json.dumps(str(folder / 'store'))}\n"
        f"[registry]\nurl = {json.dumps(f'sqlite:{folder}/registry.db')}\n"
    )
    command = [binary(), "audit", "verify", "--config", config, "--output", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_both_find_a_good_record_whole(sample) -> None:
    report = ours(sample, 0)
    assert (report["rows"], report["manifests"], report["signed"], report["chains"]) == (900, 9, 9, 3)
    independent(sample / "store", sample / "registry.db", 0)


@pytest.mark.parametrize("what", TAMPERED, ids=lambda what: what.replace(" ", "_"))
def test_both_find_what_was_done_to_it(sample, tmp_path, what) -> None:
    shutil.copytree(sample / "store", tmp_path / "store")
    # The registry as it is on disk, its log of writes included.
    for file in sample.glob("registry.db*"):
        shutil.copy(file, tmp_path / file.name)
    TAMPERED[what](tmp_path / "store")
    assert ours(tmp_path, 3)["findings"]
    independent(tmp_path / "store", tmp_path / "registry.db", 3)
