"""Temperature and Platt calibration, fitted on rows that neither trained nor stopped a training; and the decision.

The formulas are those of the service (`src/pipeline/interpret.rs`): a test holds both to the same numbers.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_expit, log_softmax, logit, softmax

_CLIP = 1e-7


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> dict:
    """`{kind, temperature}` that minimises the log loss of softmax(logits / T) (Guo et al. 2017); logits [n, k]."""
    wide = logits.astype(np.float64)

    def loss(log_t: float) -> float:
        return -log_softmax(wide / np.exp(log_t), axis=1)[np.arange(len(labels)), labels].mean()

    found = minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-6})
    return {"kind": "temperature", "temperature": round(float(np.exp(found.x)), 6)}


def fit_platt(logits: np.ndarray, labels: np.ndarray) -> dict:
    """`{kind, a, b}` that minimises the log loss of sigmoid(a·z + b) with Platt's (1999) smoothed targets; z [n]."""
    z = logits.astype(np.float64).ravel()
    positive, negative = (labels == 1).sum(), (labels == 0).sum()
    target = np.where(labels == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def loss(x: np.ndarray) -> float:
        shifted = x[0] * z + x[1]
        return -(target * log_expit(shifted) + (1 - target) * log_expit(-shifted)).mean()

    a, b = minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-12}).x
    return {"kind": "platt", "a": round(float(a), 6), "b": round(float(b), 6)}


def calibrated(scores: np.ndarray, logits: np.ndarray | None, calibration: dict | None, binary: bool) -> np.ndarray:
    """Calibrated scores float64 [n, k] as the service computes them."""
    raw = scores.astype(np.float64)
    if calibration is None:
        return raw
    if binary:
        if logits is None:
            z = logit(np.clip(raw[:, -1], _CLIP, 1 - _CLIP))
        else:
            z = logits[:, -1].astype(np.float64) - (logits[:, 0] if logits.shape[1] == 2 else 0.0)
        z = z / calibration["temperature"] if "temperature" in calibration else calibration["a"] * z + calibration["b"]
        return np.stack([expit(-z), expit(z)], axis=1)
    z = np.log(np.clip(raw, _CLIP, 1)) if logits is None else logits.astype(np.float64)
    return softmax(z / calibration["temperature"], axis=1)


def youden(scores: np.ndarray, labels: np.ndarray) -> float:
    """The threshold (score ≥ t is positive) of the largest sensitivity + specificity − 1; the highest of equals."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    hits, misses = np.cumsum(labels[order] == 1)[ends], np.cumsum(labels[order] == 0)[ends]
    gain = hits / max(hits[-1], 1) - misses / max(misses[-1], 1)
    return float(scores[order][ends[np.argmax(gain)]])


def abstain_band(scores: np.ndarray, threshold: float, share: float = 0.05) -> tuple[float, float]:
    """The band about the threshold that holds `share` of the scores: half below and half above it, where there are."""
    half = max(1, round(len(scores) * share / 2))
    below, above = np.sort(scores[scores < threshold])[-half:], np.sort(scores[scores >= threshold])[:half]
    return float(below[0]) if len(below) else threshold, float(above[-1]) if len(above) else threshold
