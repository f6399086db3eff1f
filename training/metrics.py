"""Figures of merit for multiclass scores, with bootstrap intervals.

Pure functions on arrays: probabilities float [n, k] with rows that sum to 1, labels int [n] in [0, k).
"""

from __future__ import annotations

import numpy as np

ECE_BINS = 15
RESAMPLES = 1000
BOOTSTRAP_SEED = 1
# A score of exactly 0 for the right class would make the logarithm infinite.
_SMALLEST = 1e-15


def correct(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Per row 1.0 where the highest score is the label's (the first of equals counts), else 0.0."""
    return (probabilities.argmax(axis=1) == labels).astype(np.float64)


def log_losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Per row -ln of the label's score."""
    scores = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return -np.log(np.maximum(scores, _SMALLEST))


def brier_scores(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Per row the squared distance between the scores and the one-hot label, summed over classes: 0 to 2."""
    distance = probabilities.astype(np.float64)
    distance[np.arange(len(labels)), labels] -= 1.0
    return np.square(distance).sum(axis=1)


def expected_calibration_error(confidence: np.ndarray, hit: np.ndarray) -> float:
    """Mean gap between confidence and accuracy over bins of equal mass; both arguments sorted by confidence."""
    edges = np.linspace(0, len(confidence), ECE_BINS + 1).round().astype(int)
    filled = edges[:-1] < edges[1:]
    gaps = np.add.reduceat(confidence - hit, edges[:-1][filled])
    return float(np.abs(gaps).sum() / len(confidence))


def confusion_matrix(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Counts int [k, k]: row = true label, column = predicted."""
    k = probabilities.shape[1]
    return np.bincount(labels * k + probabilities.argmax(axis=1), minlength=k * k).reshape(k, k)


def measure(probabilities: np.ndarray, labels: np.ndarray) -> list[dict]:
    """All metrics as `{name, value, interval, n}`; the interval is the 95 % percentile bootstrap over rows."""
    n = len(labels)
    rows = {
        "accuracy": correct(probabilities, labels),
        "log_loss": log_losses(probabilities, labels),
        "brier": brier_scores(probabilities, labels),
    }
    order = np.argsort(probabilities.max(axis=1), kind="stable")
    confidence = probabilities.max(axis=1).astype(np.float64)[order]
    hit = rows["accuracy"][order]

    resampled: dict[str, list[float]] = {name: [] for name in (*rows, "ece")}
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    for _ in range(RESAMPLES):
        counts = np.bincount(generator.integers(0, n, n), minlength=n)
        for name, values in rows.items():
            resampled[name].append(float(counts @ values / n))
        # Rows stay sorted by confidence when each is repeated as often as it was drawn.
        picked = np.repeat(np.arange(n), counts[order])
        resampled["ece"].append(expected_calibration_error(confidence[picked], hit[picked]))

    values = {name: float(per_row.mean()) for name, per_row in rows.items()}
    values["ece"] = expected_calibration_error(confidence, hit)
    return [
        {"name": name, "value": value, "interval": np.percentile(resampled[name], [2.5, 97.5]).tolist(), "n": n}
        for name, value in values.items()
    ]
