"""Regions of system shared memory, as a client of Triton's makes them for a request."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from tritonclient.utils import shared_memory


@contextmanager
def regions(name: str, images: np.ndarray) -> Iterator[tuple[list[str], tuple[int, int], list]]:
    """The names, sizes and handles of one region that holds the images and one for their ten scores each."""
    sizes = images.nbytes, len(images) * 10 * 4
    names = [f"hilum-{name}-{side}-{os.getpid()}" for side in ("in", "out")]
    handles = [
        shared_memory.create_shared_memory_region(each, f"/{each}", size)
        for each, size in zip(names, sizes, strict=True)
    ]
    try:
        shared_memory.set_shared_memory_region(handles[0], [images])
        yield names, sizes, handles
    finally:
        for handle in handles:
            shared_memory.destroy_shared_memory_region(handle)
