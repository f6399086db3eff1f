"""Where a bundle came from."""

from __future__ import annotations

import hashlib
import inspect
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Provenance:
    """The manifest's `[provenance]`, under the manifest's keys.

    data_digest: SHA-256 (hex) of the data set, made as its loader documents.
    """

    data_digest: str
    code_commit: str
    date: str
    seed: int
    framework: str
    mlflow_run: str | None = None
    previous_version: str | None = None


def code_commit(folder: Path = Path(__file__).parent) -> str:
    """The commit that holds `folder` as it is, or `uncommitted` where there is none.

    Only this folder counts: a bundle that was just written beside it does not change the code that wrote it.
    """
    try:
        changed = _git(folder, "status", "--porcelain", "--", ".")
        return "uncommitted" if changed else _git(folder, "rev-parse", "--verify", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return "uncommitted"


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def code_digest(recipe) -> str:
    """SHA-256 over the sources that decide a recipe's weights: its own file, the networks and how they learn.

    Evaluation and export are left out: a run that stopped in them goes on with mended code.
    """
    folder = Path(__file__).parent
    own = Path(inspect.getfile(recipe.learner))
    shared = [folder / name for name in ("augment.py", "learners.py", "schedule.py")]
    files = [own, *shared, *sorted((folder / "networks").glob("*.py"))]
    return sources_digest(files)


def sources_digest(files: Iterable[Path]) -> str:
    """SHA-256 (hex) over the files' bytes, one after the other."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()
