"""A verifier of the record, written from docs/audit.md and nothing else.

`python independent.py FOLDER [registry.db]` verifies the record in a folder, against the heads that a SQLite
registry noted. It prints a line for each thing that is wrong and exits with 3 if there is one.
"""

import hashlib
import io
import json
import sqlite3
import struct
import sys
from datetime import UTC, datetime
from pathlib import Path

import cbor2
import pyarrow.parquet
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def canonical(value: object) -> bytes:
    """RFC 8785 for what a manifest is made of: whole numbers, plain texts, null."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def merkle(hashes: list[bytes]) -> bytes:
    """RFC 9162, section 2.1.1."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    level = [hashlib.sha256(b"\0" + entry).digest() for entry in hashes]

    def root(leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return leaves[0]
        left = 1 << (len(leaves) - 1).bit_length() - 1
        return hashlib.sha256(b"\1" + root(leaves[:left]) + root(leaves[left:])).digest()

    return root(level)


def row_hash(row: dict) -> bytes:
    """SHA-256 of the row as a deterministic CBOR array."""
    return hashlib.sha256(cbor2.dumps(list(row.values()), canonical=True)).digest()


def rows_of(file: Path) -> list[dict]:
    """The rows of a Parquet file, `ts` as whole microseconds."""
    table = pyarrow.parquet.read_table(file, partitioning=None)
    ts = table.column("ts").cast("int64")
    return table.set_column(table.column_names.index("ts"), "ts", ts).to_pylist()


def segment(content: bytes) -> list[tuple[int, bytes]]:
    """The frames of a segment: kind and payload. CRC-32C is the store's business here: SHA-256 is looked at."""
    file, frames = io.BytesIO(content), []
    while head := file.read(9):
        length, _checksum, kind = struct.unpack("<IIB", head)
        payload = file.read(length)
        assert len(payload) == length, "the segment ends within a frame"
        frames.append((kind, payload))
    return frames


class Verifier:
    """Verifies a record that lies in a folder."""

    def __init__(self, folder: Path, registry: Path | None) -> None:
        self.folder = folder
        self.heads: dict[str, dict] | None = None
        self.problems: list[str] = []
        self.following: dict[str, int] = {}
        self.last_hash: dict[str, bytes] = {}
        self.rows = 0
        if registry:
            with sqlite3.connect(f"file:{registry}?mode=ro", uri=True) as database:
                database.row_factory = sqlite3.Row
                self.heads = {row["chain"]: dict(row) for row in database.execute("SELECT * FROM audit_chains")}

    def run(self) -> list[str]:
        chains = {path.name for path in (self.folder / "audit/_chain").glob("*")}
        named: set[str] = set()
        for chain in sorted(chains | set(self.heads or {})):
            self.chain(chain, named)
        for folder in sorted((self.folder / "audit/_commit").glob("*")):
            self.commits(folder)
        for file in (self.folder / "audit").glob("model=*/dt=*/*"):
            key = file.relative_to(self.folder).as_posix()
            if key not in named and not self.is_pending(file.stem):
                self.problems.append(f"{key}: no manifest names it")
        return self.problems

    def is_pending(self, name: str) -> bool:
        """Whether a file begins behind the last manifest of a chain that has not ended."""
        chain, _, numbers = name.partition("-")
        head = (self.heads or {}).get(chain)
        ended = head is not None and head["closed_at"] is not None
        first = numbers.partition("-")[0]
        known = chain in self.following or head is not None
        return known and not ended and first.isdigit() and int(first) >= self.following.get(chain, 0)

    def chain(self, chain: str, named: set[str]) -> None:
        head = (self.heads or {}).get(chain)
        files = {int(path.stem): path for path in (self.folder / "audit/_chain" / chain).glob("*.json")}
        say = self.problems.append
        if self.heads is not None and head is None:
            say(f"{chain}: the registry does not know it")
        following, before, previous = 0, bytes(32).hex(), None
        for number in range(max(files, default=-1) + 1):
            name = f"audit/_chain/{chain}/{number}.json"
            try:
                content = files[number].read_bytes()
                manifest = json.loads(content)
                assert canonical(manifest) == content, "not spelt as RFC 8785 has it"
            except (KeyError, ValueError, AssertionError) as error:
                say(f"{name}: missing or no manifest: {error!r}")
                previous = None
                continue
            named.update(file["key"] for file in manifest["files"])
            for problem in self.manifest(chain, number, manifest, following, before, previous):
                say(f"{name}: {problem}")
            following, before, previous = manifest["last"] + 1, manifest["last_hash"], sha256(content)
            if head and head["head_manifest"] == number and head["manifest_sha256"].hex() != previous:
                say(f"{name}: the registry noted another digest")
        self.following[chain], self.last_hash[chain] = following, bytes.fromhex(before)
        if head and head["head_manifest"] is not None and head["head_manifest"] not in files:
            say(f"{chain}: the registry noted manifest {head['head_manifest']} with rows to {head['head_seq']}")

    def commits(self, folder: Path) -> None:
        """Commits behind the last manifest are each whole, and continue the chain without a gap."""
        following = self.following.get(folder.name, 0)
        before = self.last_hash.get(folder.name, bytes(32))
        numbered = sorted((*map(int, path.name.split("-")), path) for path in folder.iterdir())
        for first, last, path in numbered:
            if last < following:
                continue
            name = path.relative_to(self.folder).as_posix()
            try:
                kinds, payloads = zip(*segment(path.read_bytes()), strict=True)
                assert kinds == (1, *[2] * (len(kinds) - 2), 3), "not header, rows, seal"
                header, seal = cbor2.loads(payloads[0]), cbor2.loads(payloads[-1])
                hashes = [hashlib.sha256(row).digest() for row in payloads[1:-1]]
                rows = [cbor2.loads(row) for row in payloads[1:-1]]
                assert header[2:5] == [folder.name, first, rows[0][4]], "the header is another's"
                assert seal[:4] == [last, len(rows), hashes[-1], merkle(hashes)], "the seal does not hold"
                for place, (row, hash) in enumerate(zip(rows, hashes, strict=True)):
                    assert row[2:4] == [folder.name, first + place], f"row {first + place} is another"
                    if row[3] >= following:
                        assert (row[3], row[4]) == (following, before), f"row {following} is next"
                        following, before = following + 1, hash
            except (ValueError, AssertionError, cbor2.CBORError) as error:
                self.problems.append(f"{name}: {error!r}")
                return

    def manifest(self, chain, number, manifest, following, before, previous):
        signature = manifest.get("signature")
        if (signature is None) != (manifest["signing_key"] is None):
            yield "a key without a signature, or a signature without a key"
        elif signature is not None:
            signed = canonical({name: value for name, value in manifest.items() if name != "signature"})
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(manifest["signing_key"]))
            try:
                key.verify(bytes.fromhex(signature), signed)
            except InvalidSignature:
                yield "the signature does not hold"
        if (manifest["chain"], manifest["number"]) != (chain, number):
            yield "it is another manifest"
        if (manifest["first"], manifest["prev_hash"]) != (following, before):
            yield f"row {following} is next, it begins with {manifest['first']}"
        if (number == 0) != (manifest["previous"] is None) or previous not in (None, manifest["previous"]):
            yield "it does not name the manifest before"
        rows = []
        for file in manifest["files"]:
            path = self.folder / file["key"]
            if not path.is_file():
                yield f"{file['key']} is missing"
                return
            if sha256(path.read_bytes()) != file["sha256"]:
                yield f"{file['key']} has another digest"
                return
            found = rows_of(path)
            numbers = [row["seq"] for row in found]
            ends = (file["rows"], file["first"], file["last"])
            if numbers != sorted(numbers) or (len(found), numbers[0], numbers[-1]) != ends:
                yield f"{file['key']} has {len(found)} rows from {numbers[0]} to {numbers[-1]}"
            for row in found:
                day = datetime.fromtimestamp(row["ts"] // 1_000_000, UTC).date()
                if not file["key"].startswith(f"audit/model={row['model']}/dt={day}/"):
                    yield f"{file['key']}: row {row['seq']} does not belong there"
            rows += found
        rows.sort(key=lambda row: row["seq"])
        hashes, expected = [], (manifest["first"], bytes.fromhex(manifest["prev_hash"]))
        last = None
        for row in rows:
            if (row["chain"], row["seq"]) != (chain, expected[0]):
                yield f"row {expected[0]} is next, not row {row['seq']} of {row['chain']}"
                return
            if row["prev_hash"] != expected[1]:
                yield f"row {(last or row)['seq']} ({(last or row)['audit_id']}) was changed"
                return
            last = row
            hashes.append(row_hash(row))
            expected = (row["seq"] + 1, hashes[-1])
        self.rows += len(rows)
        if expected != (manifest["last"] + 1, bytes.fromhex(manifest["last_hash"])):
            yield "its last row is another"
        if merkle(hashes).hex() != manifest["merkle_root"] or len(rows) != manifest["rows"]:
            yield "the Merkle root does not hold"


def main() -> int:
    registry = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    verifier = Verifier(Path(sys.argv[1]), registry)
    for problem in verifier.run():
        print(problem)
    print(f"{verifier.rows} rows", file=sys.stderr)
    return 3 if verifier.problems else 0


if __name__ == "__main__":
    sys.exit(main())
