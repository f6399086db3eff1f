"""Finds the radiographs of `{train,test}/{NORMAL,PNEUMONIA}/` and tells patient and subgroup by their names.

Only names and bytes are read here, never pixels: those come from `hilum prepare`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import TrainingError

LABELS = ("NORMAL", "PNEUMONIA")
SUFFIXES = (".jpeg", ".jpg", ".png")
# Bacteria and virus under one number may be one child, and so may IM and NORMAL2-IM: each number counts as one.
_PATIENT = re.compile(r"(person\d+)_(bacteria|virus)_|(?:NORMAL2-)?(IM-\d+)-")
# The same in the form that `hilum prepare --patient` takes: the first group, or the whole match.
PATIENT = r"person\d+|IM-\d+"


@dataclass(frozen=True)
class Radiograph:
    """One file: label 0 or 1, patient unique within its folder, group `normal`, `bacteria` or `virus`."""

    path: Path
    label: int
    patient: str
    group: str
    sha256: str


def named(path: Path, label: int) -> Radiograph:
    """What the file's name tells, and the digest of its bytes."""
    found = _PATIENT.match(path.name)
    if found is None:
        raise TrainingError(
            f"{path}: the name tells no patient; expected person<N>_bacteria|virus_… or [NORMAL2-]IM-<N>-…"
        )
    patient, group = found[1] or found[3], found[2] or "normal"
    if (group == "normal") != (label == 0):
        raise TrainingError(f"{path}: a {group} image among {LABELS[label]}; are the folders mixed up?")
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror})") from error
    return Radiograph(path, label, patient, group, digest)


def listed(folder: Path) -> list[Radiograph]:
    """Every radiograph of `folder/{NORMAL,PNEUMONIA}/`, sorted by name."""
    if not folder.is_dir():
        raise TrainingError(f"{folder}: no such folder; expected {' and '.join(LABELS)} in it")
    images = []
    for label, name in enumerate(LABELS):
        paths = (folder / name).glob("*")
        found = sorted(path for path in paths if path.suffix.lower() in SUFFIXES)
        if not found:
            raise TrainingError(f"{folder / name}: no images; both classes are needed")
        images += [named(path, label) for path in found]
    return images


def collection(folder: Path) -> tuple[list[Radiograph], list[Radiograph]]:
    """The images of the train and of the test folder; a file that is in both is refused."""
    train, test = listed(folder / "train"), listed(folder / "test")
    if len(train) < len(test):
        raise TrainingError(
            f"{folder}: {len(train)} images to train on, {len(test)} to test; are the folders mixed up?"
        )
    if twice := {image.sha256 for image in train} & {image.sha256 for image in test}:
        names = sorted(image.path.name for image in test if image.sha256 in twice)
        raise TrainingError(f"{folder}: {len(names)} test images are training images too, such as {names[0]}")
    return train, test


def digest(*parts: list[Radiograph]) -> str:
    """SHA-256 (hex) over the sorted digests of the files of each part, so that it does not depend on their order."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update("".join(sorted(image.sha256 for image in part)).encode())
    return whole.hexdigest()
