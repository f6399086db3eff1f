"""Checkpoints as files: whole or not there, and a full disk is said as such."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from .errors import TrainingError


@contextmanager
def whole(path: Path) -> Iterator[None]:
    """What the block writes at `path` is there whole or not at all.

    Raises: OSError that names `path` and a reason; what writes often names neither, or the file that was read.
    """
    try:
        yield
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error


def ignored_by_git(folder: Path) -> None:
    """Make `folder`; wherever the user puts it, its contents stay out of version control."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (ignored := folder / ".gitignore").exists():
        ignored.write_text("*\n")


def write_state(state: dict, path: Path) -> None:
    """Write what `torch.load` reads back.

    Through memory, because torch's own writer does not tell that the disk is full. Raises: OSError; nothing is left
    at `path` then.
    """
    memory = io.BytesIO()
    torch.save(state, memory)
    with whole(path):
        path.write_bytes(memory.getbuffer())


def unreadable(path: Path, error: Exception) -> TrainingError:
    """The refusal of a damaged checkpoint, in one line: what torch says of one goes over several."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return TrainingError(f"{path}: the checkpoint cannot be read ({reason}); remove its folder to begin again")
