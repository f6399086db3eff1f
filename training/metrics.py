"""Figures of a classifier from its scores, with bootstrap intervals over units (patients, or else images).

All of them depend on the set of rows; the intervals on the order too, hence on `evaluation.canonical`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ECE_BINS = 15
RESAMPLES = 1000
BOOTSTRAP_SEED = 1
SPECIFICITY = 0.95
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
    """Per row the squared distance between the scores and the one-hot label, summed over classes: 0 to 2.

    Of two classes the half of it, the usual (p − y)² of the positive one: 0 to 1.
    """
    distance = probabilities.astype(np.float64)
    distance[np.arange(len(labels)), labels] -= 1.0
    return np.square(distance).sum(axis=1) / (2 if probabilities.shape[1] == 2 else 1)


def confidence(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What calibration compares: the highest score and whether it is right; of two classes the positive one's and y."""
    if probabilities.shape[1] == 2:
        return probabilities[:, 1].astype(np.float64), (labels == 1).astype(np.float64)
    return probabilities.max(axis=1).astype(np.float64), correct(probabilities, labels)


def expected_calibration_error(confidence: np.ndarray, hit: np.ndarray) -> float:
    """Mean gap between confidence and accuracy over bins of equal mass; both arguments sorted by confidence."""
    edges = np.linspace(0, len(confidence), ECE_BINS + 1).round().astype(int)
    filled = edges[:-1] < edges[1:]
    gaps = np.add.reduceat(confidence - hit, edges[:-1][filled])
    return float(np.abs(gaps).sum() / len(confidence))


def confusion_matrix(predicted: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Counts int [k, k]: row = true label, column = predicted."""
    return np.bincount(labels * k + predicted, minlength=k * k).reshape(k, k)


@dataclass(frozen=True)
class Ranking:
    """Rows by falling score: their places, which are positive, and the last place of each run of equal scores."""

    order: np.ndarray
    positive: np.ndarray
    ends: np.ndarray


def ranking(scores: np.ndarray, positive: np.ndarray) -> Ranking:
    """Sort once; every resample only weighs the rows anew."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    return Ranking(order, positive[order].astype(np.float64), ends)


def counts_down(ranked: Ranking, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives when everything down to each end is called positive; weights by row."""
    sorted_weights = weights[ranked.order]
    hits = np.cumsum(sorted_weights * ranked.positive)
    return hits[ranked.ends], (np.cumsum(sorted_weights) - hits)[ranked.ends]


def roc_auc(hits: np.ndarray, misses: np.ndarray) -> float:
    """Area under the ROC curve: P(positive above negative) + ½ P(equal) (Mann and Whitney)."""
    if hits[-1] == 0 or misses[-1] == 0:
        return float("nan")
    area = np.trapezoid(np.append(0, hits), np.append(0, misses))
    return float(area / hits[-1] / misses[-1])


def average_precision(hits: np.ndarray, misses: np.ndarray) -> float:
    """Σ (recall step × precision), as scikit-learn has it."""
    if hits[-1] == 0:
        return float("nan")
    called = hits + misses
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    return float((np.diff(hits, prepend=0) * precision).sum() / hits[-1])


def sensitivity_at(hits: np.ndarray, misses: np.ndarray, specificity: float = SPECIFICITY) -> float:
    """The best sensitivity of a threshold with at least this specificity."""
    if hits[-1] == 0 or misses[-1] == 0:
        return float("nan")
    # A hair of slack: 1 − 0.95 is not the same float everywhere.
    allowed = misses <= misses[-1] * (1 - specificity) + 1e-9
    return float(hits[allowed].max(initial=0) / hits[-1])


def f1(counts: np.ndarray) -> float:
    """Of two classes the positive one's, of several their mean; counts [k, k] as `confusion_matrix` has them."""
    right, size = np.diag(counts), counts.sum(axis=0) + counts.sum(axis=1)
    each = np.divide(2 * right, size, out=np.zeros(len(counts)), where=size > 0)
    return float(each[1] if len(counts) == 2 else each.mean())


@dataclass(frozen=True)
class Scored:
    """What a model said of labelled rows.

    raw, calibrated: [n, k]; predicted, labels: int [n]; units: int [n], rows of one unit are drawn together.
    """

    raw: np.ndarray
    calibrated: np.ndarray
    predicted: np.ndarray
    labels: np.ndarray
    units: np.ndarray

    def take(self, rows: np.ndarray) -> Scored:
        """The rows chosen; units are numbered anew."""
        units = np.unique(self.units[rows], return_inverse=True)[1]
        return Scored(self.raw[rows], self.calibrated[rows], self.predicted[rows], self.labels[rows], units)


def measure(scored: Scored) -> list[dict]:
    """All metrics as `{name, value, interval, n}`; the interval is the 95 % percentile bootstrap over units.

    Of several classes ROC-AUC, PR-AUC, sensitivity and F1 are means of each class against the others.
    """
    n = int(scored.units.max()) + 1
    figures = _Figures(scored)
    values = figures.at(np.ones(len(scored.labels)))
    resampled: dict[str, list[float]] = {name: [] for name in values}
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    for _ in range(RESAMPLES):
        drawn = np.bincount(generator.integers(0, n, n), minlength=n)
        for name, value in figures.at(drawn[scored.units]).items():
            resampled[name].append(value)
    return [
        {"name": name, "value": value, "interval": _interval(resampled[name]), "n": len(scored.labels)}
        for name, value in values.items()
    ]


def area(scores: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> dict:
    """ROC-AUC of one score a row as `{value, interval, n}`; rows of one name, such as a patient's, are one unit."""
    both = np.stack([1 - scores, scores], axis=1)
    units = np.unique(np.array(names), return_inverse=True)[1]
    found = measure(Scored(both, both, (scores > 0.5).astype(int), labels, units))
    metric = next(metric for metric in found if metric["name"] == "roc_auc")
    return {name: metric[name] for name in ("value", "interval", "n")}


def values(scored: Scored) -> dict[str, float]:
    """All metrics by name, without intervals."""
    return _Figures(scored).at(np.ones(len(scored.labels)))


def _interval(values: list[float]) -> list[float]:
    # A resample without a class has no area; it says nothing. Of one class alone no resample has one.
    told = [value for value in values if not np.isnan(value)]
    return np.percentile(told, [2.5, 97.5]).tolist() if told else [float("nan")] * 2


class _Figures:
    """Everything about the rows that does not depend on how often each is drawn."""

    def __init__(self, scored: Scored):
        self.k, labels = scored.raw.shape[1], scored.labels
        self.rows = {"accuracy": (scored.predicted == labels).astype(np.float64)}
        self.rows |= {"log_loss": log_losses(scored.raw, labels), "brier": brier_scores(scored.raw, labels)}
        self.sorted = {"ece": self._sorted(scored.raw, labels)}
        if scored.calibrated is not scored.raw:
            self.rows["log_loss_calibrated"] = log_losses(scored.calibrated, labels)
            self.rows["brier_calibrated"] = brier_scores(scored.calibrated, labels)
            self.sorted["ece_calibrated"] = self._sorted(scored.calibrated, labels)
        classes = [1] if self.k == 2 else range(self.k)
        self.rankings = [ranking(scored.calibrated[:, label], labels == label) for label in classes]
        self.cells = labels * self.k + scored.predicted

    @staticmethod
    def _sorted(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        confident, hit = confidence(scores, labels)
        order = np.argsort(confident, kind="stable")
        return order, confident[order], hit[order]

    def at(self, weights: np.ndarray) -> dict[str, float]:
        """Every figure when row i counts `weights[i]` times."""
        total = weights.sum()
        found = {"accuracy": float(weights @ self.rows["accuracy"] / total)}
        curves = [counts_down(ranked, weights) for ranked in self.rankings]
        for name, figure in (("roc_auc", roc_auc), ("pr_auc", average_precision), (_SENSITIVITY, sensitivity_at)):
            found[name] = float(np.mean([figure(*curve) for curve in curves]))
        counts = np.bincount(self.cells, weights=weights, minlength=self.k**2).reshape(self.k, self.k)
        found["f1"] = f1(counts)
        found |= {name: float(weights @ values / total) for name, values in self.rows.items() if name != "accuracy"}
        for name, (order, confident, hit) in self.sorted.items():
            # Rows stay sorted by confidence when each is repeated as often as it was drawn.
            picked = np.repeat(np.arange(len(order)), weights[order].astype(int))
            found[name] = expected_calibration_error(confident[picked], hit[picked])
        return found


_SENSITIVITY = "sensitivity_at_95_specificity"
