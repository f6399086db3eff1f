"""Writes tests/it/imaging/dicom_golden.json: what pydicom makes of the DICOM files.

    python tests/imaging/dicom_golden.py FOLDER > tests/it/imaging/dicom_golden.json

Statistics and 24 sampled pixels a file, no image. `tolerance` is 0 where the compression is
lossless and 1 where it is lossy.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
from reference import read_dicom, shown_by_pydicom


def golden(path: Path) -> dict:
    try:
        theirs = read_dicom(path)
    except Exception as error:
        return {"file": path.name, "refused_by_pydicom": type(error).__name__}
    values = theirs.values.astype(np.float32)
    if values.ndim == 2:
        values = values[..., None]
    random = np.random.default_rng(11)
    rows, columns, channels = values.shape
    places = [
        (int(random.integers(rows)), int(random.integers(columns)), int(random.integers(channels)))
        for _ in range(24)
    ]
    record = {
        "file": path.name,
        "syntax": theirs.syntax,
        "photometric": theirs.photometric,
        "shape": [rows, columns, channels],
        "tolerance": 1.0 if theirs.lossy else 0.0,
        "mean": float(values.mean(dtype=np.float64)),
        "samples": [[y, x, c, float(values[y, x, c])] for y, x, c in places],
    }
    if theirs.grey:
        # Without inversion: `shown` of a MONOCHROME1 file needs the range, which the test has.
        shown = shown_by_pydicom(path, values[..., 0], (0.0, 0.0))
        record["shown"] = [[y, x, float(abs(shown[y, x]))] for y, x, _ in places]
    return record


def main() -> None:
    warnings.simplefilter("ignore")
    files = sorted(Path(sys.argv[1]).glob("*.dcm"))
    print("[\n" + ",\n".join(json.dumps(golden(path)) for path in files) + "\n]")


if __name__ == "__main__":
    main()
