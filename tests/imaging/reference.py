"""What pydicom, Pillow and NumPy make of an image: the other side of every comparison."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LOSSY = {
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.91",
}


@dataclass
class Dicom:
    """One frame of a DICOM file by pydicom."""

    values: np.ndarray  # after the Modality LUT, or RGB
    grey: bool
    syntax: str
    lossy: bool
    photometric: str


def read_dicom(path: Path) -> Dicom:
    """The first frame of `path`: modality values, or RGB."""
    import pydicom
    from pydicom.pixels import apply_color_lut, apply_modality_lut

    data = pydicom.dcmread(path)
    syntax = data.file_meta.TransferSyntaxUID
    array = data.pixel_array  # YBR comes as RGB
    if int(data.get("NumberOfFrames", 1) or 1) > 1:
        array = array[0]
    grey = data.SamplesPerPixel == 1
    if data.PhotometricInterpretation == "PALETTE COLOR":
        grey = False
        array = apply_color_lut(array, data)
        if not syntax.is_little_endian:
            # pydicom 3.0 reads a palette's words as little endian whatever the file is; the same
            # image in RLE (OBXXXX1A_rle.dcm) shows which is right.
            array = array.byteswap()
    return Dicom(
        values=apply_modality_lut(array, data) if grey else array,
        grey=grey,
        syntax=syntax.name,
        lossy=str(syntax) in LOSSY,
        photometric=data.PhotometricInterpretation,
    )


def shown_by_pydicom(path: Path, values: np.ndarray, shown: tuple[float, float]) -> np.ndarray:
    """`values` by pydicom's `apply_voi_lut`, inverted within `shown` where MONOCHROME1 asks."""
    import pydicom
    from pydicom.pixels import apply_voi_lut

    data = pydicom.dcmread(path)
    if "VOILUTSequence" in data:
        values = values.astype(np.int64)
    windowed = apply_voi_lut(values, data, prefer_lut=True).astype(np.float64)
    if data.PhotometricInterpretation == "MONOCHROME1":
        windowed = shown[0] + shown[1] - windowed
    return windowed


def statistics(gray: np.ndarray) -> dict[str, float]:
    """The statistics of an 8-bit grey image, as src/imaging/image_statistics.rs defines them."""
    values = gray.astype(np.float64)
    counts = np.bincount(gray.ravel(), minlength=256)
    share = counts[counts > 0] / gray.size
    inner = values[1:-1, 1:-1]
    laplacian = (
        values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:] - 4 * inner
    )
    p1, p99 = np.percentile(values, [1, 99])
    return {
        "mean": values.mean(),
        "std": values.std(),
        "p1": p1,
        "p99": p99,
        "entropy": float(-(share * np.log2(share)).sum()),
        "sharpness": float(laplacian.var()) if laplacian.size else 0.0,
    }


class Dump:
    """Runs the example `imaging_dump` over files and reads what it wrote."""

    def __init__(self, program: Path, recipe: str, files: list[Path]):
        self.folder = tempfile.TemporaryDirectory()
        out = Path(self.folder.name)
        (out / "recipe.toml").write_text(recipe)
        subprocess.run([program, out, out / "recipe.toml", *files], check=True)
        self.files = files

    def description(self, n: int) -> dict:
        return json.loads((Path(self.folder.name) / f"{n}.json").read_text())

    def array(self, n: int, kind: str) -> np.ndarray:
        shape = self.description(n)[kind]["shape"]
        raw = np.fromfile(Path(self.folder.name) / f"{n}.{kind}", dtype="<f4")
        return raw.reshape(shape)
