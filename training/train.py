"""One recipe from data to bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import bundle, fit, publish, tracking
from .data import Dataset, Split, check_rows, hold_out_last
from .learners import Learner, threads
from .provenance import Provenance, code_commit
from .recipe import Recipe


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
    train_only: bool = False
    strangers: Path | None = None


def train(recipe: Recipe, options: Options) -> dict | None:
    """Train, choose, export, measure and write the bundle; returns evaluation.json.

    With `train_only` it ends before the export, None: the checkpoint is there for the next call.
    """
    if not isinstance(recipe, Recipe):
        # Chest recipes have parts of patients and publish by the same `publish`.
        return recipe.build(options)
    # Before anything slow: a wrong target should not cost a training run.
    version = bundle.target(options.out, recipe.model, options.replace)
    # Now, because the files may be edited while it trains; the code that runs was read by then.
    commit = code_commit()
    dataset = recipe.load(options.data)
    training, held = hold_out_last(dataset.train.take(slice(options.limit)), recipe.validation)
    validation, calibration = hold_out_last(held, recipe.calibration)
    parts = {"training": training, "validation": validation, "test": dataset.test}
    parts |= {"calibration": calibration} if recipe.calibration else {}
    check_rows(parts, recipe.batch_size, len(recipe.labels))
    seeds, epochs = options.seeds or recipe.seeds, options.epochs or recipe.epochs
    with tracking.run(recipe.command, options.checkpoints / "mlruns") as run:
        run.parameters({"seeds": seeds, "epochs": epochs, "batch_size": recipe.batch_size, "data": dataset.digest})
        runs = fit.train_seeds(recipe, training, validation, dataset.digest, seeds, epochs, options.checkpoints, run)
        if options.train_only:
            return None
        commands = (
            f"python -m training {recipe.command} --data DIR --out models/{recipe.model}/{version}",
            f"python -m training evaluate models/{recipe.model}/{version} --data DIR",
        )
        best = runs[0]
        provenance = Provenance(
            data_digest=dataset.digest,
            code_commit=commit,
            date=bundle.today(),
            seed=best.seed,
            framework=best.learner.framework,
            mlflow_run=run.id,
            previous_version=options.previous_version or recipe.previous_version,
        )
        rows = (len(training), len(validation), len(calibration) if recipe.calibration else 0)
        story = {"sentences": sentences(recipe, runs, rows, epochs), "seeds": [seed_row(one) for one in runs]}
        chosen = Chosen(best.learner, training, validation, calibration if recipe.calibration else None)
        made = publication(recipe, version, dataset, chosen, (provenance, commands, story), options.strangers)
        figures = publish.publish(made, options.out)
        for metric in figures["datasets"][0]["metrics"]:
            run.figure(metric["name"], metric["value"])
    fit.forget(recipe, options.checkpoints)
    return figures


@dataclass(frozen=True)
class Chosen:
    """The learner of the best seed (None: the ONNX file is there already) and the rows it was made with."""

    learner: Learner | None
    training: Split
    validation: Split
    calibration: Split | None


def publication(
    recipe: Recipe, version: str, dataset: Dataset, chosen: Chosen, told: tuple, strangers: Path | None
) -> publish.Publication:
    """What `publish` needs of an image classifier's recipe. told: provenance, commands and the training's story."""
    from .graphs import graph_of
    from .prepared import through_recipe
    from .strangers import strangers as others

    provenance, commands, story = told
    statistics = None
    if recipe.preprocess:
        held = [part.images for part in (chosen.validation, chosen.calibration) if part is not None]
        images = np.concatenate(held)
        seen, statistics = through_recipe(images, recipe.preprocess)
        story = story | {"recipe_max_difference": float(np.abs(seen - images).max())}
    plain = chosen.calibration is None
    graph = None if chosen.learner is None else plain_graph(chosen.learner) if plain else graph_of(chosen.learner)
    return publish.Publication(
        model=recipe.model,
        version=version,
        labels=recipe.labels,
        image_shape=recipe.image_shape,
        preprocess=recipe.preprocess,
        batching=recipe.batching,
        card=recipe.card,
        provenance=provenance,
        commands=commands,
        graph=graph,
        rows=publish.Rows(chosen.training, chosen.validation, chosen.calibration, dataset.measured(), statistics),
        training=story,
        strangers={} if strangers is None else others(recipe.model, dataset.test.images, strangers),
    )


def plain_graph(learner: Learner):
    """The learner's module as a graph of scores alone."""
    from .heads import ScoresOnly

    return ScoresOnly(learner.module())


def seed_row(run: fit.Trained) -> dict:
    """One seed's line in evaluation.json."""
    return {"seed": run.seed, "accuracy": run.accuracy, "log_loss": run.log_loss, "seconds": round(run.seconds, 1)}


def sentences(recipe: Recipe, runs: list[fit.Trained], rows: tuple[int, int, int], epochs: int) -> list[str]:
    """How it was trained, for the card."""
    best = runs[0]
    plural = f"{epochs} epochs" if epochs > 1 else "1 epoch"
    workers = f"{threads()} threads" if threads() > 1 else "1 thread"
    held = f"{rows[1]:,} validated" + (f", {rows[2]:,} calibrated" if rows[2] else "")
    return [
        f"{recipe.card.training} Batch size {recipe.batch_size}, {plural} over {rows[0]:,} images; of the training "
        f"file's last rows {held}. {best.learner.framework}; {best.seconds:.0f} s on a shared CPU with {workers}.",
        "One seed was trained."
        if len(runs) == 1
        else f"{len(runs)} seeds were trained. The bundle is the one with the best validation accuracy (at a tie the "
        "lowest log loss); the test images were looked at only after that choice.",
    ]
