"""What the owner of the signing key could make of a record: both verifiers find what is not of the record's form."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from independent_forms import sha256
from verdicts import forge, manifests, moved, other, ours


def rewritten(store: Path, file: dict, change: Callable[[pyarrow.Table], pyarrow.Table]) -> None:
    """Writes a file anew, and what its manifest says of it."""
    path = store / file["key"]
    table = change(pyarrow.parquet.ParquetFile(path).read())
    pyarrow.parquet.write_table(table, path, compression="zstd", store_schema=False)
    file |= {"sha256": sha256(path.read_bytes()), "bytes": path.stat().st_size}


def elsewhere(store: Path, file: dict, key: str) -> None:
    moved(store / file["key"], store / key)
    file["key"] = key


def meta(schema: bytes | None) -> Callable[[pyarrow.Table], pyarrow.Table]:
    return lambda table: table.replace_schema_metadata({b"hilum.audit.schema": schema} if schema else None)


def column(table: pyarrow.Table, name: str, change: Callable[[pyarrow.ChunkedArray], object]) -> pyarrow.Table:
    return table.set_column(table.column_names.index(name), name, change(table.column(name)))


def deeper(file: dict, part: str) -> str:
    folder, _, name = file["key"].rpartition("/")
    return f"{folder}/{part}/{name}"


# What the owner of the key could sign, and is not of the record's form all the same.
FORGED: dict[str, Callable[[Path, dict], object]] = {
    "an unknown member": lambda _, it: it.update(note="good"),
    "an unknown member of a file": lambda _, it: it["files"][0].update(note="good"),
    "a member that is missing": lambda _, it: it.pop("watermark"),
    "a member of a file that is missing": lambda _, it: it["files"][0].pop("bytes"),
    "format 2": lambda _, it: it.update(format=2),
    "a number that is none": lambda _, it: it.update(sealed_at=1.5),
    "a number with a point": lambda _, it: it.update(rows=float(it["rows"])),
    "a number below zero": lambda _, it: it["files"][0].update(bytes=-1),
    "a number beyond 64 bits": lambda _, it: it.update(watermark=1 << 63),
    "a digest in capitals": lambda _, it: it.update(merkle_root=it["merkle_root"].upper()),
    "files that are no list": lambda _, it: it.update(files={}),
    "another chain": lambda _, it: it.update(chain="0" * 32),
    "another number": lambda _, it: it.update(number=it["number"] + 1),
    "a file in a deeper folder": lambda store, it: elsewhere(store, it["files"][0], deeper(it["files"][0], "x")),
    "a file of another model": lambda store, it: elsewhere(
        store, it["files"][0], it["files"][0]["key"].replace("model=", "model=x")
    ),
    "a file outside": lambda store, it: elsewhere(store, it["files"][0], "audit/../" + it["files"][0]["key"]),
    "a file without rows": lambda store, it: rewritten(store, it["files"][0], lambda table: table.slice(0, 0)),
    "a file without its last row": lambda store, it: rewritten(
        store, it["files"][0], lambda table: table.slice(0, len(table) - 1)
    ),
    "a file whose rows fall": lambda store, it: rewritten(
        store, it["files"][0], lambda table: table.sort_by([("seq", "descending")])
    ),
    "another schema": lambda store, it: rewritten(store, it["files"][0], meta(b"2")),
    "no schema": lambda store, it: rewritten(store, it["files"][0], meta(None)),
    "a column less": lambda store, it: rewritten(store, it["files"][0], lambda table: table.drop_columns(["count"])),
    "a column of another type": lambda store, it: rewritten(
        store, it["files"][0], lambda table: column(table, "seq", lambda rows: rows.cast("int32"))
    ),
    "a word that is none": lambda store, it: rewritten(
        store, it["files"][0], lambda table: column(table, "status", lambda rows: pyarrow.array(["FINE"] * len(rows)))
    ),
    "a row that was changed": lambda store, it: rewritten(
        store, it["files"][0], lambda table: column(table, "label", lambda rows: pyarrow.array(["x"] * len(rows)))
    ),
    "rows that stand twice": lambda _, it: it["files"].append(it["files"][0]),
}


def test_to_both_a_record_that_is_signed_anew_is_whole(copy) -> None:
    trusted = forge(copy / "store", lambda _: None, Ed25519PrivateKey.generate())
    ours(copy, 0, "--without-registry", *trusted)
    other(copy / "store", None, 0, *trusted)
    # To the registry it is another one.
    ours(copy, 3, *trusted)
    other(copy / "store", copy / "registry.db", 3, *trusted)


@pytest.mark.parametrize("what", FORGED, ids=lambda what: what.replace(" ", "_"))
def test_both_find_what_the_keys_owner_has_signed(copy, what) -> None:
    store = copy / "store"
    last = json.loads(manifests(store)[2].read_bytes())
    is_last = lambda it: (it["chain"], it["number"]) == (last["chain"], last["number"])  # noqa: E731
    trusted = forge(store, lambda it: is_last(it) and FORGED[what](store, it), Ed25519PrivateKey.generate())
    assert ours(copy, 3, "--without-registry", *trusted)["findings"]
    other(store, None, 3, *trusted)
