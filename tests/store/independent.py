"""A verifier of the record, written from docs/audit.md and nothing else.

`python independent.py FOLDER [registry.db] [--public-key KEY]` verifies the record in a folder, against the heads that
a SQLite registry noted and by the keys that are trusted. It prints a line for each thing that is wrong and exits with
3 if there is one, with 1 if nothing could be verified.
"""

import argparse
import contextlib
import os
import sqlite3
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from independent_forms import (
    COMMIT_KEY,
    FILE_NAME,
    HEX32,
    KEY,
    MANIFEST_KEY,
    Broken,
    canonical,
    manifest_of,
    merkle,
    row_hash,
    rows_of,
    sealed,
    sha256,
)

NO_HASH = bytes(32)


def noted(registry: Path) -> dict[str, dict]:
    """The chains that a registry knows. A copy without a log beside it is read as it is, on a read-only disk too."""
    mode = "mode=ro" if registry.with_name(registry.name + "-wal").exists() else "mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(f"{registry.resolve().as_uri()}?{mode}", uri=True)) as database:
        database.row_factory = sqlite3.Row
        return {row["chain"]: dict(row) for row in database.execute("SELECT * FROM audit_chains")}


def day(ts: int) -> str:
    """The day (UTC) of a time in µs; none of a time that no calendar has."""
    try:
        return str(datetime.fromtimestamp(ts // 1_000_000, UTC).date())
    except (OverflowError, ValueError, OSError):
        return ""


def objects(folder: Path) -> list[str]:
    """The keys below a folder. A name that begins with a dot is none: what a write left that did not end."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(place, name) for name in files if not name.startswith(".")]
        found += [path.relative_to(folder).as_posix() for path in paths if not path.is_symlink()]
    return sorted(found)


class Verifier:
    """Verifies a record that lies in a folder; `keys` are the public keys that are trusted, in hexadecimal digits."""

    def __init__(self, folder: Path, registry: Path | None = None, keys: frozenset[str] = frozenset()) -> None:
        self.folder = folder
        self.heads = noted(registry) if registry else None
        opened = {head["signing_key"].hex() for head in (self.heads or {}).values() if head["signing_key"]}
        self.keys, self.allowed = keys, keys or opened
        self.problems: list[str] = []
        # By chain: the next row behind its manifests, and the hash of the row before where it is known.
        self.following: dict[str, tuple[int, bytes | None]] = {}
        self.named: set[str] = set()
        self.rows = 0
        self.seen = 0

    def say(self, problem: str) -> None:
        self.problems.append(problem)

    def run(self) -> list[str]:
        keys = objects(self.folder)
        chains: dict[str, dict[int, str]] = {}
        commits: dict[str, list[tuple[int, int, str]]] = {}
        files: list[str] = []
        for key in keys:
            if key.startswith("audit/model="):
                files.append(key)
            elif found := MANIFEST_KEY.fullmatch(key):
                chains.setdefault(found[1], {})[int(found[2])] = key
            elif (found := COMMIT_KEY.fullmatch(key)) and int(found[2]) <= int(found[3]):
                commits.setdefault(found[1], []).append((int(found[2]), int(found[3]), key))
            elif key.startswith(("audit/_chain/", "audit/_commit/")):
                self.say(f"{key}: nothing of the record is called so")
        self.seen = len(chains) + len(commits) + len(files)
        for chain in sorted(set(chains) | set(self.heads or {})):
            self.chain(chain, chains.get(chain, {}))
        for chain in sorted(commits):
            self.commits(chain, sorted(commits[chain]))
        for key in files:
            if key not in self.named and not self.is_pending(key):
                self.say(f"{key}: no manifest names it")
        return self.problems

    def is_pending(self, key: str) -> bool:
        """Whether a file begins behind the last manifest of a chain that has not ended."""
        found = FILE_NAME.match(key.rpartition("/")[2])
        if not found:
            return False
        head = (self.heads or {}).get(found[1])
        ended = head is not None and head["closed_at"] is not None
        known = found[1] in self.following
        return known and not ended and int(found[2]) >= self.following[found[1]][0]

    def chain(self, chain: str, manifests: dict[int, str]) -> None:
        """The manifests of a chain from 0, and its end against the registry's head."""
        head = (self.heads or {}).get(chain)
        if self.heads is not None and head is None:
            self.say(f"{chain}: the registry does not know it")
        following, before, previous = 0, NO_HASH, None
        is_signed, expected = bool(self.keys) or bool(head and head["signing_key"]), 0
        for number, key in sorted(manifests.items()):
            if number > expected:
                self.say(f"{chain}: manifests {expected} to {number - 1} are missing")
                before, previous = None, None
            expected = number + 1
            content = (self.folder / key).read_bytes()
            try:
                manifest = manifest_of(content)
            except Broken as error:
                self.say(f"{key}: {error}")
                before, previous = None, None
                continue
            self.named.update(file["key"] for file in manifest["files"])
            for problem in self.signature(manifest, is_signed):
                self.say(f"{key}: {problem}")
            is_signed |= manifest["signing_key"] is not None
            if (manifest["chain"], manifest["number"]) != (chain, number):
                self.say(f"{key}: it is another manifest")
            if before is not None and (manifest["first"], manifest["prev_hash"]) != (following, before.hex()):
                self.say(f"{key}: row {following} is next, it begins with {manifest['first']}")
            if (number == 0) != (manifest["previous"] is None) or previous not in (None, manifest["previous"]):
                self.say(f"{key}: it does not name the manifest before")
            for problem in self.manifest(chain, manifest):
                self.say(f"{key}: {problem}")
            following, before, previous = manifest["last"] + 1, bytes.fromhex(manifest["last_hash"]), sha256(content)
            if head and head["head_manifest"] == number:
                is_noted = (head["manifest_sha256"].hex(), head["head_seq"], head["row_hash"])
                if is_noted != (previous, manifest["last"], before):
                    self.say(f"{key}: the registry noted another digest or last row")
        self.following[chain] = following, before
        if head and head["head_manifest"] is not None and head["head_manifest"] not in manifests:
            self.say(f"{chain}: the registry noted manifest {head['head_manifest']} with rows to {head['head_seq']}")

    def signature(self, manifest: dict, is_wanted: bool) -> Iterator[str]:
        key, signature = manifest["signing_key"], manifest.get("signature")
        if (key is None) != (signature is None):
            yield "a key without a signature, or a signature without a key"
            return
        if key is None:
            if is_wanted:
                yield "it is not signed"
            return
        if self.allowed and key not in self.allowed:
            yield f"it is signed by {key}, which is not trusted"
        signed = canonical({name: value for name, value in manifest.items() if name != "signature"})
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(bytes.fromhex(signature), signed)
        except (InvalidSignature, ValueError):
            yield "the signature does not hold"

    def manifest(self, chain: str, manifest: dict) -> Iterator[str]:
        """The files of a manifest, and their rows together."""
        rows = []
        for file in manifest["files"]:
            path = self.folder / file["key"]
            if not KEY.fullmatch(file["key"]):
                yield f"{file['key']!r} is no key"
                return
            if not path.is_file():
                yield f"{file['key']} is missing"
                return
            if sha256(path.read_bytes()) != file["sha256"]:
                yield f"{file['key']} has another digest"
                return
            try:
                found = rows_of(path)
            except Broken as error:
                yield f"{file['key']}: {error}"
                return
            numbers = [row["seq"] for row in found]
            if (len(numbers), numbers[:1], numbers[-1:]) != (file["rows"], [file["first"]], [file["last"]]):
                yield f"{file['key']} has the rows {numbers[:1]} to {numbers[-1:]}, {len(numbers)} in all"
            if any(second <= first for first, second in zip(numbers, numbers[1:], strict=False)):
                yield f"{file['key']}: its rows do not rise"
            for row in found:
                if file["key"].rpartition("/")[0] != f"audit/model={row['model']}/dt={day(row['ts'])}":
                    yield f"{file['key']}: row {row['seq']} does not belong there"
            rows += found
        self.rows += len(rows)
        rows.sort(key=lambda row: row["seq"])
        hashes, expected, last = [], (manifest["first"], bytes.fromhex(manifest["prev_hash"])), None
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
        if expected != (manifest["last"] + 1, bytes.fromhex(manifest["last_hash"])):
            yield f"its last row is another, or row {last and last['seq']} ({last and last['audit_id']}) was changed"
        if merkle(hashes).hex() != manifest["merkle_root"] or len(rows) != manifest["rows"]:
            yield "the Merkle root does not hold, or there are more or fewer rows"

    def commits(self, chain: str, commits: list[tuple[int, int, str]]) -> None:
        """Commits behind the last manifest are each whole, and continue the chain without a gap."""
        head = (self.heads or {}).get(chain)
        if self.heads is not None and head is None and chain not in self.following:
            self.say(f"{chain}: the registry does not know it")
        covered = following = self.following.get(chain, (0, NO_HASH))[0]
        before = self.following.get(chain, (0, NO_HASH))[1]
        for first, last, key in commits:
            if last < covered:
                continue
            try:
                for row, hash in sealed((self.folder / key).read_bytes(), chain, first, last):
                    if row["seq"] < following:
                        continue
                    if row["seq"] > following:
                        raise Broken(f"rows {following} to {row['seq'] - 1} are missing")
                    if before is not None and row["prev_hash"] != before:
                        raise Broken(f"row {following} does not continue the chain")
                    following, before = following + 1, hash
                if head is not None and head["closed_at"] is not None:
                    raise Broken("the chain has ended: no row stands behind its last manifest")
            except Broken as error:
                self.say(f"{key}: {error}")
                # What comes behind is held against itself.
                following, before = last + 1, None

    def open_chains(self) -> Iterator[str]:
        """The chains that the registry has not seen ended: what is written of them, and not here, cannot be told."""
        for chain, head in sorted((self.heads or {}).items()):
            if head["closed_at"] is None:
                since = datetime.fromtimestamp(head["opened_at"] / 1e6, UTC)
                rows = "no head" if head["head_seq"] is None else f"rows to {head['head_seq']}"
                yield f"{chain} is open since {since:%Y-%m-%dT%H:%M:%SZ}, {rows}"


def trusted(text: str) -> str:
    if not HEX32(text):
        raise argparse.ArgumentTypeError("64 lower-case hexadecimal digits are expected")
    return text


def main() -> int:
    arguments = argparse.ArgumentParser(description="Verifies a record that lies in a folder.")
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("registry", type=Path, nargs="?", help="the registry, a SQLite file")
    arguments.add_argument("--public-key", type=trusted, action="append", default=[], help="a key that is trusted")
    given = arguments.parse_args()
    try:
        verifier = Verifier(given.folder, given.registry, frozenset(given.public_key))
    except (OSError, sqlite3.Error) as error:
        print(f"{given.registry}: {error}", file=sys.stderr)
        return 1
    problems = verifier.run()
    # Names are what somebody chose.
    sys.stdout.reconfigure(errors="backslashreplace")
    if not verifier.seen and not verifier.heads and not problems:
        print(f"{given.folder}: nothing is there to verify", file=sys.stderr)
        return 1
    for problem in problems:
        print(problem)
    for line in verifier.open_chains():
        print(line, file=sys.stderr)
    print(f"{verifier.rows} rows", file=sys.stderr)
    return 3 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
