"""Splits by patient: no patient is ever in two parts, and the same names always give the same parts.

A patient's place follows from a hash of its name, so it does not change when files are added or the order changes.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

from ..errors import TrainingError
from .files import Radiograph

# For the weights; for early stopping, threshold and gate; for the calibration alone; for the figures alone.
SHARES = {"training": 0.70, "validation": 0.08, "calibration": 0.07, "held_out": 0.15}
_SALT = "hilum chest 1"


def split(images: Sequence[Radiograph], shares: dict[str, float] = SHARES) -> dict[str, list[Radiograph]]:
    """Parts by name, in the shares of each class's patients; checked to share no patient."""
    parts: dict[str, list[Radiograph]] = {name: [] for name in shares}
    for label in sorted({image.label for image in images}):
        of: dict[str, list[Radiograph]] = defaultdict(list)
        for image in images:
            if image.label == label:
                of[image.patient].append(image)
        order = sorted(of, key=_place)
        reached, start = 0.0, 0
        for name, share in shares.items():
            reached += share
            end = round(reached * len(order))
            if end == start:
                raise TrainingError(f"{len(order)} patients with label {label} are too few: none is left for {name}")
            parts[name] += [image for patient in order[start:end] for image in of[patient]]
            start = end
    assert_disjoint(parts)
    return parts


def folds(images: Sequence[Radiograph], n: int) -> list[list[Radiograph]]:
    """`n` folds of equally many patients of each class."""
    parts = split(images, {str(fold): 1 / n for fold in range(n)})
    return list(parts.values())


def assert_disjoint(parts: dict[str, Iterable[Radiograph]]) -> None:
    """Refuse parts of which two hold the same patient, or the same file under two names."""
    files: dict[str, tuple[str, Radiograph]] = {}
    persons: dict[str, tuple[str, Radiograph]] = {}
    for name, images in parts.items():
        for image in images:
            other, first = files.setdefault(image.sha256, (name, image))
            if other != name:
                raise TrainingError(
                    f"{first.path} is in {other} and, as {image.path}, in {name}: figures would be too good; "
                    "remove one of the two files"
                )
            other, first = persons.setdefault(image.patient, (name, image))
            if other != name:
                raise TrainingError(
                    f"patient {image.patient} is in {other} ({first.path}) and in {name} ({image.path}): figures would "
                    "be too good; a patient belongs to one part only"
                )


def _place(patient: str) -> bytes:
    return hashlib.sha256(f"{_SALT} {patient}".encode()).digest()
