"""A bundle's worst mistakes as sheets of pictures with heat maps, painted on demand from a user's data folder.

The repository holds no image of any data set; these sheets do, and belong where the data is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from . import bundle, evaluation, model_file, recipes
from .data import Split
from .errors import TrainingError

COUNT = 12
# Sides in pixels of a picture on the sheet, its gap, and the line of text below it.
_TILE, _GAP, _TEXT = 224, 6, 30
_COLUMNS = 4
_OPACITY = 0.65
# Ten points of matplotlib's plasma (van der Walt and Smith 2015), evenly spaced; between them a line is near enough.
_PLASMA = np.array([
    [13, 8, 135], [70, 3, 159], [114, 1, 168], [156, 23, 158], [189, 55, 134],
    [216, 87, 107], [237, 121, 83], [251, 159, 58], [253, 202, 38], [240, 249, 33],
], float)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One row that was answered wrongly: what it is, what was said, and how sure (calibrated score of `predicted`)."""

    row: int
    truth: str
    predicted: str
    score: float
    unit: str
    group: str
    refused: bool


def worst(answers: evaluation.Answers, labels: list[str], binary: bool, count: int) -> dict[str, list[Case]]:
    """Cases by sheet, the surest mistake first: false positives and false negatives, of several classes all in one."""
    scored = answers.scored
    sure = scored.calibrated[np.arange(len(scored.labels)), scored.predicted]
    wrong = np.flatnonzero(scored.predicted != scored.labels)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")]
    kinds = {"mistakes": wrong}
    if binary:
        said = scored.predicted[wrong]
        kinds = {"false positives": wrong[said == 1], "false negatives": wrong[said == 0]}
    return {
        kind: [_case(answers, labels, int(row), float(sure[row])) for row in rows[:count]]
        for kind, rows in kinds.items()
    }


def _case(answers: evaluation.Answers, labels: list[str], row: int, sure: float) -> Case:
    rows, scored = answers.rows, answers.scored
    return Case(
        row=row,
        truth=labels[scored.labels[row]],
        predicted=labels[scored.predicted[row]],
        score=sure,
        unit="" if rows.units is None else str(rows.units[row]),
        group="" if rows.groups is None else str(rows.groups[row]),
        refused=bool(answers.refused[row]),
    )


def failures(folder: Path, data: Path, to: Path, count: int = COUNT) -> list[Path]:
    """Write a sheet a kind of mistake and measured part, and `failures.json`; the files written.

    Maps explain the positive class, of several the one that was said. A bundle without maps gets plain pictures, a
    segmentation sheets of its masks: right or wrong is for the eye to say there.
    """
    manifest, _ = evaluation.read_bundle(folder)
    if manifest["task"] == "segmentation":
        from .chest import lung_recipe

        return lung_recipe.sheets(folder, manifest, data, to, Path(".checkpoints/prepared"))
    model, labels = folder / manifest["model"]["file"], manifest["labels"]
    if manifest["task"] not in ("binary", "multiclass"):
        raise TrainingError(f"{folder}: its task is {manifest['task']}; only a classifier's answers are right or wrong")
    rule, written, listed = evaluation.Rule.of(manifest), [], []
    to.mkdir(parents=True, exist_ok=True)
    for name, split in recipes.dataset(manifest, data).measured().items():
        answers = evaluation.answer(model, evaluation.canonical(split), rule)
        for kind, cases in worst(answers, labels, rule.binary, count).items():
            listed += [{"data": name, "kind": kind} | vars(case) for case in cases]
            if cases:
                explained = [1 if rule.binary else labels.index(case.predicted) for case in cases]
                painted = sheet(model, answers.rows, cases, explained)
                written.append(to / f"{name} {kind}.png".replace(" ", "-").replace(",", ""))
                painted.save(written[-1])
    written.append(to / "failures.json")
    bundle.write(written[-1], bundle.to_json({"bundle": f"{manifest['name']}/{manifest['version']}", "cases": listed}))
    return written


def sheet(model: Path, rows: Split, cases: list[Case], explained: list[int]) -> Image.Image:
    """Each case as the network saw it, beside it the same under its map (if the model gives maps), below it words."""
    images = rows.images[[case.row for case in cases]]
    maps = None
    if "cam" in model_file.output_shapes(model):
        maps = model_file.run_all(model, images, ("cam",))["cam"][np.arange(len(cases)), explained]
    wide = _TILE * (1 if maps is None else 2) + _GAP
    high = _TILE + _TEXT
    across = min(_COLUMNS, len(cases))
    whole = Image.new("RGB", (across * wide, -(-len(cases) // across) * high), "white")
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(11)
    for at, case in enumerate(cases):
        left, top = at % across * wide, at // across * high
        pixels = plain(images[at])
        whole.paste(_fitted(pixels), (left, top))
        if maps is not None:
            whole.paste(_fitted(overlay(pixels, maps[at])), (left + _TILE, top))
        told = f"{case.predicted} {case.score:.3f}, truth {case.truth}{', refused' if case.refused else ''}"
        draw.text((left + 2, top + _TILE + 1), told, fill="black", font=font)
        beside = " ".join(part for part in (case.unit, case.group) if part)
        zero = maps is not None and not maps[at].max() > 0
        draw.text((left + 2, top + _TILE + 14), beside + ("  map: zero" if zero else ""), fill="black", font=font)
    return whole


def plain(image: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] of float32 [1 or 3, h, w] in [0, 1]."""
    levels = np.rint(image * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(levels, (3, *image.shape[1:])).transpose(1, 2, 0))


def overlay(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] under a map [y, x], relative to the map's largest value; a zero map changes nothing."""
    high, width = pixels.shape[:2]
    if not heat.max() > 0:
        return pixels
    scaled = Image.fromarray((heat / heat.max()).astype(np.float32)).resize((width, high), Image.Resampling.BILINEAR)
    share = np.clip(np.asarray(scaled), 0, 1)
    places = np.linspace(0, 1, len(_PLASMA))
    colours = np.stack([np.interp(share, places, _PLASMA[:, channel]) for channel in range(3)], axis=-1)
    opacity = (_OPACITY * share)[..., None]
    return np.rint(pixels * (1 - opacity) + colours * opacity).astype(np.uint8)


def _fitted(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels).resize((_TILE, _TILE), Image.Resampling.NEAREST)
