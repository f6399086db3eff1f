"""Images that a model was not made for, to try its out-of-distribution gate against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from .data.cifar10 import load_cifar10
from .data.mnist import load_mnist
from .errors import TrainingError

ROWS = 1000


def strangers(model: str, own: np.ndarray, collections: Path) -> dict[str, np.ndarray]:
    """Sets by name, float32 [≤ 1000, c, h, w] in [0, 1] of `own`'s form; `own` are test images of the model's data.

    collections: a folder with mnist/, cifar10/ and chest_xray/, whichever are there.
    """
    shape, own = own.shape[1:], own[:ROWS]
    noise = np.random.default_rng(0).random((ROWS, *shape), np.float32)
    found = {
        "uniform noise": noise,
        "blank, 11 grey levels": np.broadcast_to(
            np.linspace(0, 1, 11, dtype=np.float32)[:, None, None, None], (11, *shape)
        ).copy(),
        "own test images, inverted": 1 - own,
        "own test images, turned by 90°": np.ascontiguousarray(np.rot90(own, axes=(2, 3))),
        "own test images, pixels shuffled": _shuffled(own),
    }
    others = (("MNIST", "mnist", _mnist), ("CIFAR-10", "cifar10", _cifar), ("chest radiographs", "chest", _chest))
    for name, of, read in others:
        if of != model:
            try:
                found[name] = fitted(read(collections), shape)
            except TrainingError:
                # That set is not at hand; the card lists the ones that were tried.
                continue
    return found


def _shuffled(images: np.ndarray) -> np.ndarray:
    flat = images.reshape(*images.shape[:2], -1)
    return flat[..., np.random.default_rng(1).permutation(flat.shape[-1])].reshape(images.shape)


def fitted(pixels: list[np.ndarray], shape: tuple[int, int, int]) -> np.ndarray:
    """Images uint8 [h, w] or [h, w, 3] as a network of another kind of image would get them: float32 [n, *shape]."""
    channels, height, width = shape
    mode = "L" if channels == 1 else "RGB"
    made = [
        np.asarray(Image.fromarray(image).convert(mode).resize((width, height), Image.Resampling.BILINEAR))
        for image in pixels
    ]
    stack = np.stack(made).astype(np.float32) / np.float32(255)
    return stack[:, None] if channels == 1 else np.ascontiguousarray(stack.transpose(0, 3, 1, 2))


def _mnist(folder: Path) -> list[np.ndarray]:
    return [(image[0] * 255).astype(np.uint8) for image in load_mnist(folder / "mnist").test.images[:ROWS]]


def _cifar(folder: Path) -> list[np.ndarray]:
    images = load_cifar10(folder / "cifar10").test.images[:ROWS]
    return list((images * 255).astype(np.uint8).transpose(0, 2, 3, 1))


def _chest(folder: Path) -> list[np.ndarray]:
    paths = sorted((folder / "chest_xray" / "test").glob("*/*.jpeg"))
    if not paths:
        raise TrainingError(f"{folder}: no chest radiographs")
    return [np.asarray(Image.open(path).convert("L")) for path in paths[:ROWS]]
