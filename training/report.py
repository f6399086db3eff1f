"""Keeps the tables of docs/models.md equal to the bundles' evaluation.json: a figure stands in one place only.

A table stands between `<!-- figures NAME -->` (or `<!-- cross_validation BUNDLE -->`) and `<!-- end -->`; what is
written around it is left alone.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from . import card
from .errors import TrainingError

_ROOT = Path(__file__).parents[1]
DOCUMENT = _ROOT / "docs" / "models.md"
_SHOWN = {
    "accuracy": "accuracy",
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC",
    "sensitivity_at_95_specificity": "sensitivity at 95 % specificity",
    "f1": "F1",
    "brier": "Brier",
    "ece": "ECE",
    "ece_calibrated": "ECE, calibrated",
    "dice_with_the_classical_mask": "Dice with the classical mask",
    "both_lungs_found, NORMAL": "both lungs found, NORMAL",
    "both_lungs_found, PNEUMONIA": "both lungs found, PNEUMONIA",
    "both_lungs_found_classically, NORMAL": "both found by the classical method, NORMAL",
    "both_lungs_found_classically, PNEUMONIA": "both found by the classical method, PNEUMONIA",
}
_FOLDS = re.compile(r"(<!-- (cross_validation|crop_ablation) ([a-z0-9_/]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_MARKS = re.compile(r"(<!-- figures ([a-z0-9_]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(text: str, models: Path = _ROOT / "models") -> str:
    """The document with every table made anew."""
    text = _MARKS.sub(lambda mark: mark[1] + table(mark[2], models) + mark[3], text)
    return _FOLDS.sub(lambda mark: mark[1] + spread(mark[2], models / mark[3]) + mark[4], text)


def spread(kind: str, folder: Path) -> str:
    """The folds of `cross_validation` or `crop_ablation` of the bundle in `folder`."""
    found = json.loads((folder / "evaluation.json").read_text(encoding="utf-8")).get(kind)
    if found is None:
        raise TrainingError(f"{folder}: its evaluation.json has no {kind}; `python -m training folds` makes it")
    return card.fold_table(found) + "\n"


def table(model: str, models: Path) -> str:
    """A row a version, data set and metric: value, 95 % interval, n; below it what repeats them."""
    folders = sorted((path for path in (models / model).glob("[0-9]*")), key=lambda path: int(path.name))
    if not folders:
        raise TrainingError(f"{models / model}: no bundle there; remove its table from {DOCUMENT.name}")
    lines, commands = ["| bundle | data | metric | value | 95 % interval | n |", "|---|---|---|---:|---|---:|"], []
    for folder in folders:
        evaluation = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        version = tomllib.loads((folder / "bundle.toml").read_text(encoding="utf-8"))["version"]
        for entry in evaluation["datasets"]:
            for metric in entry["metrics"]:
                if metric["name"] in _SHOWN:
                    low, high = metric["interval"]
                    lines.append(
                        f"| {model}/{version} | {entry['name']} | {_SHOWN[metric['name']]} | {metric['value']:.4f} | "
                        f"{low:.4f} to {high:.4f} | {metric['n']:,} |"
                    )
        commands.append(evaluation["command"])
    return "\n".join(lines) + "\n\n```sh\n" + "\n".join(commands) + "\n```\n"


def write(document: Path = DOCUMENT) -> None:
    """Rewrite the document's tables in place."""
    try:
        document.write_text(render(document.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
    except OSError as error:
        raise TrainingError(f"{document}: cannot be rewritten ({error.strerror})") from error
