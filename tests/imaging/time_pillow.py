"""Times decode + resize + normalise against Pillow + NumPy in one run, one thread each.

    cargo build --release --example imaging_time
    python tests/imaging/time_pillow.py target/release/examples/imaging_time FOLDER [ROUNDS]

The two take turns, so that a busy machine slows both. Best of all rounds, milliseconds an image.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, features

SIZE = 224
MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
RECIPE = f"""
step = [
    {{ op = "decode", color = "gray" }},
    {{ op = "resize", width = {SIZE}, height = {SIZE}, filter = "bilinear_antialias" }},
    {{ op = "quantise8" }},
    {{ op = "scale", factor = 0.00392156862745098 }},
    {{ op = "replicate", channels = 3 }},
    {{ op = "normalise", mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] }},
]
"""


def by_pillow(file: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(file)).convert("L")
    image = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    row = np.asarray(image, np.float32)[None] / 255
    return (np.repeat(row, 3, 0) - MEAN) / STD


def main() -> None:
    program, folder = Path(sys.argv[1]), Path(sys.argv[2])
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    paths = sorted(folder.rglob("*.jpeg"))
    files = [path.read_bytes() for path in paths]
    ours: dict[str, float] = {}
    theirs = float("inf")
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as recipe:
        recipe.write(RECIPE)
        recipe.flush()
        for _ in range(rounds):
            out = subprocess.run(
                [program, recipe.name, "1", *paths], check=True, capture_output=True
            )
            for name, value in json.loads(out.stdout).items():
                ours[name] = min(ours.get(name, value), value)
            start = time.perf_counter()
            for file in files:
                by_pillow(file)
            theirs = min(theirs, (time.perf_counter() - start) * 1e3 / len(files))
    turbo = features.check("libjpeg_turbo")
    print(f"{len(files)} files, {rounds} rounds; Pillow with libjpeg-turbo: {turbo}")
    print(f"hilum: {ours['whole']:.2f} ms an image, of which decoding {ours['decode']:.2f} and")
    print(f"       statistics {ours['show_and_statistics']:.2f}")
    print(f"Pillow + NumPy, no statistics: {theirs:.2f} ms an image")
    print(f"ratio {theirs / ours['whole']:.2f}")


if __name__ == "__main__":
    main()
