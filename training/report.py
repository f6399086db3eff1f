"""Keeps the tables of docs/models.md equal to the bundles' evaluation.json: a figure stands in one place only.

A table stands between `<!-- KIND NAME -->` and `<!-- end -->`; what is written around it is left alone. Kinds:
`figures` of a model; `cross_validation` and `crop_ablation` of a bundle; `decisions`, `gates` and `formats` of `every`
bundle.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
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
_STRANGERS = {
    "uniform noise": "noise",
    "blank, 11 grey levels": "blank",
    "MNIST": "digits",
    "CIFAR-10": "CIFAR-10",
    "crops of two colour photographs": "photographs",
    "chest radiographs": "radiographs",
    "own test images, inverted": "own, inverted",
    "own test images, turned by 90°": "turned by 90°",
    "own test images, turned by 180°": "by 180°",
    "own test images, pixels shuffled": "shuffled",
}
_KINDS = "figures|cross_validation|crop_ablation|decisions|gates|formats"
_MARKS = re.compile(rf"(<!-- ({_KINDS}) ([a-z0-9_/]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(text: str, models: Path = _ROOT / "models") -> str:
    """The document with every table made anew."""

    def table(mark: re.Match) -> str:
        kind, name = mark[2], mark[3]
        if kind == "figures":
            made = figures(name, models)
        elif of_every := {"decisions": decisions, "gates": gates, "formats": formats}.get(kind):
            made = of_every(models)
        else:
            made = spread(kind, models / name)
        return mark[1] + made + mark[4]

    return _MARKS.sub(table, text)


def figures(model: str, models: Path) -> str:
    """A row a version, data set and metric: value, 95 % interval, n; below it what repeats them."""
    lines, commands = ["| bundle | data | metric | value | 95 % interval | n |", "|---|---|---|---:|---|---:|"], []
    for name, _, evaluation in _bundles(models, model):
        for entry in evaluation["datasets"]:
            for metric in entry["metrics"]:
                if metric["name"] in _SHOWN:
                    low, high = metric["interval"]
                    lines.append(
                        f"| {name} | {entry['name']} | {_SHOWN[metric['name']]} | {metric['value']:.4f} | "
                        f"{low:.4f} to {high:.4f} | {metric['n']:,} |"
                    )
        commands.append(evaluation["command"])
    if not commands:
        raise TrainingError(f"{models / model}: no bundle there; remove its table from {DOCUMENT.name}")
    return "\n".join(lines) + "\n\n```sh\n" + "\n".join(commands) + "\n```\n"


def spread(kind: str, folder: Path) -> str:
    """The folds of `cross_validation` or `crop_ablation` of the bundle in `folder`."""
    found = json.loads((folder / "evaluation.json").read_text(encoding="utf-8")).get(kind)
    if found is None:
        raise TrainingError(f"{folder}: its evaluation.json has no {kind}; `python -m training folds` makes it")
    return card.fold_table(found) + "\n"


def decisions(models: Path) -> str:
    """A row a classifier and data set: where it decides, how much it leaves open, and what is right of the rest."""
    lines = ["| bundle | data | threshold | abstains in | abstained | accuracy of the others | of all | n |"]
    lines.append("|---|---|---:|---|---:|---:|---:|---:|")
    for name, manifest, evaluation in _bundles(models):
        post = manifest.get("postprocess", {})
        band = " to ".join(f"{bound:.4f}" for bound in post.get("abstain", []))
        for entry in evaluation["datasets"]:
            if unsure := entry.get("abstained"):
                others, all_ = unsure["accuracy_of_the_others"], entry["metrics"][0]["value"]
                lines.append(
                    f"| {name} | {entry['name']} | {post.get('threshold', 0.5):.4f} | {band} | {unsure['share']:.3f} | "
                    f"{'' if others is None else f'{others:.4f}'} | {all_:.4f} | {entry['n']:,} |"
                )
    return "\n".join(lines) + "\n"


def gates(models: Path) -> str:
    """A row a bundle with a gate: the share refused of each set of strangers, and of its own images."""
    lines = [f"| bundle | {' | '.join(_STRANGERS.values())} | own test images |"]
    lines.append("|---|" + "---:|" * (len(_STRANGERS) + 1))
    for name, _, evaluation in _bundles(models):
        if tried := evaluation.get("out_of_distribution", {}).get("tried"):
            shares = {row["name"]: f"{row['refused']:.3f}" for row in tried}
            own = evaluation["datasets"][0]["refused"]["share"]
            lines.append(f"| {name} | {' | '.join(shares.get(of, '') for of in _STRANGERS)} | {own:.3f} |")
    return "\n".join(lines) + "\n"


def formats(models: Path) -> str:
    """A row a bundle and number format that was tried."""
    lines = ["| bundle | format | bytes | fp32 | largest score difference | CPU time | figures outside | ships |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|---|")
    for name, manifest, evaluation in _bundles(models):
        for kind, row in evaluation.get("formats_tried", {}).items():
            if "failed" in row:
                lines.append(f"| {name} | {kind} | failed | | | | | |")
                continue
            lines.append(
                f"| {name} | {kind} | {row['bytes']:,} | {row['fp32_bytes']:,} | "
                f"{row['largest_score_difference']:.1e} | {row['cpu_time_over_fp32']} × | {len(row['outside'])} | "
                f"{'yes' if manifest['model']['precision'] == kind else ''} |"
            )
    return "\n".join(lines) + "\n"


def _bundles(models: Path, model: str = "*") -> Iterator[tuple[str, dict, dict]]:
    """Name, bundle.toml and evaluation.json of every version, in order."""
    folders = [path for path in models.glob(f"{model}/[0-9]*") if path.is_dir()]
    for folder in sorted(folders, key=lambda path: (path.parent.name, int(path.name))):
        manifest = tomllib.loads((folder / "bundle.toml").read_text(encoding="utf-8"))
        evaluation = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        yield f"{manifest['name']}/{manifest['version']}", manifest, evaluation


def write(document: Path = DOCUMENT) -> None:
    """Rewrite the document's tables in place."""
    try:
        document.write_text(render(document.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
    except OSError as error:
        raise TrainingError(f"{document}: cannot be rewritten ({error.strerror})") from error
