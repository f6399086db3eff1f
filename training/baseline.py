"""`baseline.json`: the frozen reference for drift, from rows that did not train the network, one a unit.

Bins of a continuous feature are its deciles, [eᵢ, eᵢ₊₁), open at both ends, equal edges merged; of a categorical
one its values. Counts are kept as they are: who compares adds the smoothing that the file names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STATISTICS = ("mean", "std", "p1", "p99", "entropy", "sharpness", "aspect")
_BINS = 10


@dataclass(frozen=True)
class Answered:
    """What the model said of each row: the score that drift watches, label, distance, whether it was refused."""

    score: np.ndarray
    label: np.ndarray
    distance: np.ndarray | None
    refused: np.ndarray


def baseline(answered: Answered, statistics: Sequence[dict], labels: Sequence[str], units: np.ndarray) -> dict:
    """The document; the first row of each unit counts."""
    first = np.sort(np.unique(units, return_index=True)[1])
    kept = first[~answered.refused[first]]
    features = [continuous("score", "answered", answered.score[kept])]
    counts = np.bincount(answered.label[kept], minlength=len(labels)).tolist()
    features.append(
        {
            "name": "label", "kind": "categorical", "applies_to": "answered", "values": list(labels), "counts": counts,
            "missing": 0,
        }
    )  # fmt: skip
    if answered.distance is not None:
        features.append(continuous("ood", "every", answered.distance[first]))
    for name in STATISTICS:
        values = np.array([statistics[row][name] for row in first], np.float64)
        features.append(continuous(name, "every", values))
    return {"schema": 1, "n": len(first), "smoothing": 0.5, "features": features}


def continuous(name: str, applies_to: str, values: np.ndarray) -> dict:
    """A feature by its deciles; NaN counts as missing."""
    wide = values.astype(np.float64)
    known = wide[~np.isnan(wide)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1])) if len(known) else np.array([])
    # [eᵢ, eᵢ₊₁): a value on an edge belongs to the bin above it.
    counts = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1)
    return {
        "name": name,
        "kind": "continuous",
        "applies_to": applies_to,
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "missing": int(len(wide) - len(known)),
    }
