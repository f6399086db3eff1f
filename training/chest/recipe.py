"""What a chest recipe says, and its way from the collection to a bundle."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import bundle, publish, tracking
from ..calibration import abstain_band
from ..errors import TrainingError
from ..heads import ServedGraph
from ..provenance import Provenance, code_commit
from ..recipe import Batching, Card
from . import collection, files

NOTICE = "Not for primary diagnosis – physician must verify"
POPULATION = (
    "Children of one to five years, frontal (anterior-posterior) chest radiographs of one hospital (Guangzhou Women "
    "and Children's Medical Center), pneumonia confirmed by experts against normal"
)
# Fixed before the test folder was looked at: who is missed costs more than who is looked at once more.
SENSITIVITY = 0.97
DECISION = (
    f"Threshold: the highest that keeps a sensitivity of {SENSITIVITY} on validation patients. Abstain: the band "
    "about it that holds 5 % of the validation scores. Neither carries over to another site by itself."
)


@dataclass(frozen=True)
class Trained:
    """A graph that is ready to be published, and how it came about, for the card.

    epochs: what each epoch came to, by name.
    """

    graph: ServedGraph
    sentences: list[str]
    framework: str
    epochs: dict[str, list[float]]


@dataclass(frozen=True)
class ChestRecipe:
    """How one pneumonia bundle is made.

    side: of the square image that the network takes; channels: 1, or 3 that are the same.
    train: the collection, a folder for checkpoints and the most epochs (None: the recipe's own) to a graph.
    """

    command: str
    title: str
    side: int
    train: Callable[[collection.Collection, Path, int | None], Trained]
    told: str
    limits: tuple[str, ...]
    seed: int = 1
    channels: int = 1
    batching: Batching = Batching(max_batch=8, max_run_ms=400)
    previous_version: str | None = None

    model = "pneumonia"

    @property
    def steps(self) -> tuple[dict, ...]:
        """From an image file to the network's input."""
        return steps(self.side, self.channels)

    def build(self, options) -> dict | None:
        """Train, publish and return evaluation.json; None with `train_only`. options: of `training.train.Options`."""
        version = bundle.target(options.out, self.model, options.replace)
        refuse_unused(options)
        commit, checkpoints = code_commit(), options.checkpoints / f"{self.command}-seed{self.seed}"
        work = options.checkpoints / "prepared" / f"chest-{self.side}"
        found = collection.load(options.data, self.steps[:4], work)
        with tracking.run(self.command, options.checkpoints / "mlruns") as run:
            run.parameters({"seed": self.seed, "side": self.side, "data": found.digest})
            trained = self.train(found, checkpoints, options.epochs)
            run.epochs(trained.epochs)
            if options.train_only:
                return None
            provenance = Provenance(
                found.digest, commit, bundle.today(), self.seed, trained.framework, run.id,
                options.previous_version or self.previous_version,
            )  # fmt: skip
            made = self._publication(version, found, trained, provenance, options)
            figures = publish.publish(made, options.out)
            run.final(figures["datasets"])
        shutil.rmtree(checkpoints, ignore_errors=True)
        return figures

    def _publication(self, version, found, trained, provenance, options) -> publish.Publication:
        from . import shortcut, strangers

        parts, held = found.parts, ("validation", "calibration")
        measured = found.measured(self.channels)
        named = dict(zip(measured, (parts["held_out"], parts["test"])))
        more = {"decision_rule": DECISION, "shortcut": shortcut.statistics(parts["training"], named)}
        others = {}
        if options.strangers is not None:
            if (sizes := shortcut.sizes(options.strangers / "chest_xray_original")) is not None:
                more["shortcut_of_sizes"] = sizes
            work = options.checkpoints / "prepared" / f"originals-{self.side}"
            others = strangers.sets(parts["test"].split(self.channels).images, options.strangers, self.steps[:4], work)
        split = {name: parts[name].split(self.channels) for name in ("training", *held)}
        statistics = [row for name in held for row in parts[name].statistics]
        return publish.Publication(
            model=self.model,
            version=version,
            labels=files.LABELS,
            image_shape=(self.channels, self.side, self.side),
            preprocess=self.steps,
            batching=self.batching,
            card=self.card(found),
            provenance=provenance,
            commands=(
                f"python -m training {self.command} --data DIR --out models/{self.model}/{version}",
                f"python -m training evaluate models/{self.model}/{version} --data DIR",
            ),
            graph=trained.graph,
            rows=publish.Rows(*split.values(), measured, statistics),
            training={"sentences": [self.told, *trained.sentences]},
            task="binary",
            intended_use={"medical": True, "notice": NOTICE, "views": ["AP"], "age_years": [1, 5]},
            quality=quality(statistics),
            strangers=others,
            decide=lambda scores, labels: decide(scores, labels, parts["calibration"].labels),
            provisional=True,
            more=more,
        )

    def card(self, found: collection.Collection) -> Card:
        """The sentences of the model card that no measurement supplies."""
        counts = ", ".join(
            f"{name.replace('_', ' ')} {len(part):,} images of {part.patients:,} patients"
            for name, part in found.parts.items()
        )
        return Card(
            title=self.title,
            use="Scores a frontal chest radiograph of a child for pneumonia, to order a worklist or to suggest a "
            "second look. It is no diagnosis.",
            population=POPULATION,
            data="Kermany, Zhang, Goldbaum 2018 (Mendeley Data v2, CC BY 4.0), as 224 × 224 JPEG files: "
            f"{counts}. The patient is told by the file's name; no patient is in two parts of the train folder.",
            training=self.told,
            limits=self.limits,
        )


def refuse_unused(options) -> None:
    """Raise TrainingError for flags that no chest recipe honours. options: of `training.train.Options`."""
    if options.limit or options.seeds:
        raise TrainingError("--limit and --seeds are not for chest recipes: their parts are patients, with one seed")


def steps(side: int, channels: int = 1) -> tuple[dict, ...]:
    """The recipe of every chest bundle; the first four are what `hilum prepare` writes."""
    found = (
        {"op": "decode", "color": "gray"},
        {"op": "voi"},
        {"op": "resize", "width": side, "height": side, "filter": "bilinear_antialias"},
        {"op": "quantise8"},
        {"op": "scale", "factor": 1 / 255},
    )
    return found if channels == 1 else (*found, {"op": "replicate", "channels": channels})


def decide(scores: np.ndarray, labels: np.ndarray, calibrated_on: np.ndarray) -> dict:
    """Keys of `[postprocess]` by the rule of DECISION; scores are calibrated, of validation patients."""
    positive = np.sort(scores[labels == 1])
    threshold = float(positive[int(np.floor((1 - SENSITIVITY) * len(positive)))])
    low, high = abstain_band(scores, threshold)
    return {
        "threshold": _shown(threshold),
        "abstain": [_shown(low), _shown(high)],
        "training_prevalence": _shown(float(calibrated_on.mean())),
    }


def _shown(value: float) -> float:
    return float(f"{value:.6f}")


def quality(statistics: list[dict]) -> tuple[dict, ...]:
    """Gates that a photograph, a screenshot, a blank or a tiny image does not pass and no validation image fails."""
    source = f"half of the least of {len(statistics):,} {publish.HELD} images"
    least = {name: min(row[name] for row in statistics) for name in ("mean", "std", "p99")}
    gates = [{"statistic": name, "min": float(f"{value / 2:.3g}"), "source": source} for name, value in least.items()]
    gates += [
        {"statistic": side, "min": 160.0, "source": "smaller than any image of the collection"}
        for side in ("width", "height")
    ]
    gates.append({"statistic": "aspect", "min": 0.4, "max": 2.6, "source": "sides out of proportion for a chest"})
    gates.append({"statistic": "color", "max": 12.0, "source": "radiographs are grey"})
    return tuple(gates)
