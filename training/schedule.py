"""Learning-rate schedules as functions of the share of training that is done, so that a resumed run needs no state."""

from __future__ import annotations

from math import cos, pi


def one_cycle(done: float, warm: float = 0.2, floor: float = 0.01) -> float:
    """Factor on the peak rate: a line up over the first `warm`, then a cosine down to `floor` (Smith 2018)."""
    if done < warm:
        return max(floor, done / warm)
    return floor + (1 - floor) * (1 + cos(pi * (done - warm) / (1 - warm))) / 2
