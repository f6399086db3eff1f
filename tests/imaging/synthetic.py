"""Writes small DICOM files for what the real ones do not cover.

    python tests/imaging/synthetic.py FOLDER

Then compare them: `python tests/imaging/compare_dicom.py PROGRAM FOLDER`. Every file is made of a
seeded pattern; no image is kept.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate

ROWS, COLUMNS = 37, 53
CR = uid.ComputedRadiographyImageStorage


def dataset(syntax: str, array: np.ndarray, stored: int, **attributes) -> FileDataset:
    """A file of `array` (rows, columns[, 3]) in `syntax`, not yet compressed."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CR
    meta.MediaStorageSOPInstanceUID = "2.25.1"
    meta.TransferSyntaxUID = syntax
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = CR, "2.25.1"
    data.Modality = "CR"
    data.Rows, data.Columns = ROWS, COLUMNS
    data.SamplesPerPixel = 3 if array.ndim == 3 else 1
    data.PhotometricInterpretation = "RGB" if array.ndim == 3 else "MONOCHROME2"
    if array.ndim == 3:
        data.PlanarConfiguration = 0
    data.BitsAllocated = array.dtype.itemsize * 8
    data.BitsStored, data.HighBit = stored, stored - 1
    data.PixelRepresentation = int(array.dtype.kind == "i")
    for name, value in attributes.items():
        setattr(data, name, value)
    big = syntax == uid.ExplicitVRBigEndian
    data.PixelData = array.astype(array.dtype.newbyteorder(">" if big else "<")).tobytes()
    if len(data.PixelData) % 2:
        data.PixelData += b"\0"
    data["PixelData"].VR = "OB" if array.dtype.itemsize == 1 else "OW"
    return data


def pattern(low: int, high: int, dtype: str, channels: int = 1) -> np.ndarray:
    random = np.random.default_rng(7)
    ramp = np.linspace(low, high, ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    noise = random.normal(0, (high - low) / 40, (ROWS, COLUMNS))
    one = np.clip(ramp + noise, low, high).astype(dtype)
    return one if channels == 1 else np.stack([one, np.flip(one, 0), np.flip(one, 1)], -1)


def files() -> dict[str, FileDataset]:
    twelve = pattern(0, 4095, "u2")
    signed = pattern(-1024, 3071, "i2")
    colour = pattern(0, 255, "u1", 3)
    window = {"WindowCenter": "1500", "WindowWidth": "900"}
    made = {
        "implicit_12bit": dataset(uid.ImplicitVRLittleEndian, twelve, 12, **window),
        "explicit_sigmoid": dataset(
            uid.ExplicitVRLittleEndian, twelve, 12, VOILUTFunction="SIGMOID", **window
        ),
        "explicit_linear_exact": dataset(
            uid.ExplicitVRLittleEndian, twelve, 12, VOILUTFunction="LINEAR_EXACT", **window
        ),
        "big_endian_16bit": dataset(uid.ExplicitVRBigEndian, twelve, 16, **window),
        "deflated": dataset(uid.DeflatedExplicitVRLittleEndian, twelve, 12, **window),
        "signed_rescaled": dataset(
            uid.ExplicitVRLittleEndian,
            signed,
            16,
            RescaleSlope="2",
            RescaleIntercept="-1024",
            **window,
        ),
        "monochrome1": dataset(
            uid.ExplicitVRLittleEndian,
            twelve,
            12,
            PhotometricInterpretation="MONOCHROME1",
            **window,
        ),
        "rgb": dataset(uid.ExplicitVRLittleEndian, colour, 8),
        "ybr_full": dataset(
            uid.ExplicitVRLittleEndian, colour, 8, PhotometricInterpretation="YBR_FULL"
        ),
    }
    planar = dataset(uid.ExplicitVRLittleEndian, colour, 8, PlanarConfiguration=1)
    planar.PixelData = colour.transpose(2, 0, 1).tobytes() + b"\0"
    made["rgb_planar"] = planar
    frames = dataset(uid.ExplicitVRLittleEndian, twelve, 12, NumberOfFrames="3", **window)
    frames.PixelData = b"".join((twelve // n).astype("<u2").tobytes() for n in (1, 2, 3))
    made["three_frames"] = frames
    for name, array, stored, syntax in [
        ("rle_16bit", twelve, 16, uid.RLELossless),
        ("rle_rgb", colour, 8, uid.RLELossless),
        ("jpeg2000_16bit", twelve, 12, uid.JPEG2000Lossless),
        ("jpeg2000_signed", signed, 16, uid.JPEG2000Lossless),
        ("jpeg2000_rgb", colour, 8, uid.JPEG2000Lossless),
    ]:
        made[name] = dataset(uid.ExplicitVRLittleEndian, array, stored)
        made[name].compress(syntax, generate_instance_uid=False)
    for name, mode in [("jpeg_grey", "L"), ("jpeg_ybr_422", "RGB")]:
        buffer = io.BytesIO()
        picture = Image.fromarray(colour if mode == "RGB" else colour[..., 0])
        picture.save(buffer, "JPEG", quality=90, subsampling="4:2:2" if mode == "RGB" else -1)
        data = dataset(uid.JPEGBaseline8Bit, colour if mode == "RGB" else colour[..., 0], 8)
        if mode == "RGB":
            data.PhotometricInterpretation = "YBR_FULL_422"
        data.PixelData = encapsulate([buffer.getvalue()])
        data["PixelData"].VR = "OB"
        data["PixelData"].is_undefined_length = True
        made[name] = data
    return made


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files().items():
        implicit = data.file_meta.TransferSyntaxUID == uid.ImplicitVRLittleEndian
        big = data.file_meta.TransferSyntaxUID == uid.ExplicitVRBigEndian
        pydicom.dcmwrite(
            folder / f"{name}.dcm",
            data,
            implicit_vr=implicit,
            little_endian=not big,
            force_encoding=True,
        )
    # JPEG that Pillow does not write, out of pydicom's own examples: 12 bits, RGB without a colour transform.
    for name in ("JPGExtended", "SC_jpeg_no_color_transform", "SC_jpeg_no_color_transform_2", "SC_rgb_jpeg_app14_dcmd"):
        shutil.copy(get_testdata_file(f"{name}.dcm", download=False), folder)


if __name__ == "__main__":
    main()
