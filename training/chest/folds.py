"""Patient-wise cross-validation of a chest recipe: the spread that one split of the patients cannot show.

With a crop every fold is trained a second time on images cropped to the lungs, and both are compared on the fold's
own patients. A fold's epoch is chosen on patients of its own training side; its figures are of the others alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from .. import metrics
from ..errors import TrainingError
from ..prepared import manifest
from . import collection, patients
from .collection import Collection, Part
from .loop import Rows, Run, logits
from .recipe import ChestRecipe, steps
from .torch_training import TorchTraining

FOLDS = 5
# Of a fold's training side, for the choice of the epoch.
_VALIDATION = 0.1


@dataclass(frozen=True)
class Crop:
    """A crop to the lungs by the segmentation bundle in this folder, `<models>/<name>/<version>`."""

    bundle: Path

    @property
    def name(self) -> str:
        """As a recipe's crop step names it."""
        return f"{self.bundle.parent.name}/{self.bundle.name}"

    def steps(self, side: int) -> tuple[dict, ...]:
        """A chest recipe's prepared steps with the crop before the resize."""
        decode, voi, *rest = steps(side)[:4]
        region = {"kind": "lung_field", "bundle": self.name, "fallback": "mirror"}
        return (decode, voi, {"op": "crop", "region": region}, *rest)


@dataclass(frozen=True)
class Setting:
    """What is cross-validated: a recipe, over so many epochs, on whole images or on crops."""

    recipe: ChestRecipe
    data: Path
    checkpoints: Path
    epochs: int
    crop: Crop | None = None

    @property
    def work(self) -> Path:
        """Where the prepared images lie."""
        named = f"-{self.crop.name.replace('/', '-')}" if self.crop else ""
        return self.checkpoints / "prepared" / f"chest-{self.recipe.side}{named}"

    def load(self) -> Collection:
        """The collection, as the recipe has it or cropped."""
        if self.crop is None:
            return collection.load(self.data, self.recipe.steps[:4], self.work)
        models = str(self.crop.bundle.resolve().parents[1])
        return collection.load(self.data, self.crop.steps(self.recipe.side), self.work, ["--models", models])


@dataclass(frozen=True)
class Scored:
    """One trained fold: its own patients' part and the test folder's, with a score float64 [n] each."""

    fold: int
    training: Part
    held: Part
    scores: np.ndarray
    test: Part
    test_scores: np.ndarray

    def row(self) -> dict:
        """For evaluation.json."""
        areas = area(self.scores, self.held), area(self.test_scores, self.test)
        return {"fold": self.fold, "training": len(self.training), "held_out": areas[0], "test": areas[1]}


def run(setting: Setting, found: Collection, fold: int) -> Scored:
    """Train one fold (from 1), from its checkpoint if there is one, and score who was not in it."""
    training = setting.recipe.train
    if not isinstance(training, TorchTraining):
        raise TrainingError(f"{setting.recipe.command}: folds are for recipes of a torch network")
    whole = found.whole()
    parts = patients.folds(whole.images, FOLDS)
    own = [image for at, part in enumerate(parts) if at != fold - 1 for image in part]
    chosen = patients.split(own, {"validation": _VALIDATION, "training": 1 - _VALIDATION})
    held = whole.take(parts[fold - 1])
    patients.assert_disjoint({**chosen, "held out": held.images})
    learned, validation = whole.take(chosen["training"]), whole.take(chosen["validation"])
    plan = replace(training.plan, epochs=setting.epochs)
    kind = setting.work.name
    folder = setting.checkpoints / f"{setting.recipe.command}-fold{fold}-{kind}-{setting.epochs}"
    trained = Run(training.make, plan, training.seed, folder, {"data": found.digest, "fold": fold, "images": kind})
    print(f"fold {fold} of {FOLDS}, {kind}", flush=True)
    trained.train(learned.rows(), validation.rows())
    test = found.parts["test"]
    return Scored(fold, learned, held, _scores(trained.evaluated, held), test, _scores(trained.evaluated, test))


def _scores(network: nn.Module, part: Part) -> np.ndarray:
    """Scores by the mean logit of image and mirror image, as the served graph has it."""
    rows = part.rows()
    mirrored = Rows(np.ascontiguousarray(rows.pixels[..., ::-1]), rows.labels)
    found = (logits(network, rows) + logits(network, mirrored)) / 2
    return expit(found.astype(np.float64))


def area(scores: np.ndarray, part: Part) -> dict:
    """ROC-AUC of the scores with its interval over patients."""
    return metrics.area(scores, part.labels, [image.patient for image in part.images])


def cross_validated(setting: Setting, found: Collection) -> list[Scored]:
    """Every fold, one after the other; found: as `setting.load` gives it."""
    return [run(setting, found, fold) for fold in range(1, FOLDS + 1)]


def document(setting: Setting, scored: list[Scored]) -> dict:
    """`cross_validation` of evaluation.json."""
    rows = [one.row() for one in scored]
    figures = {"epochs": setting.epochs, "folds": rows}
    for name in ("held_out", "test"):
        values = [row[name]["value"] for row in rows]
        figures |= {f"{name}_mean": float(np.mean(values)), f"{name}_sd": float(np.std(values, ddof=1))}
    return figures


def compared(plain: list[Scored], cropped: list[Scored], setting: Setting) -> dict:
    """`crop_ablation` of evaluation.json: cropped less plain on the same folds, and what the crop alone tells."""
    pairs = list(zip(plain, cropped, strict=True))
    differences = {
        "held_out": [(one.scores, other.scores, one.held) for one, other in pairs],
        "test": [(one.test_scores, other.test_scores, one.test) for one, other in pairs],
    }
    figures = document(setting, cropped) | {"bundle": setting.crop.name}
    figures |= {f"{name}_difference": difference(rows) for name, rows in differences.items()}
    # The boxes do not depend on the network: one fold tells what all do.
    return figures | {"crop_alone": crop_alone(setting.work, cropped[0])}


def difference(rows: list[tuple[np.ndarray, np.ndarray, Part]]) -> dict:
    """Mean over folds of the second scores' ROC-AUC less the first's, with a bootstrap over the patients of each."""
    generator = np.random.default_rng(metrics.BOOTSTRAP_SEED)
    gains = np.empty((metrics.RESAMPLES + 1, len(rows)))
    for at, (one, other, part) in enumerate(rows):
        units = np.unique([image.patient for image in part.images], return_inverse=True)[1]
        ranked = [metrics.ranking(scores, part.labels == 1) for scores in (one, other)]
        for draw in range(metrics.RESAMPLES + 1):
            n = units.max() + 1
            drawn = np.ones(n) if draw == 0 else np.bincount(generator.integers(0, n, n), minlength=n)
            areas = [metrics.roc_auc(*metrics.counts_down(ranking, drawn[units])) for ranking in ranked]
            gains[draw, at] = areas[1] - areas[0]
    means = gains.mean(axis=1)
    interval = np.nanpercentile(means[1:], [2.5, 97.5]).tolist()
    return {"value": float(means[0]), "interval": interval, "n": sum(len(part) for _, _, part in rows)}


def crop_alone(work: Path, scored: Scored) -> dict:
    """ROC-AUC of a logistic regression on the crop's box and on whether both lungs were found: a shortcut's size."""
    told = {row["source"]: _box(row) for name in ("train", "test") for row in manifest(work / name)}
    table = {
        name: np.array([told[i.sha256] for i in getattr(scored, name).images]) for name in ("training", "held", "test")
    }
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(table["training"], scored.training.labels)
    scores = {name: model.predict_proba(table[name])[:, 1] for name in ("held", "test")}
    return {"held_out": area(scores["held"], scored.held), "test": area(scores["test"], scored.test)}


def _box(row: dict) -> list[float]:
    width, height = row["geometry"]["input"]
    region = row["geometry"]["region"]
    sides = [region[name] / size for name, size in zip(("left", "top", "width", "height"), (width, height) * 2)]
    return [*sides, float(any(code.startswith("lung_field") for code in row["warnings"]))]
