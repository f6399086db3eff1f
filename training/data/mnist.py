"""MNIST from its four standard IDX files.

Files are found under either published spelling, compressed or not, and checked against each other before use.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from ..errors import TrainingError
from . import Dataset, Split
from .idx import parse_idx, read_bytes

# The digest runs over the files in this order.
_STEMS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
LABELS = tuple("0123456789")


def load_mnist(folder: Path) -> Dataset:
    """Read the data set from a folder.

    Images become float32 [n, 1, 28, 28] = pixel / 255. The digest is the SHA-256 over the four files' decompressed
    contents, one after the other (train images, train labels, test images, test labels).
    """
    paths = _find(folder)
    contents = [read_bytes(path) for path in paths]
    digest = hashlib.sha256(b"".join(contents)).hexdigest()
    arrays = [parse_idx(*pair) for pair in zip(contents, paths)]
    train = _split(arrays[0], arrays[1], paths[0], paths[1])
    test = _split(arrays[2], arrays[3], paths[2], paths[3])
    if len(train) < len(test):
        raise TrainingError(
            f"{folder}: {len(train)} training images but {len(test)} test images; are train and t10k files mixed up?"
        )
    return Dataset("mnist", train, test, digest)


def _find(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise TrainingError(f"{folder}: no such folder; --data must name the folder that holds the four MNIST files")
    found, missing = [], []
    for stem in _STEMS:
        # Some mirrors write a dot in place of the second hyphen.
        spellings = [f"{stem}-ubyte", f"{stem[:-5]}.{stem[-4:]}-ubyte"]
        names = [name + ending for name in spellings for ending in ("", ".gz")]
        hit = next((folder / name for name in names if (folder / name).is_file()), None)
        found.append(hit)
        if hit is None:
            missing.append(f"{stem}-ubyte[.gz]")
    if missing:
        raise TrainingError(f"{folder}: not a complete MNIST folder, missing {', '.join(missing)}")
    return found


def _split(images: np.ndarray, labels: np.ndarray, images_path: Path, labels_path: Path) -> Split:
    if images.ndim != 3 or images.shape[1:] != (28, 28):
        raise TrainingError(f"{images_path}: shape {list(images.shape)}, expected [n, 28, 28] images")
    if labels.ndim != 1:
        raise TrainingError(f"{labels_path}: shape {list(labels.shape)}, expected [n] labels")
    if len(images) != len(labels):
        raise TrainingError(
            f"{images_path.name} has {len(images)} rows, {labels_path.name} has {len(labels)}; "
            "they do not belong together"
        )
    if len(labels) == 0:
        raise TrainingError(f"{labels_path}: holds no rows")
    if labels.max() >= len(LABELS):
        raise TrainingError(f"{labels_path}: label {labels.max()} found, only 0 to 9 are digits")
    pixels = images[:, None].astype(np.float32) / np.float32(255)
    return Split(pixels, labels.astype(np.int64))
