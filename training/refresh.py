"""Writes a bundle anew around the model.onnx that it has: new evidence, the same weights."""

from __future__ import annotations

from pathlib import Path

from . import bundle, evaluation, publish, recipes
from .data import hold_out_last
from .errors import TrainingError
from .provenance import Provenance


def refresh(folder: Path, data: Path) -> dict:
    """Replace `folder` by a bundle of the same model file; its evaluation.json.

    For bundles of plain scores: calibration and gate of the others belong to their export.
    """
    from .train import Chosen, publication

    bundle.restore(folder)
    manifest, committed = evaluation.read_bundle(folder)
    recipe = recipes.recipe(f"{manifest['name']}-{manifest['version']}")
    if recipe.calibration:
        raise TrainingError(f"{folder}: its recipe exports it together with its evidence; train it instead")
    if "training" not in committed:
        raise TrainingError(f"{folder}/evaluation.json: says nothing of the training, which the card tells")
    dataset = recipe.load(data)
    training, validation = hold_out_last(dataset.train, recipe.validation)
    version = manifest["version"]
    provenance = Provenance(**manifest["provenance"])
    commands = (
        f"python -m training {recipe.command} --data DIR --out models/{recipe.model}/{version}",
        f"python -m training evaluate models/{recipe.model}/{version} --data DIR",
    )
    chosen = Chosen(None, training, validation, None)
    told = (provenance, commands, committed["training"])
    made = publication(recipe, version, dataset, chosen, told, None)
    from dataclasses import replace

    made = replace(made, onnx=folder / manifest["model"]["file"], difference=committed["framework_max_difference"])
    return publish.publish(made, folder)
