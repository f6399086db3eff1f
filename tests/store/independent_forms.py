"""The forms of the record, read as docs/audit.md has them: rows, segments, Parquet files, manifests, the Merkle tree.

What is read is of its form, or `Broken` says what is not. This module must never take a value for what it should be.
"""

import hashlib
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import cbor2
import pyarrow as pa
import pyarrow.parquet

NUMBER = "(?:0|[1-9][0-9]*)"
CHAIN = "[0-9a-f]{32}"
# What a key is made of: parts that do not begin with a dot.
KEY = re.compile(r"(?!\.)[A-Za-z0-9_.=:-]{1,200}(?:/(?!\.)[A-Za-z0-9_.=:-]{1,200})*")
MANIFEST_KEY = re.compile(f"audit/_chain/({CHAIN})/({NUMBER})\\.json")
COMMIT_KEY = re.compile(f"audit/_commit/({CHAIN})/({NUMBER})-({NUMBER})")
# What the name of a file begins with that a manifest is about to name.
FILE_NAME = re.compile(f"({CHAIN})-({NUMBER})-")
# Bytes of a frame's payload at most.
MAX_PAYLOAD = 16 << 20


class Broken(ValueError):
    """Something is not of its form."""


def whole(bits: int, signed: bool = False) -> Callable[[object], bool]:
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    return lambda value: type(value) is int and low <= value < high


def like(pattern: str) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) is not None


def word(words: str) -> Callable[[object], bool]:
    return lambda value: value in words.split()


def every(kind: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(isinstance(item, kind) for item in value)


def is_text(value: object) -> bool:
    return isinstance(value, str)


def is_float(value: object) -> bool:
    return isinstance(value, float)


def is_digest(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == 32


def listed(item: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", item, nullable=False))


STATUS = """OK INVALID_ARGUMENT UNAUTHENTICATED PERMISSION_DENIED NOT_FOUND TOO_LARGE UNSUPPORTED_MEDIA CONFLICT
FAILED_PRECONDITION UNIMPLEMENTED OVERLOADED DEADLINE_EXCEEDED CANCELLED UNAVAILABLE INTERNAL"""
STATISTICS = ("mean", "std", "p1", "p99", "entropy", "sharpness", "aspect", "bits")
# Each column: its type in Parquet, whether it may be null, its form.
COLUMNS: dict[str, tuple[pa.DataType, bool, Callable[[object], bool]]] = {
    "audit_id": (pa.string(), False, like("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")),
    "ts": (pa.timestamp("us", "UTC"), False, whole(64, signed=True)),
    "chain": (pa.string(), False, like(CHAIN)),
    "seq": (pa.int64(), False, whole(64)),
    "prev_hash": (pa.binary(), False, is_digest),
    "request_id": (pa.string(), False, is_text),
    "trace_id": (pa.string(), True, is_text),
    "principal": (pa.binary(), False, is_digest),
    "model": (pa.string(), False, is_text),
    "version": (pa.string(), True, like("[1-9][0-9]*")),
    "bundle_sha256": (pa.binary(), True, is_digest),
    "image_digest": (pa.binary(), True, is_digest),
    "route": (pa.string(), True, word("champion canary shadow mirror pinned")),
    "input_hmac": (pa.binary(), True, is_digest),
    "study_hmac": (pa.binary(), True, is_digest),
    "hmac_key_id": (pa.string(), False, like("[A-Za-z0-9._-]{1,64}")),
    "input_kind": (pa.string(), True, word("tensor png jpeg dicom file")),
    "scores": (listed(pa.float32()), False, every(float)),
    "calibrated": (listed(pa.float32()), False, every(float)),
    "label": (pa.string(), True, is_text),
    "decision": (pa.string(), True, word("positive negative abstain rejected")),
    "warnings": (listed(pa.string()), False, every(str)),
    **{name: (pa.float64(), True, is_float) for name in STATISTICS[:7]},
    "bits": (pa.int32(), True, whole(8)),
    "ood_score": (pa.float64(), True, is_float),
    "embedding": (listed(pa.float32()), False, every(float)),
    **{name: (pa.int64(), False, whole(64)) for name in ("queue_us", "decode_us", "infer_us", "total_us")},
    "batch_size": (pa.int64(), False, whole(32)),
    "status": (pa.string(), False, word(STATUS)),
    "row": (pa.int64(), False, whole(32)),
    "count": (pa.int64(), False, whole(64)),
}


def checked(row: dict) -> dict:
    """A row whose values are of their columns' forms."""
    for name, (_, nullable, fits) in COLUMNS.items():
        if not (nullable if row[name] is None else fits(row[name])):
            raise Broken(f"row {row['seq']!r}: {name} is not of the column's form")
    if len({row[name] is None for name in STATISTICS}) != 1:
        raise Broken(f"row {row['seq']}: statistics are all there or none")
    return row


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def row_hash(row: dict) -> bytes:
    """SHA-256 of the row as a deterministic CBOR array."""
    return hashlib.sha256(cbor2.dumps(list(row.values()), canonical=True)).digest()


def merkle(hashes: list[bytes]) -> bytes:
    """RFC 9162, section 2.1.1."""
    if not hashes:
        return hashlib.sha256(b"").digest()

    def root(leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return leaves[0]
        left = 1 << (len(leaves) - 1).bit_length() - 1
        return hashlib.sha256(b"\1" + root(leaves[:left]) + root(leaves[left:])).digest()

    return root([hashlib.sha256(b"\0" + entry).digest() for entry in hashes])


def rows_of(file: Path) -> list[dict]:
    """The rows of a Parquet file, `ts` as whole microseconds."""
    try:
        read = pyarrow.parquet.ParquetFile(file)
        table = read.read()
    except (pa.ArrowException, OSError) as error:
        raise Broken(f"no Parquet file: {error}") from error
    schema = (read.metadata.metadata or {}).get(b"hilum.audit.schema")
    if schema != b"1":
        raise Broken(f"hilum.audit.schema is {schema!r}, not 1")
    found = [(field.name, field.type) for field in table.schema]
    if found != [(name, kind) for name, (kind, *_) in COLUMNS.items()]:
        raise Broken("other columns or types than the record has")
    ts = table.column("ts").cast("int64")
    try:
        rows = table.set_column(table.column_names.index("ts"), "ts", ts).to_pylist()
    except UnicodeDecodeError as error:
        raise Broken(f"a text is no UTF-8: {error}") from error
    return [checked(row) for row in rows]


def crc32c_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


CRC32C = crc32c_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ CRC32C[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def frames(content: bytes) -> list[tuple[int, bytes]]:
    """The frames of a segment: kind and payload."""
    at, found = 0, []
    while at < len(content):
        head = content[at : at + 9]
        if len(head) < 9:
            raise Broken(f"byte {at}: the segment ends within a frame")
        length, checksum, kind = struct.unpack("<IIB", head)
        payload = content[at + 9 : at + 9 + length]
        if length > MAX_PAYLOAD or len(payload) < length:
            raise Broken(f"byte {at}: a frame of {length} bytes, which are not there or too many")
        if crc32c(content[at + 8 : at + 9 + length]) != checksum:
            raise Broken(f"byte {at}: the CRC-32C does not hold")
        found.append((kind, payload))
        at += 9 + length
    return found


def array(payload: bytes, kinds: list[Callable[[object], bool]], what: str) -> list:
    """The values of a frame, each of its kind."""
    try:
        values = cbor2.loads(payload)
    except (cbor2.CBORDecodeError, ValueError, RecursionError) as error:
        raise Broken(f"the {what} is no CBOR: {error}") from error
    if not isinstance(values, list) or len(values) != len(kinds):
        raise Broken(f"the {what} is no array of {len(kinds)} values")
    if not all(fits(value) for fits, value in zip(kinds, values, strict=True)):
        raise Broken(f"a value of the {what} is not of its form")
    return values


def sealed(content: bytes, chain: str, first: int, last: int) -> list[tuple[dict, bytes]]:
    """The rows of a sealed segment and their hashes: it is whole, of this chain and of these numbers."""
    parts = frames(content)
    if [kind for kind, _ in parts] != [1, *[2] * (len(parts) - 2), 3] or len(parts) < 3:
        raise Broken("not header, rows, seal")
    u32, u64, i64 = whole(32), whole(64), whole(64, signed=True)
    kinds = [u32, u32, like(CHAIN), u64, is_digest, like("[A-Za-z0-9._-]{1,64}"), i64]
    header = array(parts[0][1], kinds, "header")
    if header[:4] != [1, 1, chain, first]:
        raise Broken("the header is of another format, schema, chain or row")
    before, rows = header[4], []
    for number, (_, payload) in enumerate(parts[1:-1], first):
        values = array(payload, [lambda _: True] * len(COLUMNS), "row")
        row = checked(dict(zip(COLUMNS, values, strict=True)))
        if (row["chain"], row["seq"], row["prev_hash"]) != (chain, number, before):
            raise Broken(f"row {number} is next, not row {row['seq']} of {row['chain']}, or prev_hash is another")
        before = hashlib.sha256(payload).digest()
        rows.append((row, before))
    kinds = [u64, u64, is_digest, is_digest, i64, lambda value: isinstance(value, bool)]
    seal = array(parts[-1][1], kinds, "seal")
    if seal[:4] != [last, len(rows), before, merkle([hash for _, hash in rows])] or first + len(rows) - 1 != last:
        raise Broken("the seal does not hold")
    return rows


def canonical(value: object) -> bytes:
    """RFC 8785 for what a manifest is made of: whole numbers, texts, null."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


HEX32, U64, I64 = like("[0-9a-f]{64}"), whole(64), whole(64, signed=True)
FILE = {"bytes": U64, "first": U64, "key": is_text, "last": U64, "rows": U64, "sha256": HEX32}
MANIFEST = {
    "chain": is_text,
    "files": every(dict),
    "first": U64,
    "format": lambda value: type(value) is int and value == 1,
    "last": U64,
    "last_hash": HEX32,
    "merkle_root": HEX32,
    "number": U64,
    "prev_hash": HEX32,
    "previous": lambda value: value is None or HEX32(value),
    "rows": U64,
    "schema": whole(32),
    "sealed_at": I64,
    "signing_key": lambda value: value is None or HEX32(value),
    "watermark": I64,
}
SIGNATURE = like("[0-9a-f]{128}")


def members(found: object, expected: dict, what: str) -> None:
    """Each member that is expected, of its form, and no other."""
    if not isinstance(found, dict) or set(found) != set(expected):
        raise Broken(f"the members of {what} are others than {', '.join(expected)}")
    for name, fits in expected.items():
        if not fits(found[name]):
            raise Broken(f"{name} of {what} is not of its form")


def manifest_of(content: bytes) -> dict:
    """A manifest: of the known format, with the members that one has, spelt as RFC 8785 has it."""
    try:
        manifest = json.loads(content.decode())
        is_spelt = canonical(manifest) == content
    except (ValueError, RecursionError) as error:
        raise Broken(f"no JSON: {error}") from error
    is_signed = isinstance(manifest, dict) and "signature" in manifest
    members(manifest, {**MANIFEST, **({"signature": SIGNATURE} if is_signed else {})}, "the manifest")
    for file in manifest["files"]:
        members(file, FILE, "a file")
    if not is_spelt:
        raise Broken("not spelt as RFC 8785 has it")
    return manifest
