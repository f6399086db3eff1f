"""Writes a bundle folder: all of it or none of it.

Files are laid down in a hidden folder beside the target, which takes the target's name when everything is there.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import jsonschema

from .errors import TrainingError

# Older than any publishing takes: what is left of one that was killed.
_STALE_SECONDS = 86_400
_SCHEMA = Path(__file__).parents[1] / "docs" / "bundle.schema.json"


def target(out: Path, model: str, replace: bool) -> str:
    """Check that `out` can become a bundle of `model` and return the version, its last component."""
    folder = out.resolve()
    if not re.fullmatch(r"[1-9][0-9]*", folder.name) or folder.parent.name != model:
        raise TrainingError(f"--out {out}: must end in {model}/<number>, such as models/{model}/1")
    restore(folder)
    if out.exists() and not replace:
        raise TrainingError(f"--out {out}: exists already; --replace puts the new bundle in its place")
    return folder.name


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """An empty folder that becomes `out` if the block ends without an error and vanishes if it does not."""
    out.parent.mkdir(parents=True, exist_ok=True)
    restore(out)
    _clear(out)
    # The same file system as the target: a rename is atomic only there.
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
    try:
        yield aside
        aside.chmod(0o755)
        if out.exists():
            old = aside.with_name(aside.name.replace("partial", "old"))
            out.rename(old)
            try:
                aside.rename(out)
            except OSError:
                old.rename(out)
                raise
            # Under the other name from here on: what is called `old` is whole.
            shutil.rmtree(old.rename(aside), ignore_errors=True)
        else:
            aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def restore(out: Path) -> None:
    """Put back the version that a killed run was about to replace, the one that was moved aside last."""
    moved = sorted(out.parent.glob(f".{out.name}.old-*"), key=lambda path: path.stat().st_ctime)
    if moved and not out.exists():
        moved[-1].rename(out)


def _clear(out: Path) -> None:
    """Remove what killed runs left of `out` a day ago or earlier."""
    stale = time.time() - _STALE_SECONDS
    for left in [*out.parent.glob(f".{out.name}.old-*"), *out.parent.glob(f".{out.name}.partial-*")]:
        if left.stat().st_mtime < stale:
            shutil.rmtree(left, ignore_errors=True)


def validate(contents: dict, schema: Path = _SCHEMA) -> None:
    """Check a manifest against the schema that the service's types generate."""
    try:
        rules = json.loads(schema.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{schema}: the manifest's schema cannot be read ({error})") from error
    validator = jsonschema.Draft202012Validator(rules)
    problems = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(contents)]
    if problems:
        raise TrainingError(f"bundle.toml would not fit {schema.name}: {'; '.join(problems)}")


def to_toml(contents: dict) -> str:
    """TOML of nested dicts, lists of dicts and plain values."""
    return "\n".join(_lines(contents, "")).strip() + "\n"


def _lines(table: dict, path: str) -> Iterator[str]:
    nested = {key: value for key, value in table.items() if _is_table(value)}
    for key, value in table.items():
        if key not in nested:
            # JSON's strings, numbers, booleans and flat lists are TOML as they are.
            yield f"{key} = {json.dumps(value, ensure_ascii=False)}"
    for key, value in nested.items():
        name = f"{path}{key}"
        for part in value if isinstance(value, list) else [value]:
            if isinstance(value, list):
                yield from ("", f"[[{name}]]")
            elif not part or not all(_is_table(inner) for inner in part.values()):
                # A table of tables alone needs no line of its own.
                yield from ("", f"[{name}]")
            yield from _lines(part, f"{name}.")


def _is_table(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def to_json(contents: dict) -> str:
    """Indented JSON with each list of numbers on one line."""
    text = json.dumps(contents, indent=2, ensure_ascii=False)
    return re.sub(r"\[\s+([-+.,\deE\s]+?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def write(path: Path, text: str) -> None:
    """Write text as UTF-8 with line feeds, whatever the platform."""
    path.write_text(text, encoding="utf-8", newline="\n")


def write_sums(folder: Path) -> None:
    """SHA256SUMS over every other file, as `sha256sum` writes it, sorted by name."""
    files = sorted(path.name for path in folder.iterdir() if path.name != "SHA256SUMS")
    lines = "".join(f"{sha256(folder / name)}  {name}\n" for name in files)
    (folder / "SHA256SUMS").write_text(lines, encoding="utf-8", newline="\n")


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def today() -> str:
    """The date in UTC, ISO 8601."""
    return datetime.now(UTC).date().isoformat()
