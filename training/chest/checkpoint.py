"""What a chest training's checkpoint depends on, said in one way for every loop, and the refusal of any other.

A checkpoint that was made otherwise would end in a model that no card describes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..errors import TrainingError
from ..provenance import sources_digest
from ..state import ignored_by_git

_FOLDER = Path(__file__).parent


def settings(told: dict, arrays: Sequence[np.ndarray], sources: Sequence[str | Path]) -> dict:
    """`told` (data, seed, epochs or plan) with the digests of rows and code and the number of threads, as JSON has it.

    arrays: the rows themselves, which the patients' split and `hilum prepare` decide beside the data. sources: the
    files that decide the weights, names of this folder or paths; evaluation and export are none of them.
    """
    rows = hashlib.sha256()
    for array in arrays:
        rows.update(f"{array.dtype} {array.shape}".encode())
        rows.update(np.ascontiguousarray(array))
    code = sources_digest([_FOLDER / source for source in sources])
    # torch splits sums between threads, so that their number shows in the weights.
    now = {"rows": rows.hexdigest(), "code": code, "threads": torch.get_num_threads()}
    return json.loads(json.dumps(told | now))


def refuse_other(folder: Path, kept: dict, now: dict) -> None:
    """Raise TrainingError, with the names of what changed, where a checkpoint in `folder` has other settings."""
    if changed := sorted(key for key in kept.keys() | now.keys() if kept.get(key) != now.get(key)):
        raise TrainingError(
            f"{folder}: a checkpoint of other settings ({', '.join(changed)}); remove its folder or name another "
            "with --checkpoints"
        )


def refuse_fewer(folder: Path, done: int, epochs: int) -> None:
    """Raise TrainingError where fewer epochs are asked for than are done: the best of all would be published."""
    if epochs < done:
        raise TrainingError(
            f"{folder}: {done} epochs are done, more than the {epochs} of --epochs; ask for {done} or more, remove "
            "its folder or name another with --checkpoints"
        )


def make_folder(folder: Path) -> None:
    """Make the folder of one run, in a folder that git ignores."""
    ignored_by_git(folder.parent)
    folder.mkdir(exist_ok=True)
