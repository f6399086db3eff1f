"""How far the class is told by what is no sign of disease: an image's grey statistics, its width, its aspect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .. import metrics
from . import files
from .collection import Part

STATISTICS = ("mean", "std", "p1", "p99", "entropy", "sharpness", "aspect")


def statistics(training: Part, measured: dict[str, Part]) -> dict:
    """ROC-AUC of a logistic regression on the statistics alone, by part, with a patient bootstrap."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(_table(training), training.labels)
    return {
        "features": list(STATISTICS),
        "roc_auc": [
            _auc(name, model.predict_proba(_table(part))[:, 1], part.labels, [i.patient for i in part.images])
            for name, part in measured.items()
        ],
    }


def sizes(folder: Path) -> dict | None:
    """ROC-AUC of width and of aspect among images in their original size under `folder`; None if there are none."""
    images = [
        files.named(path, label)
        for label, name in enumerate(files.LABELS)
        for path in sorted(folder.glob(f"**/{name}/*"))
        if path.suffix.lower() in files.SUFFIXES
    ]
    if len({image.label for image in images}) < 2:
        return None
    shapes = np.array([Image.open(image.path).size for image in images], float)
    labels, units = np.array([image.label for image in images]), [image.patient for image in images]
    # Normal images are the wider ones: the sign makes it an AUC above one half.
    return {
        "roc_auc": [
            _auc("width alone", -shapes[:, 0], labels, units),
            _auc("aspect alone", shapes[:, 0] / shapes[:, 1], labels, units),
        ]
    }


def _table(part: Part) -> np.ndarray:
    return np.array([[row[name] for name in STATISTICS] for row in part.statistics], float)


def _auc(name: str, values: np.ndarray, labels: np.ndarray, units: Sequence[str]) -> dict:
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable") / len(values)
    # Only the order counts for an area; equal values must stay equal.
    scores = np.array([ranks[values == value].mean() for value in values]) if len(values) < 1000 else values
    return {"name": name} | metrics.area(scores, labels, units)
