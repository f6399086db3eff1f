"""Two verifiers, ours and the one written from docs/audit.md alone, say the same of good and of tampered records."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from independent_forms import canonical
from test_shipping import independent
from verdicts import asked, copied, files, manifests, other, ours, put


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


TAMPERED: dict[str, Callable[[Path], object]] = {
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
    "a manifest without a member": lambda store: manifests(store)[2].write_bytes(b"{}"),
    "a manifest that is a list": lambda store: manifests(store)[2].write_bytes(b"[1]"),
    "a manifest that is deep": lambda store: manifests(store)[2].write_bytes(b"[" * 100_000),
    "a manifest of no text": lambda store: manifests(store)[2].write_bytes(b"\xff\xfe{}"),
    **{
        f"a stray {name} in a chain's folder": lambda store, name=name: put(manifests(store)[0].parent / name)
        for name in (
            "00.json",
            "4.json.bak",
            "+4.json",
            "-1.json",
            "x.json",
            "4",
            "4.json~",
            "4 .json",
            "deeper/4.json",
            f"{(1 << 64) - 1}.json",
        )
    },
    "a manifest of no chain": lambda store: copied(manifests(store)[0], store / "audit/_chain/x/0.json"),
    "a manifest of a chain in capitals": lambda store: copied(
        manifests(store)[0], store / "audit/_chain" / ("A" * 32) / "0.json"
    ),
    "a file beside the chains": lambda store: put(store / "audit/_chain/note"),
    **{
        f"a stray {name} beside commits": lambda store, name=name: put(store / "audit/_commit" / name)
        for name in ("note", f"{'0' * 32}/00-1", f"{'0' * 32}/+0-1", f"{'0' * 32}/1-0", f"{'0' * 32}/0-1.seg", "x/0-1")
    },
    **{
        f"a stray {name} beside files": lambda store, name=name: copied(files(store)[0], store / "audit" / name)
        for name in (
            "model=mnist/0.parquet",
            "model=mnist/dt=2026-11-28/deeper/0.parquet",
            "model=mnist/dt=2026-11-28/a name.parquet",
            "model=nobody",
        )
    },
}


# What is no object of a store: a write that a kill ended leaves it.
UNFINISHED = {
    "in a chain's folder": lambda store: put(manifests(store)[0].with_name(".partial-a1B2c3")),
    "in a day's folder": lambda store: put(files(store)[0].with_name(".partial-a1B2c3")),
    "among commits": lambda store: put(store / "audit/_commit" / manifests(store)[0].parent.name / ".partial-a1B2c3"),
    "in the store's own folder": lambda store: put(store / ".partial-a1B2c3"),
}


def test_both_find_a_good_record_whole(sample) -> None:
    report = ours(sample, 0)
    assert (report["rows"], report["manifests"], report["signed"], report["chains"]) == (900, 9, 9, 3)
    independent(sample / "store", sample / "registry.db", 0)


@pytest.mark.parametrize("what", TAMPERED, ids=lambda what: what.replace(" ", "_"))
def test_both_find_what_was_done_to_it(copy, what) -> None:
    TAMPERED[what](copy / "store")
    assert ours(copy, 3)["findings"]
    other(copy / "store", copy / "registry.db", 3)


@pytest.mark.parametrize("where", UNFINISHED, ids=lambda where: where.replace(" ", "_"))
def test_to_both_an_unfinished_write_is_nothing(copy, where) -> None:
    UNFINISHED[where](copy / "store")
    ours(copy, 0)
    other(copy / "store", copy / "registry.db", 0)


def last_manifest(store: Path, change: Callable[[dict], object]) -> None:
    """Does something to the last manifest, which only the registry knows by its digest."""
    manifest = json.loads(manifests(store)[2].read_bytes())
    change(manifest)
    manifests(store)[2].write_bytes(canonical(manifest))


WITHOUT_REGISTRY = {
    "the signature is taken off": lambda it: it.pop("signature"),
    "signature and key are taken off": lambda it: it.update(signing_key=None) or it.pop("signature"),
    "the signature is in capitals": lambda it: it.update(signature=it["signature"].upper()),
    "a digit of the signature is in capitals": lambda it: it.update(signature=it["signature"].replace("a", "A")),
    "the key is in capitals": lambda it: it.update(signing_key=it["signing_key"].upper()),
    "the signature is short": lambda it: it.update(signature=it["signature"][:-2]),
    "the signature is no text": lambda it: it.update(signature=1),
    "a row more is told": lambda it: it.update(rows=it["rows"] + 1),
    "an unknown member": lambda it: it.update(note="good"),
}


@pytest.mark.parametrize("what", WITHOUT_REGISTRY, ids=lambda what: what.replace(" ", "_"))
def test_both_find_it_in_the_last_manifest_without_a_registry(copy, what) -> None:
    last_manifest(copy / "store", WITHOUT_REGISTRY[what])
    assert ours(copy, 3, "--without-registry")["findings"]
    other(copy / "store", None, 3)


def test_both_trust_the_keys_that_they_are_given(copy) -> None:
    key = json.loads(manifests(copy / "store")[0].read_bytes())["signing_key"]
    another = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    for keys, code in (([key], 0), ([another], 3), ([another, key], 0)):
        trusted = [argument for one in keys for argument in ("--public-key", one)]
        for registry in (copy / "registry.db", None):
            ours(copy, code, *trusted, *([] if registry else ["--without-registry"]))
            independent(copy / "store", registry, code, *trusted)


def test_neither_calls_it_whole_where_nothing_is(tmp_path) -> None:
    (tmp_path / "store").mkdir()
    independent(tmp_path / "store", None, 1)
    independent(tmp_path / "nowhere", None, 1)
    independent(tmp_path / "store", tmp_path / "nowhere.db", 1)
    assert asked(tmp_path, "--without-registry").returncode not in (0, 3)
    assert asked(tmp_path).returncode not in (0, 3)
