"""Times decode + resize + normalise against Pillow + NumPy in one run, one thread each.

    cargo build --release --example imaging_time
    python tests/imaging/time_pillow.py target/release/examples/imaging_time FOLDER [ROUNDS]

They take turns, so that a busy machine slows all. Pillow once converts to grey, as the recipe does,
and once to RGB, as most programs that feed a network of three channels do.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

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


def by_pillow(file: bytes, mode: str) -> np.ndarray:
    image = Image.open(io.BytesIO(file)).convert(mode)
    image = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    row = np.asarray(image, np.float32) / 255
    row = np.repeat(row[None], 3, 0) if mode == "L" else row.transpose(2, 0, 1)
    return (row - MEAN) / STD


def timed(files: list[bytes], mode: str) -> dict[str, float]:
    start = time.perf_counter(), time.process_time()
    for file in files:
        by_pillow(file, mode)
    end = time.perf_counter(), time.process_time()
    wall, cpu = (1e3 * (e - s) / len(files) for s, e in zip(start, end))
    return {"wall": wall, "cpu": cpu}


def spread(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} … {max(values):.2f})"


def main() -> None:
    program, folder = Path(sys.argv[1]), Path(sys.argv[2])
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 9
    paths = sorted(folder.rglob("*.jpeg"))
    files = [path.read_bytes() for path in paths]
    pixels = sum(np.prod(Image.open(io.BytesIO(file)).size) for file in files) / len(files)
    ours, gray, color = [], [], []
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as recipe:
        recipe.write(RECIPE)
        recipe.flush()
        for _ in range(rounds):
            command = [program, recipe.name, "1", *paths]
            out = subprocess.run(command, check=True, capture_output=True)
            ours.append(json.loads(out.stdout))
            gray.append(timed(files, "L"))
            color.append(timed(files, "RGB"))
    turbo = features.check("libjpeg_turbo")
    print(f"{len(files)} files of {pixels / 1e6:.2f} million pixels, {rounds} rounds, ms an image:")
    print(f"median (least … most); Pillow with libjpeg-turbo: {turbo}")
    for clock in ("cpu", "wall"):
        print(f"{clock} time")
        for part in ("decode", "show_and_statistics", "whole"):
            print(f"  hilum, {part}: {spread([o[clock][part] for o in ours])}")
        for name, theirs in (("grey", gray), ("RGB", color)):
            print(f"  Pillow + NumPy, {name}: {spread([t[clock] for t in theirs])}")
            whole = [t[clock] / o[clock]["whole"] for t, o in zip(theirs, ours)]
            pure = [
                t[clock] / (o[clock]["whole"] - o[clock]["show_and_statistics"])
                for t, o in zip(theirs, ours)
            ]
            print(f"    ÷ hilum: {spread(whole)}; without its statistics: {spread(pure)}")


if __name__ == "__main__":
    main()
