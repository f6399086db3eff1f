"""Compares whole arrays of DICOM files with pydicom, and writes docs/dicom.md's table.

    python tests/imaging/compare_dicom.py PROGRAM FOLDER [--table]

PROGRAM is the built example (`cargo build --example imaging_dump`), FOLDER holds the files.
Lossless values must be equal, lossy ones within 1; windowed values within 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from reference import Dump, read_dicom

GRAY = """
[[step]]
op = "decode"
color = "gray"
[[step]]
op = "voi"
"""


def compare(n: int, path: Path, dump: Dump) -> tuple[bool, list[str]]:
    """Whether file `n` agrees, and its row of the table."""
    ours = dump.description(n)
    try:
        theirs = read_dicom(path)
    except Exception as error:  # whatever a damaged file makes pydicom raise
        if "error" in ours:
            return True, [path.name, "", "refused", ours["error"]]
        return False, [path.name, "", "FAILED", f"pydicom refuses it: {type(error).__name__}"]
    row = [path.name, f"{theirs.syntax}, {theirs.photometric}"]
    if "error" in ours:
        return False, [*row, "refused", ours["error"]]
    values = dump.array(n, "decoded").astype(np.float64).squeeze()
    expected = theirs.values.astype(np.float32).astype(np.float64).squeeze()
    if values.shape != expected.shape:
        return False, [*row, "FAILED", f"shape {values.shape} against {expected.shape}"]
    difference = np.abs(values - expected).max()
    allowed = 1.0 if theirs.lossy or theirs.photometric.startswith("YBR") else 0.0
    good = difference <= allowed
    note = f"values differ by at most {difference:g}"
    if theirs.shown is not None:
        shown = dump.array(n, "shown").astype(np.float64).squeeze()
        if "no_window" in [w["code"] for w in ours["warnings"]]:
            note += "; no window"
        else:
            low, high = ours["shown"]["range"]
            reference = theirs.shown.astype(np.float64)
            if theirs.photometric == "MONOCHROME1":
                reference = low + high - reference
            apart = np.abs(shown - reference).max()
            good = good and apart <= 1.0
            note += f", windowed by at most {apart:.3g}"
    return bool(good), [*row, "passed" if good else "FAILED", note]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--table", action="store_true", help="print the table of docs/dicom.md")
    options = parser.parse_args()
    files = sorted(options.folder.glob("*.dcm"))
    dump = Dump(options.program, GRAY, files)
    rows = [compare(n, path, dump) for n, path in enumerate(files)]
    for good, row in rows:
        print("| " + " | ".join(row) + " |" if options.table else f"{good!s:5} {row}")
    return 0 if files and all(good for good, _ in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
