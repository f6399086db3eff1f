"""Inputs made by arithmetic and the scores the model gives them: the service runs them when it loads a bundle.

Nothing of a data set is used, so a bundle can be passed on without its data.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import model_file

_DECIMALS = 3
_NOISE_SEED = 7
_LARGE = 64
# Corners of pen strokes, (x, y) from the top left in units of the image's side.
_SEVEN = [(0.3, 0.25), (0.7, 0.25), (0.45, 0.8)]
_ONE = [(0.42, 0.32), (0.52, 0.2), (0.52, 0.8)]
_ZERO = [(0.5 + 0.18 * np.sin(a), 0.5 - 0.3 * np.cos(a)) for a in np.linspace(0, 2 * np.pi, 25)]


def goldens(model: Path, image_shape: tuple[int, int, int], command: str) -> dict:
    """The document goldens.json, with the scores that ONNX Runtime gives for `model`."""
    return {
        "schema": 1,
        "made_by": command,
        "cases": [case(name, images, model) for name, images in inputs(image_shape).items()],
    }


def inputs(image_shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Cases by name, float32 [n, c, h, w] in [0, 1], with few decimals so that the file stays small."""
    strokes = [stroke(corners, image_shape) for corners in (_ZERO, _ONE, _SEVEN)]
    noise = np.random.default_rng(_NOISE_SEED).random((1, *image_shape))
    if image_shape[1] > _LARGE:
        # A batch or noise would make a file of megabytes.
        return {
            "one blank image": np.zeros((1, *image_shape), np.float32),
            "one drawn seven": np.stack(strokes[2:]).round(_DECIMALS).astype(np.float32),
        }
    cases = {
        "one blank image": np.zeros((1, *image_shape)),
        "one drawn seven": np.stack(strokes[2:]),
        "a batch of drawn zero, one and seven": np.stack(strokes),
        "one image of noise": noise,
    }
    return {name: images.round(_DECIMALS).astype(np.float32) for name, images in cases.items()}


def stroke(corners: list[tuple[float, float]], image_shape: tuple[int, int, int]) -> np.ndarray:
    """A line through `corners` with a pen one fourteenth of the side wide and soft edges: float [c, h, w] in [0, 1]."""
    channels, height, width = image_shape
    y, x = np.mgrid[:height, :width]
    points = np.stack([x + 0.5, y + 0.5], axis=-1)
    ends = np.array(corners) * [width, height]
    nearest = np.full((height, width), np.inf)
    for start, end in zip(ends, ends[1:]):
        along = np.clip((points - start) @ (end - start) / np.square(end - start).sum(), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(points - start - along[..., None] * (end - start), axis=-1))
    ink = np.clip(width / 28 + 0.5 - nearest, 0, 1)
    return np.broadcast_to(ink, (channels, height, width))


def case(name: str, images: np.ndarray, model: Path, output: str = model_file.OUTPUT) -> dict:
    """One case: images float32 [n, c, h, w] and what `model` gives for them."""
    scores = model_file.run_all(model, images, (output,))[output]
    return {
        "name": name,
        "inputs": [_tensor(model_file.INPUT, images)],
        "outputs": [_tensor(output, scores)],
        "tolerance": {"absolute": 1e-5, "relative": 1e-4},
    }


def _tensor(name: str, values: np.ndarray) -> dict:
    # str() of a float32 has just the digits that bring the same float32 back; float() of it would have 17.
    data = [float(str(value)) for value in values.ravel()]
    return {"name": name, "datatype": "FP32", "shape": list(values.shape), "data": data}
