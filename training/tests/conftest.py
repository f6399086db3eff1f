"""A generated data set in MNIST's layout; no real data is needed by any test."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest


def idx(values: np.ndarray) -> bytes:
    """uint8 values as an IDX file's bytes."""
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


@pytest.fixture
def mnist_folder(tmp_path: Path) -> Path:
    """80 training and 40 test images: a bright block whose column is the label, on faint noise."""
    folder = tmp_path / "mnist-data"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for prefix, n in (("train", 80), ("t10k", 40)):
        labels = np.arange(n) % 10
        images = generator.integers(0, 30, (n, 28, 28))
        for image, label in zip(images, labels):
            image[:, 2 * label + 3 : 2 * label + 6] = 220
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels))
    return folder
