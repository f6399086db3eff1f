"""Compares whole arrays of DICOM files with pydicom.

    cargo build --example imaging_dump
    python tests/imaging/compare_dicom.py target/debug/examples/imaging_dump FOLDER [--table]

Values after the Modality LUT (or RGB) must be equal where the compression is lossless and within
1 where it is lossy (3 in RGB made of lossy YBR). Our windowed values must lie within 1 of pydicom's `apply_voi_lut` over the
same values. `--table` prints the table of docs/dicom.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from reference import Dump, read_dicom, shown_by_pydicom

RECIPE = """
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
    except Exception as error:  # whatever a damaged or unknown file makes pydicom raise
        row = [path.name, syntax_name(path), "refused"]
        if "error" in ours:
            return True, [*row, f"{ours['error']} (pydicom: {type(error).__name__})"]
        return False, [*row, f"read here, refused by pydicom: {error}"]
    row = [path.name, f"{theirs.syntax}; {theirs.photometric}"]
    if "error" in ours:
        return False, [*row, "refused", ours["error"]]
    values = dump.array(n, "decoded").squeeze()
    expected = theirs.values.astype(np.float32).squeeze()
    if values.shape != expected.shape:
        return False, [*row, "FAILED", f"shape {values.shape} against {expected.shape}"]
    difference = np.abs(values.astype(np.float64) - expected.astype(np.float64)).max()
    # One level of Y, Cb and Cr is up to 2.8 levels of blue.
    lossy = 3.0 if theirs.photometric.startswith("YBR") else 1.0
    good = difference <= (lossy if theirs.lossy else 0.0)
    note = f"values differ by at most {difference:g}"
    if theirs.grey:
        if "no_window" in [warning["code"] for warning in ours["warnings"]]:
            note += "; it has no window"
        else:
            shown = dump.array(n, "shown").astype(np.float64).squeeze()
            reference = shown_by_pydicom(path, values, tuple(ours["shown"]["range"]))
            apart = np.abs(shown - reference).max()
            good = good and apart <= 1.0
            note += f", shown values by at most {apart:.1g}"
    return bool(good), [*row, "passed" if good else "FAILED", note]


def syntax_name(path: Path) -> str:
    import pydicom

    return pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID.name


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--table", action="store_true", help="print the table of docs/dicom.md")
    options = parser.parse_args()
    files = sorted(options.folder.glob("*.dcm"))
    dump = Dump(options.program, RECIPE, files)
    rows = [compare(n, path, dump) for n, path in enumerate(files)]
    for good, row in rows:
        print("| " + " | ".join(row) + " |" if options.table else f"{good!s:5} {'; '.join(row)}")
    return 0 if files and all(good for good, _ in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
