"""One recipe from data to bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import bundle, card, evaluation, fit, goldens, model_file
from .data import Split, hold_out_last
from .errors import TrainingError
from .learners import Learner, threads
from .provenance import Provenance, code_commit
from .recipe import Recipe

# Rows on which framework and ONNX file are compared, and the difference from which the export counts as wrong.
_COMPARED = 256
_EXPORT_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Options:
    """The command line's flags; None stands for the recipe's own value."""

    data: Path
    out: Path
    checkpoints: Path
    replace: bool
    seeds: tuple[int, ...] | None
    epochs: int | None
    limit: int | None
    previous_version: str | None


def train(recipe: Recipe, options: Options) -> dict:
    """Train, choose, export, measure and write the bundle; returns evaluation.json's entry for the test images."""
    # Before anything slow: a wrong target should not cost a training run.
    version = bundle.target(options.out, recipe.model, options.replace)
    # Now, because the files may be edited while it trains; the code that runs was read by then.
    commit = code_commit()
    dataset = recipe.load(options.data)
    rows = dataset.train.take(slice(options.limit))
    training, validation = hold_out_last(rows, recipe.validation)
    seeds, epochs = options.seeds or recipe.seeds, options.epochs or recipe.epochs
    runs = fit.train_seeds(recipe, training, validation, dataset.digest, seeds, epochs, options.checkpoints)
    best = runs[0]

    commands = (
        f"python -m training {recipe.command} --data DIR --out models/{recipe.model}/{version}",
        f"python -m training evaluate models/{recipe.model}/{version} --data DIR",
    )
    provenance = Provenance(
        data_digest=dataset.digest,
        code_commit=commit,
        date=bundle.today(),
        seed=best.seed,
        framework=best.learner.framework,
        previous_version=options.previous_version or recipe.previous_version,
    )
    with bundle.staged(options.out) as folder:
        model = folder / "model.onnx"
        model_file.export(best.learner.module(), recipe.interface, model)
        difference = compare(best.learner, model, dataset.test)
        entry = evaluation.evaluate(model, dataset.test, f"{dataset.name} test")
        figures = evaluation.document(entry, commands[1], difference)
        story = card.Story(
            recipe, version, runs, (len(training), len(validation)), epochs, threads(), figures, provenance, commands
        )
        manifest = bundle.manifest(recipe, version, model, provenance)
        bundle.validate(manifest)
        golden = goldens.goldens(model, recipe.image_shape, commands[0])
        _write(folder / "bundle.toml", bundle.to_toml(manifest))
        _write(folder / "evaluation.json", bundle.to_json(figures))
        _write(folder / "goldens.json", bundle.to_json(golden))
        _write(folder / "MODEL_CARD.md", card.render(story, model))
        bundle.write_sums(folder)
    fit.forget(recipe, options.checkpoints)
    return entry


def compare(learner: Learner, model: Path, test: Split) -> dict:
    """The largest difference between the framework's probabilities and the ONNX file's on some test images."""
    images = test.images[:_COMPARED]
    largest = float(np.abs(learner.probabilities(images) - model_file.run(model, images)).max())
    if not largest <= _EXPORT_TOLERANCE:
        raise TrainingError(f"the exported model differs from the framework's by {largest:.1e}; the export is wrong")
    return {"probabilities": largest, "n": len(images), "framework": learner.framework}


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
