"""Where a bundle came from."""

from __future__ import annotations

import subprocess
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


def code_commit() -> str:
    """The commit that the working tree is at, or `uncommitted` where there is none to name."""
    command = ["git", "rev-parse", "--verify", "--quiet", "HEAD"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "uncommitted"
    return found.stdout.strip()
