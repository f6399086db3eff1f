"""What every data set looks like once it is read: splits of plain arrays and a digest of their source."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..errors import TrainingError


@dataclass(frozen=True)
class Split:
    """Labelled images.

    images: float32 [n, channels, height, width], values in [0, 1].
    labels: int64 [n], indices into the recipe's labels.
    units: who or what each image is of, such as a patient's name; each image by itself where None.
    groups: a subgroup's name of each image, for figures of their own; none where None.
    """

    images: np.ndarray
    labels: np.ndarray
    units: np.ndarray | None = None
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray | slice) -> Split:
        """The rows chosen, in the order given."""
        more = [None if part is None else part[rows] for part in (self.units, self.groups)]
        return Split(self.images[rows], self.labels[rows], *more)

    def unit_numbers(self) -> np.ndarray:
        """int [n]: rows of one unit have one number; numbers run from 0 in the order of first appearance."""
        if self.units is None:
            return np.arange(len(self))
        _, first, numbers = np.unique(self.units, return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[numbers]


@dataclass(frozen=True)
class Dataset:
    """A training split, a test split, and the SHA-256 (hex) that names the bytes both came from.

    note: what a reader of figures must know of these bytes, such as the layout they were found in.
    more: further splits to measure on, by name, such as patients held out of the training folder.
    """

    name: str
    train: Split
    test: Split
    digest: str
    note: str = ""
    more: dict[str, Split] = field(default_factory=dict)

    def measured(self) -> dict[str, Split]:
        """Everything that figures are given for, by name; the test split first."""
        return {f"{self.name} test": self.test} | self.more


def hold_out_last(split: Split, fraction: float) -> tuple[Split, Split]:
    """Cut the last `fraction` of the rows off as validation, as Keras' `validation_split` does.

    The same rows for every seed: otherwise seeds could not be compared with each other.
    """
    cut = len(split) - round(len(split) * fraction)
    return split.take(slice(None, cut)), split.take(slice(cut, None))


def check_rows(parts: dict[str, Split], batch_size: int, classes: int) -> None:
    """Refuse parts that cannot be learned from: fewer rows than a batch, a class too few, a unit in two parts.

    The first part is the one that trains.
    """
    training = next(iter(parts.values()))
    if len(training) < batch_size:
        raise TrainingError(f"{len(training)} images to train on are less than a batch of {batch_size}")
    for name, part in parts.items():
        if len(part) == 0:
            raise TrainingError(f"no images are left for {name}; more data is needed")
    missing = sorted(set(range(classes)) - set(np.unique(training.labels).tolist()))
    if missing:
        raise TrainingError(f"the images to train on hold none of class {', '.join(map(str, missing))}; all are needed")
    assert_disjoint({name: part.units for name, part in parts.items() if part.units is not None})


def assert_disjoint(units: dict[str, np.ndarray]) -> None:
    """Refuse parts of which two hold the same unit: figures would be too good."""
    seen: dict[object, str] = {}
    for name, part in units.items():
        for unit in set(part.tolist()):
            if (other := seen.setdefault(unit, name)) != name:
                raise TrainingError(f"{unit} is in {other} and in {name}: a patient belongs to one part only")
