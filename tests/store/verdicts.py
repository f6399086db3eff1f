"""What the tests of both verifiers share: the record in a folder, things done to it, and what each says of it.

`folder` is one with a store and a registry, as the fixtures `sample` and `copy` have it. This module must never take
the word of one verifier for the other's.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from conftest import ROOT
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from independent import Verifier
from independent_forms import canonical, sha256
from server_process import binary


def put(path: Path, content: bytes = b"{}") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def copied(path: Path, to: Path) -> None:
    put(to, path.read_bytes())


def moved(path: Path, to: Path) -> None:
    copied(path, to)
    path.unlink()


def manifests(store: Path) -> list[Path]:
    return sorted(store.glob("audit/_chain/*/*.json"))


def files(store: Path) -> list[Path]:
    return sorted(store.glob("audit/model=*/dt=*/*.parquet"))


def ours(folder: Path, code: int, *arguments: str) -> dict:
    done = asked(folder, *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def other(store: Path, registry: Path | None, code: int, *trusted: str) -> None:
    """The verifier that was written from docs/audit.md, called and not started, says as much."""
    keys = frozenset(word for word in trusted if word != "--public-key")
    problems = Verifier(store, registry, keys).run()
    assert (3 if problems else 0) == code, problems


def asked(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """`hilum audit verify` of a store and a registry in a folder."""
    config = folder / "verify.toml"
    config.write_text(
        f"[store]\ndirectory = {json.dumps(str(folder / 'store'))}\n"
        f"[registry]\nurl = {json.dumps(f'sqlite:{folder}/registry.db')}\n"
    )
    command = [binary(), "audit", "verify", "--config", config, "--output", "json", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def forge(store: Path, change: Callable[[dict], object], key: Ed25519PrivateKey | None) -> list[str]:
    """Does something to each manifest and links and signs them anew, as the key's owner could."""
    public = key and key.public_key().public_bytes_raw().hex()
    previous: dict[Path, str] = {}
    for path in sorted(manifests(store), key=lambda path: (path.parent, int(path.stem))):
        manifest = json.loads(path.read_bytes())
        manifest.pop("signature", None)
        manifest |= {"signing_key": public, "previous": previous.get(path.parent)}
        change(manifest)
        if key:
            manifest["signature"] = key.sign(canonical(manifest)).hex()
        path.write_bytes(canonical(manifest))
        previous[path.parent] = sha256(path.read_bytes())
    return ["--public-key", public] if public else []
