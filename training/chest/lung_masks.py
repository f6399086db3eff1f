"""Lung masks by the classical method, where it finds both lungs and they are plausible.

Border air removed, Otsu's threshold (1979) on the body, the largest dark component of each half. Which images it
fails on depends on the disease: a network that learns from the others is what serves, never this.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

# Shares of the image that a lung takes, and of the larger lung that the smaller one does.
_AREA = (0.035, 0.28)
_BALANCE = 0.4
# Of the side: the box of both.
_WIDTH, _HEIGHT = (0.45, 0.96), (0.40, 0.97)


def otsu(values: np.ndarray) -> int:
    """The grey level that separates uint8 values best: at most it is dark, above it is bright."""
    counts = np.bincount(values.ravel(), minlength=256).astype(np.float64)
    below, levels = counts.cumsum(), np.arange(256)
    sums = (counts * levels).cumsum()
    above = below[-1] - below
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    # One level alone separates nothing.
    return int(np.nan_to_num(between).argmax())


def lungs(image: np.ndarray) -> np.ndarray | None:
    """bool [h, w] of both lungs of a grey radiograph uint8 [h, w], or None where they are not found."""
    side = image.shape[0]
    smooth = ndimage.gaussian_filter(image.astype(np.float32), side / 100)
    # Uneven exposure: each place against its wide surroundings.
    even = smooth - ndimage.gaussian_filter(smooth, side / 4)
    low, high = np.percentile(even, [1, 99])
    level = (np.clip((even - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
    body = _body(smooth)
    dark = body & (level <= otsu(level[body])) if body.any() else body
    dark = ndimage.binary_opening(dark, iterations=max(1, side // 64))
    parts, n = ndimage.label(dark)
    halves: dict[bool, tuple[int, int]] = {}
    for part in range(1, n + 1):
        where = parts == part
        area, (row, column) = int(where.sum()), ndimage.center_of_mass(where)
        if not 0.2 * side < row < 0.8 * side:
            continue
        right = column > side / 2
        if area > halves.get(right, (0, 0))[0]:
            halves[right] = (area, part)
    if len(halves) < 2:
        return None
    mask = np.zeros(image.shape, bool)
    for _, part in halves.values():
        lung = ndimage.binary_closing(np.pad(parts == part, side // 8), iterations=side // 16)
        mask |= ndimage.binary_fill_holes(lung)[side // 8 : -(side // 8), side // 8 : -(side // 8)]
    return mask if _plausible(mask) else None


def _body(smooth: np.ndarray) -> np.ndarray:
    """Without the dark air (or collimation) that touches the border."""
    dark, n = ndimage.label(smooth <= 0.35 * np.percentile(smooth, 90))
    edge = np.unique(np.concatenate([dark[0], dark[-1], dark[:, 0], dark[:, -1]]))
    return ~np.isin(dark, edge[edge > 0])


def _plausible(mask: np.ndarray) -> bool:
    side = mask.shape[0]
    parts, n = ndimage.label(mask)
    if n != 2:
        return False
    boxes = ndimage.find_objects(parts)
    areas = np.array([(parts == part).sum() for part in (1, 2)]) / mask.size
    rows, columns = np.nonzero(mask)
    width, height = (np.ptp(columns) + 1) / side, (np.ptp(rows) + 1) / side
    overlap = min(box[0].stop for box in boxes) - max(box[0].start for box in boxes)
    touches = mask[:, 0].any() or mask[:, -1].any()
    return bool(
        (areas >= _AREA[0]).all()
        and (areas <= _AREA[1]).all()
        and areas.min() >= _BALANCE * areas.max()
        and _WIDTH[0] <= width <= _WIDTH[1]
        and _HEIGHT[0] <= height <= _HEIGHT[1]
        and overlap > 0.3 * side
        and not touches
    )
