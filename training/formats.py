"""Tries smaller number formats of a bundle that is there, and writes what came of it into its evaluation and card.

The model file stays as it is; only evaluation.json, MODEL_CARD.md and SHA256SUMS are written anew.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from . import bundle, card, evaluation, precision, recipes
from .data import Split, hold_out_last
from .errors import TrainingError
from .recipe import Card, Recipe


def formats(folder: Path, data: Path, work: Path = Path(".checkpoints/prepared")) -> dict:
    """Replace `folder` by the same with `formats_tried`; that part of evaluation.json."""
    bundle.restore(folder)
    manifest, figures = evaluation.read_bundle(folder)
    recipe = recipes.recipe(f"{manifest['name']}-{manifest['version']}")
    if manifest["task"] not in ("binary", "multiclass") or getattr(recipe, "calibration", 1) == 0:
        raise TrainingError(f"{folder}: no calibration rows, from which static int8 takes its ranges")
    # From fp16 weights there is no way back: what they came to was stated when fp32 was at hand.
    halved = manifest["model"]["precision"] == precision.FP16
    kept = figures.get("formats_tried", {}) if halved else {}
    if halved and precision.FP16 not in kept:
        raise TrainingError(f"{folder}: holds fp16 weights and does not state what they came to; train it anew")
    calibration, measured, told = _rows(recipe, data, work)
    rule, model = evaluation.Rule.of(manifest), folder / manifest["model"]["file"]
    entries = figures["datasets"]
    if missing := [entry["name"] for entry in entries if entry["name"] not in measured]:
        raise TrainingError(f"{data}: holds no {missing[0]!r}, only {', '.join(measured)}")
    names = (precision.INT8,) if halved else (precision.FP16, precision.INT8)
    found = precision.try_formats(model, calibration, measured, rule, entries, names)
    if halved and "failed" not in found[precision.INT8]:
        found[precision.INT8]["fp32_bytes"] = kept[precision.FP16]["fp32_bytes"]
    figures["formats_tried"] = kept | found
    amend(folder, manifest, figures, told)
    return figures["formats_tried"]


def amend(folder: Path, manifest: dict, figures: dict, told: Card) -> None:
    """Write evaluation.json, the card and the digests of `folder` anew, with these figures; the rest stays."""
    name, version = manifest["name"], manifest["version"]
    train = f"python -m training {name}-{version} --data DIR --out models/{name}/{version}"
    model = folder / manifest["model"]["file"]
    with bundle.staged(folder) as aside:
        shutil.copytree(folder, aside, dirs_exist_ok=True)
        bundle.write(aside / "evaluation.json", bundle.to_json(figures))
        bundle.write(aside / "MODEL_CARD.md", card.render(told, manifest, figures, (train, figures["command"]), model))
        bundle.write_sums(aside)


def _rows(recipe, data: Path, work: Path) -> tuple[Split, dict[str, Split], Card]:
    """Calibration rows, the parts measured, and the recipe's card."""
    if isinstance(recipe, Recipe):
        dataset = recipe.load(data)
        _, held = hold_out_last(dataset.train, recipe.validation)
        return hold_out_last(held, recipe.calibration)[1], dataset.measured(), recipe.card
    from .chest import collection

    found = collection.load(data, recipe.steps[:4], work / f"chest-{recipe.side}")
    return found.parts["calibration"].split(recipe.channels), found.measured(recipe.channels), recipe.card(found)
