"""Measures a bundle's ONNX file, as it will be served, and checks committed figures against a new measurement."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import calibration, metrics, model_file
from .data import Split
from .errors import NotRepeated, TrainingError

# The bootstrap and the sums are exact on one machine; other CPUs round the model's scores differently.
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Rule:
    """How outputs become an answer: the manifest's task, `[postprocess]` and the gate of `[reject]`."""

    binary: bool
    calibration: dict | None = None
    threshold: float = 0.5
    abstain: tuple[float, float] | None = None
    gate: float | None = None

    @staticmethod
    def of(manifest: dict) -> Rule:
        """As a manifest says it."""
        post, reject = manifest.get("postprocess", {}), manifest.get("reject", {})
        gate = reject.get("ood", {}).get("threshold")
        band = tuple(post["abstain"]) if "abstain" in post else None
        return Rule(manifest["task"] == "binary", post.get("calibration"), post.get("threshold", 0.5), band, gate)

    def abstains(self, calibrated: np.ndarray) -> np.ndarray:
        """Which rows the service leaves open, bool [n], of calibrated scores [n, k]: `interpret` in src/pipeline."""
        judged = calibrated[:, 1] if self.binary else calibrated.max(axis=1)
        unsure = np.zeros(len(judged), bool) if self.binary else ~(judged >= self.threshold)
        return unsure if self.abstain is None else unsure | ((judged >= self.abstain[0]) & (judged <= self.abstain[1]))


@dataclass(frozen=True)
class Answers:
    """Outputs of a model by ONNX Runtime under a rule, with the rows they answer."""

    rows: Split
    scored: metrics.Scored
    distance: np.ndarray | None
    refused: np.ndarray
    abstained: np.ndarray


def canonical(split: Split) -> Split:
    """The rows in an order that depends on their contents only.

    MNIST circulates in more than one order; bootstrap intervals must not depend on it.
    """
    images = np.ascontiguousarray(split.images)
    keys = [hashlib.sha256(image.tobytes() + bytes([label])).digest() for image, label in zip(images, split.labels)]
    return split.take(np.array(sorted(range(len(keys)), key=keys.__getitem__)))


def answer(model: Path, rows: Split, rule: Rule) -> Answers:
    """Run the model over rows in their order."""
    names = tuple(name for name in model_file.output_shapes(model) if name in ("probabilities", "logits", "ood"))
    outputs = model_file.run_all(model, rows.images, names)
    raw = outputs["probabilities"]
    calibrated = calibration.calibrated(raw, outputs.get("logits"), rule.calibration, rule.binary)
    calibrated = raw if rule.calibration is None else calibrated
    predicted = (calibrated[:, 1] >= rule.threshold).astype(int) if rule.binary else calibrated.argmax(axis=1)
    distance = outputs["ood"].reshape(-1) if "ood" in outputs else None
    refused = np.zeros(len(rows), bool) if rule.gate is None else ~(distance <= rule.gate)
    scored = metrics.Scored(raw, calibrated, predicted, rows.labels, rows.unit_numbers())
    return Answers(rows, scored, distance, refused, rule.abstains(calibrated))


def evaluate(model: Path, split: Split, name: str, rule: Rule) -> tuple[dict, Answers]:
    """One entry of `datasets` in evaluation.json, and the answers it was made from.

    Refused rows count in every figure: a gate must not be able to improve them.
    """
    answers = answer(model, canonical(split), rule)
    scored = answers.scored
    entry = {
        "name": name,
        "n": len(answers.rows),
        "units": int(scored.units.max()) + 1,
        "metrics": metrics.measure(scored),
        "confusion_matrix": metrics.confusion_matrix(scored.predicted, scored.labels, scored.raw.shape[1]).tolist(),
        "abstained": _abstained(answers),
    }
    if rule.gate is not None:
        entry["refused"] = {"n": int(answers.refused.sum()), "share": float(answers.refused.mean())}
    if answers.rows.groups is not None:
        entry["subgroups"] = _subgroups(answers)
    return entry, answers


def _abstained(answers: Answers) -> dict:
    """How many rows get no decision, and how many of the others a right label."""
    unsure, right = answers.abstained, answers.scored.predicted == answers.scored.labels
    others = float(right[~unsure].mean()) if not unsure.all() else None
    return {"n": int(unsure.sum()), "share": float(unsure.mean()), "accuracy_of_the_others": others}


def _subgroups(answers: Answers) -> list[dict]:
    """Of each group the share that is right; of a group of positives its ROC-AUC against all negatives too."""
    found = []
    scored, groups = answers.scored, answers.rows.groups
    for name in np.unique(groups).tolist():
        rows = groups == name
        wanted = ["accuracy"]
        if scored.raw.shape[1] == 2 and (scored.labels[rows] == 1).all():
            rows, wanted = rows | (scored.labels == 0), ["roc_auc", "sensitivity_at_95_specificity"]
        figures = [figure for figure in metrics.measure(scored.take(rows)) if figure["name"] in wanted]
        found.append({"name": name, "n": int((groups == name).sum()), "metrics": figures})
    return found


def document(entries: list[dict], command: str, difference: dict, more: dict | None = None) -> dict:
    """The whole of evaluation.json; `more` is what is stated beside the figures."""
    return {
        "schema": 1,
        "datasets": entries,
        "interval": f"95 % percentile bootstrap over units, {metrics.RESAMPLES} resamples, "
        f"seed {metrics.BOOTSTRAP_SEED}",
        "command": command,
        "framework_max_difference": difference,
    } | (more or {})


def read_bundle(folder: Path) -> tuple[dict, dict]:
    """Manifest and evaluation of a bundle; the model file is checked against the manifest's digest."""
    try:
        manifest = tomllib.loads((folder / "bundle.toml").read_text(encoding="utf-8"))
        committed = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        model = (folder / manifest["model"]["file"]).read_bytes()
        stated = manifest["model"]["sha256"]
    except OSError as error:
        raise TrainingError(f"{folder}: not a bundle, {Path(error.filename).name} cannot be read") from error
    except (ValueError, KeyError) as error:
        raise TrainingError(f"{folder}: damaged bundle ({error})") from error
    if hashlib.sha256(model).hexdigest() != stated:
        raise NotRepeated(
            f"{folder}: {manifest['model']['file']} is not the file that bundle.toml names by its SHA-256"
        )
    return manifest, committed


def differences(committed: dict, measured: dict) -> list[str]:
    """What does not agree between two entries of `datasets`, a line each; empty when the figures repeat."""
    found = []
    # A bundle of an earlier version of this program does not say what it leaves open.
    for key in ("n", "units", "refused", *(["abstained"] if "abstained" in committed else [])):
        if committed.get(key) != measured.get(key):
            found.append(f"{key}: committed {committed.get(key)}, now {measured.get(key)}")
    if committed["confusion_matrix"] != measured["confusion_matrix"]:
        found.append("the confusion matrix differs")
    found += _metric_differences(committed["metrics"], measured["metrics"])
    for old, now in zip(committed.get("subgroups", []), measured.get("subgroups", [])):
        found += [f"{old['name']}: {line}" for line in _metric_differences(old["metrics"], now["metrics"])]
    if len(committed.get("subgroups", [])) != len(measured.get("subgroups", [])):
        found.append("the subgroups differ")
    return found


def _metric_differences(committed: list[dict], measured: list[dict]) -> list[str]:
    new = {metric["name"]: metric for metric in measured}
    if (names := [metric["name"] for metric in committed]) != list(new):
        return [f"metrics: committed {names}, now {list(new)}"]
    found = []
    for old in committed:
        now = new[old["name"]]
        if not np.allclose([old["value"], *old["interval"]], [now["value"], *now["interval"]], rtol=0, atol=_TOLERANCE):
            found.append(
                f"{old['name']}: committed {old['value']} {old['interval']}, now {now['value']} {now['interval']}"
            )
        if old["n"] != now["n"]:
            found.append(f"{old['name']}: committed n {old['n']}, now {now['n']}")
    return found


def summary(entry: dict) -> str:
    """The entry's figures, a line each, for a terminal."""
    lines = [f"{entry['name']}, n = {entry['n']}"]
    for metric in entry["metrics"]:
        low, high = metric["interval"]
        lines.append(f"  {metric['name']:<30} {metric['value']:.5f}  [{low:.5f}, {high:.5f}]")
    return "\n".join(lines)
