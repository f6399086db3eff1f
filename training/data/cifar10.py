"""CIFAR-10 from any of the layouts it circulates in: pickled batches, binary batches, or image files by class.

The rows of image files are ordered by number, then class, so that the last rows hold every class.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import TrainingError
from . import Dataset, Split

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_ROW = 1 + 3 * 32 * 32


def load_cifar10(folder: Path) -> Dataset:
    """Read the data set; images become float32 [n, 3, 32, 32] = value / 255.

    Layouts, the first that is there: `cifar-10-batches-py` (pickles), `cifar-10-batches-bin`, or `train` and `test`
    as folders or `.tar` files of `<class>/<file>` images. The digest is the SHA-256 over labels and pixels (uint8,
    n × 3 × 32 × 32) of the training split, then of the test split, in the order of the rows.
    """
    if not folder.is_dir():
        raise TrainingError(f"{folder}: no such folder; --data must name the folder that holds CIFAR-10")
    for name, read in (("cifar-10-batches-py", _pickled), ("cifar-10-batches-bin", _binary)):
        for place in (folder / name, folder):
            if place.name == name and place.is_dir():
                return _dataset(folder, read(place, "data_batch_"), read(place, "test_batch"), "lossless")
    parts = [_images(folder, split) for split in ("train", "test")]
    return _dataset(folder, *parts, "image files")


def _dataset(folder: Path, train: tuple, test: tuple, layout: str) -> Dataset:
    digest = hashlib.sha256()
    for pixels, labels in (train, test):
        digest.update(labels.astype(np.uint8).tobytes() + pixels.tobytes())
        missing = [name for i, name in enumerate(LABELS) if i not in labels]
        if missing:
            raise TrainingError(f"{folder}: no image of {', '.join(missing)}; all ten classes are needed in each split")
    if len(train[1]) < len(test[1]):
        raise TrainingError(
            f"{folder}: {len(train[1])} training images but {len(test[1])} test images; are train and test mixed up?"
        )
    return Dataset("cifar10", _split(*train), _split(*test), digest.hexdigest(), note=layout)


def _split(pixels: np.ndarray, labels: np.ndarray) -> Split:
    return Split(pixels.astype(np.float32) / np.float32(255), labels.astype(np.int64))


def _batches(folder: Path, prefix: str) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.name.startswith(prefix))
    wanted = 5 if prefix.endswith("_") else 1
    if len(files) != wanted:
        raise TrainingError(f"{folder}: {len(files)} files {prefix}*, expected {wanted}")
    return files


class _Plain(pickle.Unpickler):
    """Reads containers and NumPy arrays only: a pickle may otherwise run any code."""

    def find_class(self, module: str, name: str):
        if module.split(".")[0] == "numpy" and name in ("_reconstruct", "ndarray", "dtype", "scalar"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a batch")


def _pickled(folder: Path, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    pixels, labels = [], []
    for path in _batches(folder, prefix):
        try:
            with path.open("rb") as file:
                batch = _Plain(file, encoding="bytes").load()
            pixels.append(np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32))
            labels.append(np.asarray(batch[b"labels"], np.uint8))
        except (OSError, pickle.UnpicklingError, EOFError, KeyError, ValueError) as error:
            raise TrainingError(f"{path}: not a CIFAR-10 batch ({error}); fetch it again") from error
    return np.concatenate(pixels), np.concatenate(labels)


def _binary(folder: Path, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    rows = []
    for path in _batches(folder, prefix):
        contents = np.frombuffer(path.read_bytes(), np.uint8)
        if not len(contents) or len(contents) % _ROW:
            raise TrainingError(f"{path}: {len(contents)} bytes is no multiple of {_ROW}; fetch it again")
        rows.append(contents.reshape(-1, _ROW))
    table = np.concatenate(rows)
    return table[:, 1:].reshape(-1, 3, 32, 32), table[:, 0]


def _images(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [n, 3, 32, 32] and labels of `<split>/<class>/*`, in a folder or a tar file."""
    rows = []
    for name, contents in _files(folder, split):
        parts = name.split("/")
        if len(parts) < 2 or parts[-2] not in LABELS:
            raise TrainingError(f"{folder}/{split}: {name} lies in no folder of a class ({', '.join(LABELS)})")
        try:
            pixels = np.asarray(Image.open(io.BytesIO(contents)).convert("RGB"))
        except (UnidentifiedImageError, OSError) as error:
            raise TrainingError(f"{folder}/{split}: {name} is not an image that can be read ({error})") from error
        if pixels.shape != (32, 32, 3):
            raise TrainingError(f"{folder}/{split}: {name} is {pixels.shape[1]} × {pixels.shape[0]}, expected 32 × 32")
        rows.append((parts[-1], LABELS.index(parts[-2]), pixels))
    if not rows:
        raise TrainingError(f"{folder}/{split}: holds no images")
    rows.sort(key=lambda row: row[:2])
    pixels = np.stack([row[2] for row in rows]).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(pixels), np.array([row[1] for row in rows])


def _files(folder: Path, split: str) -> Iterator[tuple[str, bytes]]:
    if (tree := folder / split).is_dir():
        for path in sorted(tree.rglob("*")):
            if path.is_file():
                yield path.relative_to(folder).as_posix(), path.read_bytes()
        return
    archive = folder / f"{split}.tar"
    if not archive.is_file():
        raise TrainingError(
            f"{folder}: no CIFAR-10 there: expected cifar-10-batches-py/, cifar-10-batches-bin/, {split}/ or "
            f"{split}.tar"
        )
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isfile():
                    yield member.name, tar.extractfile(member).read()
    except tarfile.TarError as error:
        raise TrainingError(f"{archive}: damaged tar file ({error})") from error
