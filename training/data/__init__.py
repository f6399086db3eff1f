"""What every data set looks like once it is read: two splits of plain arrays and a digest of their source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Split:
    """Labelled images.

    images: float32 [n, channels, height, width], values in [0, 1].
    labels: int64 [n], indices into the recipe's labels.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray | slice) -> Split:
        """The rows chosen, in the order given."""
        return Split(self.images[rows], self.labels[rows])


@dataclass(frozen=True)
class Dataset:
    """A training split, a test split, and the SHA-256 (hex) that names the bytes both came from."""

    name: str
    train: Split
    test: Split
    digest: str


def hold_out_last(split: Split, fraction: float) -> tuple[Split, Split]:
    """Cut the last `fraction` of the rows off as validation, as Keras' `validation_split` does.

    The same rows for every seed: otherwise seeds could not be compared with each other.
    """
    cut = len(split) - round(len(split) * fraction)
    return split.take(slice(None, cut)), split.take(slice(cut, None))
