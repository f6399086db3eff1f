"""Repeats what a bundle's gate refuses of other images, against its evaluation.json."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import evaluation, model_file, recipes, strangers
from .errors import TrainingError


def refused(folder: Path, manifest: dict, tried: list[dict], own: np.ndarray, collections: Path) -> list[str]:
    """A line for each set whose share is no longer the committed one; a single image may lie on either side.

    tried: of `out_of_distribution`. own: test images of the model's data. collections: as the recipe's `--strangers`.
    """
    rule, model, found = evaluation.Rule.of(manifest), folder / manifest["model"]["file"], []
    sets = _sets(manifest, own, collections)
    for row in tried:
        if (images := sets.get(row["name"])) is None:
            raise TrainingError(f"{collections}: holds no images for {row['name']!r}, which the gate was tried against")
        share = float((model_file.run_all(model, images, ("ood",))["ood"].reshape(-1) > rule.gate).mean())
        print(f"  refused of {row['name']:<46} {share:.3f}  n = {len(images)}")
        if len(images) != row["n"] or abs(share - row["refused"]) > 1.5 / row["n"]:
            found.append(f"refused of {row['name']}: committed {row['refused']} of {row['n']}, now {share}")
    return found


def _sets(manifest: dict, own: np.ndarray, collections: Path) -> dict[str, np.ndarray]:
    if manifest["name"] != "pneumonia":
        return strangers.strangers(manifest["name"], own, collections)
    from .chest.strangers import sets

    recipe = recipes.recipe(f"{manifest['name']}-{manifest['version']}")
    return sets(own, collections, recipe.steps[:4], Path(f".checkpoints/prepared/originals-{recipe.side}"))
