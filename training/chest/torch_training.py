"""A chest recipe's `train` for networks of torch: the loop, then the served graph with its distance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from .collection import Collection
from .loop import Plan, Run
from .networks import Classifier
from .recipe import Trained
from .served import fit_distance, graph, near

# Every so many-th training image fits the distance, so that about this number does.
DISTANCE_ROWS = 400


@dataclass(frozen=True)
class TorchTraining:
    """The function that a `ChestRecipe` takes: a network by a plan.

    stages, shrink: of the gate's distance, as `served` has them.
    """

    make: Callable[[], Classifier]
    plan: Plan
    stages: tuple[int, ...]
    shrink: float
    seed: int = 1

    def __call__(self, found: Collection, checkpoints: Path, at_most: int | None) -> Trained:
        run = Run(self.make, self.plan, self.seed, checkpoints, {"data": found.digest})
        parts = found.parts
        history = run.train(parts["training"].rows(), parts["validation"].rows(), at_most)
        served = graph(run.evaluated, self.stages)
        rows = parts["training"].split()
        fitted = rows.take(slice(None, None, max(1, len(rows) // DISTANCE_ROWS)))
        served.distance = fit_distance(near(served, fitted.images), fitted.labels, self.shrink)
        sentence, framework = _sentence(self.plan, history, len(rows)), f"torch {torch.__version__.split('+')[0]}"
        return Trained(served, [sentence], framework, history.by_name())


def _sentence(plan: Plan, history, rows: int) -> str:
    epochs = len(history.auc)
    patient = plan.patience and epochs - 1 - history.best >= plan.patience
    why = "its patience ended" if patient else "it was stopped"
    ended = "" if epochs == plan.epochs else f" of {plan.epochs} planned: {why},"
    aucs = ", ".join(f"{auc:.4f}" for auc in history.auc)
    minutes = sum(history.seconds) / 60
    return (
        f"{epochs} epochs{ended} over {rows:,} images, batch size {plan.batch_size}; the weights of epoch "
        f"{history.best + 1}, the best by validation AUC (each epoch's: {aucs}). {minutes:.0f} minutes of a busy CPU, "
        "one thread."
    )
