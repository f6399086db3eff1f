"""The training loop: seeds, checkpoints, progress, and the choice between seeds.

A checkpoint is written after every epoch and found again by its settings. Test images are not seen here at all.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from . import metrics
from .data import Split
from .errors import TrainingError
from .learners import Learner, seed_everything, threads
from .provenance import code_digest
from .recipe import Recipe
from .state import ignored_by_git
from .tracking import Run


@dataclass(frozen=True)
class Trained:
    """A finished run of one seed and how it did on the validation rows."""

    learner: Learner
    seed: int
    accuracy: float
    log_loss: float
    seconds: float

    @property
    def rank(self) -> tuple[float, float]:
        """Higher is better."""
        return self.accuracy, -self.log_loss


class Checkpoint:
    """The latest epoch of one seed's run: `<folder>/state.json` names the weights file that goes with it."""

    def __init__(self, folder: Path, settings: dict):
        self.folder, self.settings = folder, settings

    def restore(self, learner: Learner) -> tuple[int, float]:
        """Load the latest epoch into `learner`; the epochs done and the seconds they took, zeros if there is none."""
        state_file = self.folder / "state.json"
        if not state_file.exists():
            return 0, 0.0
        try:
            state = json.loads(state_file.read_text())
        except ValueError as error:
            raise TrainingError(
                f"{state_file}: damaged checkpoint ({error}); remove its folder to begin again"
            ) from error
        if state["settings"] != self.settings:
            raise TrainingError(
                f"{self.folder}: a checkpoint of other settings ({state['settings']}, now {self.settings}); "
                "remove it or name another folder with --checkpoints"
            )
        learner.load(self.folder / state["file"])
        return state["epochs_done"], state["seconds"]

    def write(self, learner: Learner, epochs_done: int, seconds: float) -> None:
        """Replace the checkpoint; being stopped in between leaves the previous one in force."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"epoch-{epochs_done}.state"
        learner.save(self.folder / name)
        state = {"epochs_done": epochs_done, "seconds": seconds, "file": name, "settings": self.settings}
        aside = self.folder / "state.json.partial"
        aside.write_text(json.dumps(state))
        aside.replace(self.folder / "state.json")
        for old in self.folder.glob("epoch-*"):
            if old.name != name:
                old.unlink()


def train_seed(
    recipe: Recipe, train: Split, validation: Split, seed: int, epochs: int, checkpoint: Checkpoint, run: Run | None
) -> Trained:
    """Train one seed, from its checkpoint if there is one, and score it on the validation rows."""
    seed_everything(seed)
    learner = recipe.learner()
    done, seconds = checkpoint.restore(learner)
    if done:
        print(f"seed {seed}: resumed after epoch {done}", flush=True)
    for epoch in range(done, epochs):
        # Order and draws depend on seed and epoch alone: a resumed run continues as if it had not been stopped.
        order = np.random.default_rng((seed, epoch)).permutation(len(train))
        started = time.monotonic()
        label = f"{recipe.command} seed {seed} epoch {epoch + 1}/{epochs}"
        steps = -(-len(train) // recipe.batch_size)
        with tqdm(total=steps, desc=label, unit="batch", disable=not sys.stderr.isatty(), leave=False) as bar:
            seed_everything(seed * 1000 + epoch + 1)
            share = (epoch / epochs, (epoch + 1) / epochs)
            loss = learner.run_epoch(train.take(order), recipe.batch_size, bar.update, share)
        seconds += time.monotonic() - started
        checkpoint.write(learner, epoch + 1, seconds)
        if not np.isfinite(loss):
            raise TrainingError(f"{label}: the loss is not finite; lower the learning rate")
        if run:
            run.figure(f"loss seed {seed}", loss, epoch + 1)
        print(f"{label}: loss {loss:.4f}, {seconds:.0f} s so far", flush=True)
    scores = learner.probabilities(validation.images)
    accuracy = float(metrics.correct(scores, validation.labels).mean())
    log_loss = float(metrics.log_losses(scores, validation.labels).mean())
    print(f"seed {seed}: validation accuracy {accuracy:.4f}, log loss {log_loss:.4f}", flush=True)
    return Trained(learner, seed, accuracy, log_loss, seconds)


def train_seeds(
    recipe: Recipe, train: Split, validation: Split, digest: str, seeds: tuple[int, ...], epochs: int,
    checkpoints: Path, run: Run | None = None,
) -> list[Trained]:  # fmt: skip
    """Train every seed; best validation result first. `run` records each epoch's loss."""
    ignored_by_git(checkpoints)
    # Whatever the weights depend on: a checkpoint that was made otherwise would end in a model that no card describes.
    common = {
        "batch_size": recipe.batch_size,
        "epochs": epochs,
        "code": code_digest(recipe),
        "data": digest,
        "threads": threads(),
        "train_rows": len(train),
    }
    runs = []
    for seed in seeds:
        settings = common | {"seed": seed}
        checkpoint = Checkpoint(checkpoints / f"{recipe.command}-seed{seed}", settings)
        runs.append(train_seed(recipe, train, validation, seed, epochs, checkpoint, run))
    return sorted(runs, key=lambda run: run.rank, reverse=True)


def forget(recipe: Recipe, checkpoints: Path) -> None:
    """Remove the recipe's checkpoints, so that its next run trains anew."""
    for folder in checkpoints.glob(f"{recipe.command}-seed*"):
        shutil.rmtree(folder)
