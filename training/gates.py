"""Repeats what a bundle's gate refuses of other images, against its evaluation.json."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import evaluation, model_file, strangers
from .errors import TrainingError


def refused(folder: Path, manifest: dict, tried: list[dict], own: np.ndarray, collections: Path) -> list[str]:
    """A line for each set whose share is no longer the committed one; a single image may lie on either side.

    tried: of `out_of_distribution`. own: test images of the model's data. collections: as the recipe's `--strangers`.
    """
    rule, model, found = evaluation.Rule.of(manifest), folder / manifest["model"]["file"], []
    sets = _sets(manifest, own, collections)
    if missing := [row["name"] for row in tried if row["name"] not in sets]:
        raise TrainingError(f"{collections}: holds no images for {missing[0]!r}, which the gate was tried against")
    for row in tried:
        images = sets[row["name"]]
        share = float((model_file.run_all(model, images, ("ood",))["ood"].reshape(-1) > rule.gate).mean())
        print(f"  refused of {row['name']:<46} {share:.3f}  n = {len(images)}")
        if len(images) != row["n"] or abs(share - row["refused"]) > 1.5 / row["n"]:
            found.append(f"refused of {row['name']}: committed {row['refused']} of {row['n']}, now {share}")
    return found


def _sets(manifest: dict, own: np.ndarray, collections: Path) -> dict[str, np.ndarray]:
    if manifest["name"] != "pneumonia":
        return strangers.strangers(manifest["name"], own, collections)
    from .chest.strangers import sets

    # What `hilum prepare` writes is the fourth step's; the others make it a tensor.
    steps, side = tuple(manifest["preprocess"]["step"][:4]), manifest["model"]["input"][0]["shape"][-1]
    return sets(own, collections, steps, Path(f".checkpoints/prepared/originals-{side}"))
