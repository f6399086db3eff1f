"""Images that a chest classifier was not made for, and good ones of another source that it must not refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from .. import strangers
from ..prepared import prepare, steps_toml
from . import files

# Of each set that is not made of the test images, at most.
ROWS = 100
_CROPS = ROWS // 2


def sets(own: np.ndarray, collections: Path, steps: tuple[dict, ...], work: Path) -> dict[str, np.ndarray]:
    """Sets by name, float32 [n, c, h, w]; `own` are test images, `collections` holds mnist/, cifar10/ and more.

    What is made of `own` is made of all of it: its rows stand by class, so that the first hundred are of one.
    """
    found = strangers.strangers("chest", own, collections)
    found = {name: images if name.startswith("own ") else images[:ROWS] for name, images in found.items()}
    found["own test images, turned by 180°"] = np.ascontiguousarray(own[..., ::-1, ::-1])
    found["crops of two colour photographs"] = strangers.fitted(_photographs(), own.shape[1:])
    originals = collections / "chest_xray_original"
    if originals.is_dir():
        work.mkdir(parents=True, exist_ok=True)
        (recipe := work / "steps.toml").write_text(steps_toml(steps), encoding="utf-8")
        arguments = ["--patient", files.PATIENT, "--folds", "2"]
        made = prepare(originals, work / "originals", recipe, files.LABELS, arguments)
        grey = made.pixels[:, None].astype(np.float32) / np.float32(255)
        found["good: radiographs in their original size"] = np.repeat(grey, own.shape[1], axis=1)
    return found


def _photographs() -> list[np.ndarray]:
    """Squares of scikit-learn's two sample photographs, in grey as the network would get them."""
    generator, crops = np.random.default_rng(0), []
    for image in load_sample_images().images:
        for _ in range(_CROPS):
            side = generator.integers(150, min(image.shape[:2]))
            top, left = (generator.integers(0, size - side + 1) for size in image.shape[:2])
            crops.append(np.asarray(Image.fromarray(image[top : top + side, left : left + side])))
    return crops
