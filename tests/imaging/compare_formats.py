"""Compares PNG and JPEG of every depth, colour and interlace with Pillow.

    cargo build --example imaging_dump
    python tests/imaging/compare_formats.py target/debug/examples/imaging_dump

Both must be equal to the last level, Pillow's libjpeg-turbo included. The files are made here and in `fuzz/corpus`.
"""

from __future__ import annotations

import io
import struct
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import synthetic
from PIL import Image, ImageOps
from reference import Dump

CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus"
RECIPE = """
[[step]]
op = "decode"
color = "gray"
"""


def by_pillow(path: Path) -> np.ndarray:
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I"):
        return np.asarray(image).astype(np.float64)
    if image.mode in ("1", "LA"):
        image = image.convert("L")
    elif image.mode != "L":
        image = image.convert("RGB")
    return np.asarray(image).astype(np.float64)


def made(folder: Path) -> list[Path]:
    """JPEG in the shapes that the corpus does not have."""
    colour = Image.fromarray(synthetic.pattern(0, 255, "u1", 3))
    files = []
    for name, options in {
        "sub_422": {"subsampling": "4:2:2"},
        "optimised": {"optimize": True},
        "progressive_grey": {"progressive": True},
        "low": {"quality": 5},
    }.items():
        image = colour.convert("L") if name.endswith("grey") else colour
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", **options)
        (folder / f"{name}.jpg").write_bytes(buffer.getvalue())
        files.append(folder / f"{name}.jpg")
    (folder / "png").mkdir()
    (folder / "png" / "interlaced").write_bytes(interlaced(synthetic.pattern(0, 255, "u1", 3)))
    return [*files, folder / "png" / "interlaced"]


def interlaced(pixels: np.ndarray) -> bytes:
    """An Adam7 PNG (ISO/IEC 15948, 8.2), which Pillow reads and does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)

    height, width, _ = pixels.shape
    data = b""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
    for top, left, down, across in [*passes, (1, 0, 2, 1)]:
        for row in pixels[top::down, left::across]:
            if row.size:
                data += b"\0" + row.tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def main() -> int:
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        files = sorted((CORPUS / "png").iterdir()) + sorted((CORPUS / "jpeg").iterdir())
        files = [path for path in files if not path.name.startswith("impossible")]
        files += made(Path(folder))
        dump = Dump(Path(sys.argv[1]), RECIPE, files)
        for n, path in enumerate(files):
            said = dump.description(n)
            name = f"{path.parent.name}/{path.name}"
            if "error" in said:
                expected = path.name == "animated"
                failed += not expected
                print(f"{expected!s:5} {name}: {said['error']}")
                continue
            ours, theirs = dump.array(n, "decoded").squeeze(), by_pillow(path)
            apart = np.abs(ours - theirs).max() if ours.shape == theirs.shape else np.inf
            failed += apart > 0
            print(f"{apart == 0!s:5} {name}: {ours.shape}, at most {apart:g} apart")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
