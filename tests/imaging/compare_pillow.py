"""Compares prepared tensors with Pillow and NumPy on real images.

    cargo build --example imaging_dump
    python tests/imaging/compare_pillow.py target/debug/examples/imaging_dump DATA

200 images of DATA/chest_xray (seeded choice) and all of DATA/chest_xray_original. In all, from the
file to the tensor, at most 2/255 a pixel; the resize alone, on the same decoded pixels, not at all (one
grey level is aimed at), at a second size too, where halves abound; statistics as NumPy has them.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from reference import Dump, statistics

SIZE = 224
# From 224, one sum in twenty of a pass is exactly half a level.
TIES = 160
RECIPE = """
[[step]]
op = "decode"
color = "gray"
[[step]]
op = "resize"
width = SIZE
height = SIZE
filter = "bilinear_antialias"
[[step]]
op = "quantise8"
[[step]]
op = "scale"
factor = 0.00392156862745098
"""


def recipe(size: int) -> str:
    return RECIPE.replace("SIZE", str(size))


def by_pillow(image: Image.Image, size: int = SIZE) -> np.ndarray:
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR), np.float32) / 255


def main() -> int:
    program, data = Path(sys.argv[1]), Path(sys.argv[2])
    small = sorted((data / "chest_xray").rglob("*.jpeg"))
    files = random.Random(5).sample(small, 200)
    files += sorted((data / "chest_xray_original").rglob("*.jpeg"))
    dump, second = Dump(program, recipe(SIZE), files), Dump(program, recipe(TIES), files)
    whole, alone, decoding, apart = 0.0, 0.0, 0.0, 0.0
    for n, path in enumerate(files):
        ours = dump.array(n, "tensor").squeeze()
        whole = max(whole, np.abs(ours - by_pillow(Image.open(path).convert("L"))).max())
        shown = dump.array(n, "shown").squeeze().astype(np.uint8)
        alone = max(alone, np.abs(ours - by_pillow(Image.fromarray(shown))).max() * 255)
        tied = second.array(n, "tensor").squeeze() - by_pillow(Image.fromarray(shown), TIES)
        alone = max(alone, np.abs(tied).max() * 255)
        theirs = np.asarray(Image.open(path).convert("L"), np.float32)
        decoding = max(decoding, np.abs(theirs - shown.astype(np.float32)).max())
        said = dump.description(n)["statistics"]
        for name, value in statistics(shown).items():
            apart = max(apart, abs(said[name] - value) / max(1.0, abs(value)))
    print(f"{len(files)} images at {SIZE} × {SIZE} and {TIES} × {TIES}")
    print(f"decoded pixels, against Pillow's: at most {decoding:.0f} grey levels apart")
    print(f"from file to tensor: at most {whole * 255:.3f}/255 (allowed 2)")
    print(f"the resize alone: at most {alone:.3f} grey levels (allowed 0)")
    print(f"statistics: relative difference at most {apart:.1e} (allowed 1e-9)")
    return 0 if whole * 255 <= 2.001 and alone <= 1e-3 and apart < 1e-9 else 1


if __name__ == "__main__":
    sys.exit(main())
