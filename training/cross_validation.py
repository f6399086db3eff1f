"""Cross-validates the recipe of a bundle that is there, and writes what came of it into its evaluation and card.

The bundle's own weights are not touched: the folds' networks are thrown away.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from . import bundle, evaluation, recipes
from .errors import TrainingError
from .formats import amend


def cross_validate(folder: Path, data: Path, checkpoints: Path, epochs: int | None, crop: Path | None) -> dict:
    """Replace `folder` by the same with `cross_validation`, and with `crop_ablation` where a crop bundle is named.

    epochs: of each fold; None for the recipe's own. Returns evaluation.json.
    """
    from .chest import folds
    from .chest.recipe import ChestRecipe

    bundle.restore(folder)
    manifest, figures = evaluation.read_bundle(folder)
    recipe = recipes.recipe(f"{manifest['name']}-{manifest['version']}")
    if not isinstance(recipe, ChestRecipe):
        raise TrainingError(f"{folder}: only images with patients are cross-validated; {recipe.command} has none")
    if crop is not None and not (crop / "bundle.toml").is_file():
        raise TrainingError(f"{crop}: no bundle.toml; --crop names a segmentation bundle's folder")
    planned = getattr(getattr(recipe.train, "plan", None), "epochs", None)
    plain = folds.Setting(recipe, data, checkpoints, epochs or planned)
    found = plain.load()
    scored = folds.cross_validated(plain, found)
    figures["cross_validation"] = folds.document(plain, scored)
    if crop is not None:
        cropped = replace(plain, crop=folds.Crop(crop))
        figures["crop_ablation"] = folds.compared(scored, folds.cross_validated(cropped, cropped.load()), cropped)
    amend(folder, manifest, figures, recipe.card(found))
    return figures
