"""Reads IDX files, the format MNIST is published in, gzip-compressed or not.

Layout: two zero bytes, a type byte (0x08 = uint8), the number of dimensions, each dimension as big-endian uint32, data.
The file is checked against its own header, so a cut-off download is an error here and not a strange accuracy later.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from ..errors import TrainingError

_UINT8 = 0x08
_GZIP_MAGIC = b"\x1f\x8b"


def read_bytes(path: Path) -> bytes:
    """The file's contents, decompressed if it is gzip (told by its first bytes, not by its name)."""
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw.startswith(_GZIP_MAGIC) else raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TrainingError(f"{path}: damaged gzip file ({error}); fetch it again") from error
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror})") from error


def parse_idx(contents: bytes, source: Path) -> np.ndarray:
    """IDX bytes as a read-only uint8 array with the header's shape; `source` is only named in errors."""
    if len(contents) < 4 or contents[:2] != b"\0\0":
        raise TrainingError(f"{source}: not an IDX file (it must begin with two zero bytes)")
    kind, rank = contents[2], contents[3]
    if kind != _UINT8:
        raise TrainingError(f"{source}: IDX type 0x{kind:02x} is not supported, only 0x08 (uint8)")
    header = 4 + 4 * rank
    if len(contents) < header:
        raise TrainingError(f"{source}: the IDX header is cut off")
    shape = struct.unpack(f">{rank}I", contents[4:header])
    expected = header + int(np.prod(shape, dtype=np.int64))
    if len(contents) != expected:
        raise TrainingError(
            f"{source}: the header announces shape {list(shape)}, so {expected} bytes, but there are {len(contents)}"
        )
    return np.frombuffer(contents, np.uint8, offset=header).reshape(shape)
