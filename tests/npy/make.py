"""Writes the .npy files of this folder and expected.json: `python tests/npy/make.py`, with NumPy 2.4.

expected.json says what NumPy reads out of each file, as the Open Inference Protocol names it, or null
for a file that must be refused.
"""

import json
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
NAMES = {"b1": "BOOL", "f2": "FP16", "f4": "FP32", "f8": "FP64"}
NAMES |= {f"i{n}": f"INT{8 * n}" for n in (1, 2, 4, 8)} | {f"u{n}": f"UINT{8 * n}" for n in (1, 2, 4, 8)}

grid = np.arange(24).reshape(2, 3, 4)
readable = {f"{kind}{order}": grid.astype(f"{order}{kind}") for kind in NAMES for order in "<>"}
readable |= {
    "fortran": np.asfortranarray(grid.astype("<f4") / 7),
    "fortran_big": np.asfortranarray(grid.astype(">i2")),
    "fortran_text": np.asfortranarray(np.array([[b"a", b"bc"], [b"", b"defg"], [b"h\0i", b"\0"]])),
    "scalar": np.float32(1.5),
    "vector": np.array([0.1, np.nan, np.inf], "<f8"),
    "empty": np.zeros((0, 5), "<f4"),
    "text": np.array([b"one", b"three", b""]),
}
refused = {
    "complex": grid.astype("<c8"),
    "objects": np.array([{}, None], object),
    "structured": np.zeros(2, [("a", "<f4"), ("b", "<i2")]),
    "unicode": np.array(["a", "b"]),
    "time": np.array(["2026-01-01"], "datetime64[D]"),
}


def elements(array: np.ndarray) -> list:
    if array.dtype.kind == "S":
        return [text.decode() for text in array.ravel().tolist()]
    return [value if np.isfinite(value) else None for value in array.ravel().tolist()]


expected = {}
for name, array in readable.items():
    file = name.replace("<", "_little").replace(">", "_big") + ".npy"
    np.save(FOLDER / file, array)
    kind = array.dtype.kind + str(array.dtype.itemsize)
    expected[file] = {
        "datatype": "BYTES" if array.dtype.kind == "S" else NAMES[kind],
        "shape": list(array.shape),
        "data": elements(array),
    }
with (FOLDER / "version2.npy").open("wb") as file:
    np.lib.format.write_array(file, grid.astype("<f4"), version=(2, 0))
expected["version2.npy"] = {"datatype": "FP32", "shape": [2, 3, 4], "data": elements(grid.astype("<f4"))}
for name, array in refused.items():
    np.save(FOLDER / f"{name}.npy", array, allow_pickle=True)
    expected[f"{name}.npy"] = None
lines = (f"{json.dumps(file)}: {json.dumps(content)}" for file, content in expected.items())
(FOLDER / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
