"""Writes the first corpus: one small file for each shape that the decoders know.

    python fuzz/corpus.py      (with tests/imaging/requirements.txt installed)

Inputs that were once a finding are added by hand and stay.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

ROOT = Path(__file__).parent / "corpus"
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "imaging"))

import synthetic  # noqa: E402


def save(kind: str, name: str, image: Image.Image, **options) -> None:
    buffer = io.BytesIO()
    image.save(buffer, "PNG" if kind == "png" else "JPEG", **options)
    (ROOT / kind / name).write_bytes(buffer.getvalue())


def pictures() -> None:
    grey = synthetic.pattern(0, 255, "u1")
    rgb = synthetic.pattern(0, 255, "u1", 3)
    one = Image.fromarray(grey)
    colour = Image.fromarray(rgb)
    save("png", "grey", one)
    save("png", "grey16", Image.fromarray(synthetic.pattern(0, 65535, "u2")))
    save("png", "rgb", colour)
    save("png", "palette", colour.quantize(16))
    save("png", "bilevel", one.convert("1"))
    save("png", "alpha", colour.convert("RGBA"))
    save("png", "grey_alpha", one.convert("LA"))
    save("png", "animated", one, save_all=True, append_images=[one.rotate(90)])
    exif = Image.Exif()
    exif[0x0112] = 6
    save("jpeg", "grey", one, quality=80)
    save("jpeg", "exif", one, quality=80, exif=exif)
    save("jpeg", "rgb_420", colour, quality=80)
    save("jpeg", "rgb_444", colour, quality=80, subsampling=0)
    save("jpeg", "progressive", colour, quality=80, progressive=True)
    save("jpeg", "restart", colour, quality=80, restart_marker_blocks=2)
    save("jpeg", "cmyk", colour.convert("CMYK"), quality=80)


def dicoms() -> None:
    for name, data in synthetic.files().items():
        syntax = data.file_meta.TransferSyntaxUID
        pydicom.dcmwrite(
            ROOT / "dicom" / name,
            data,
            implicit_vr=syntax == pydicom.uid.ImplicitVRLittleEndian,
            little_endian=syntax != pydicom.uid.ExplicitVRBigEndian,
            force_encoding=True,
        )


def main() -> None:
    for kind in ("png", "jpeg", "dicom", "recipe"):
        (ROOT / kind).mkdir(parents=True, exist_ok=True)
    np.seterr(all="raise")
    synthetic.ROWS, synthetic.COLUMNS = 33, 35
    pictures()
    dicoms()


if __name__ == "__main__":
    main()
