"""Runs `hilum prepare` on folders of 1,000 and 10,000 images and prints time and peak memory.

    cargo build --release
    python tests/imaging/many.py target/release/hilum [COUNT…]

The images are 1024 × 1024 grey JPEG of a seeded pattern, each a little different. Memory must not
grow with the folder: what does is some 1.5 KB an image for the manifest.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 1024
RECIPE = """
step = [
    { op = "decode", color = "gray" },
    { op = "resize", width = 224, height = 224, filter = "bilinear_antialias" },
    { op = "quantise8" },
]
"""


def image(seed: int) -> bytes:
    y, x = np.mgrid[:SIDE, :SIDE]
    wave = np.sin(x / (60 + seed % 17)) + np.cos(y / (90 + seed % 23))
    buffer = io.BytesIO()
    Image.fromarray((wave * 55 + 120).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    # What follows the end of the image makes each file a source of its own.
    return buffer.getvalue() + seed.to_bytes(4, "big")


def main() -> None:
    program = Path(sys.argv[1])
    base = [image(seed) for seed in range(391)]
    for count in [int(text) for text in sys.argv[2:]] or [1_000, 10_000]:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "source"
            for n in range(count):
                label = source / ("NORMAL" if n % 4 == 0 else "PNEUMONIA")
                label.mkdir(parents=True, exist_ok=True)
                data = base[n % len(base)][:-4] + n.to_bytes(4, "big")
                (label / f"p{n // 2}_{n}.jpg").write_bytes(data)
            recipe = Path(folder) / "steps.toml"
            recipe.write_text(RECIPE)
            command = [program, "prepare", "--patient", r"^(p\d+)", "--recipe", recipe]
            start = time.perf_counter()
            process = subprocess.Popen(
                [*command, source, Path(folder) / "prepared"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            print(
                f"{count} images: exit {os.waitstatus_to_exitcode(status)}, {seconds:.1f} s, "
                f"peak {usage.ru_maxrss / 1024:.1f} MiB"
            )


if __name__ == "__main__":
    main()
