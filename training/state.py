"""Checkpoints as files: whole or not there, and a full disk is said as such."""

from __future__ import annotations

import io
from pathlib import Path

import torch


def write_state(state: dict, path: Path) -> None:
    """Write what `torch.load` reads back.

    Through memory, because torch's own writer names neither the file nor the reason when the disk is full. Raises:
    OSError; nothing is left at `path` then.
    """
    memory = io.BytesIO()
    torch.save(state, memory)
    try:
        path.write_bytes(memory.getbuffer())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
