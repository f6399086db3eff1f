"""Measures a bundle's ONNX file, as it will be served, and checks committed figures against a new measurement."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path

import numpy as np

from . import metrics, model_file
from .data import Split
from .errors import NotRepeated, TrainingError

# The bootstrap and the sums are exact on one machine; other CPUs round the model's scores differently.
_TOLERANCE = 1e-5


def canonical(split: Split) -> Split:
    """The rows in an order that depends on their contents only.

    MNIST circulates in more than one order; bootstrap intervals must not depend on it.
    """
    images = np.ascontiguousarray(split.images)
    keys = [hashlib.sha256(image.tobytes() + bytes([label])).digest() for image, label in zip(images, split.labels)]
    return split.take(np.array(sorted(range(len(keys)), key=keys.__getitem__)))


def evaluate(model: Path, split: Split, name: str) -> dict:
    """One entry of `datasets` in evaluation.json."""
    rows = canonical(split)
    probabilities = model_file.run(model, rows.images)
    return {
        "name": name,
        "n": len(rows),
        "metrics": metrics.measure(probabilities, rows.labels),
        "confusion_matrix": metrics.confusion_matrix(probabilities, rows.labels).tolist(),
    }


def document(entry: dict, command: str, difference: dict) -> dict:
    """The whole of evaluation.json."""
    return {
        "schema": 1,
        "datasets": [entry],
        "interval": f"95 % percentile bootstrap, {metrics.RESAMPLES} resamples, seed {metrics.BOOTSTRAP_SEED}",
        "command": command,
        "framework_max_difference": difference,
    }


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
    if committed["n"] != measured["n"]:
        found.append(f"n: committed {committed['n']}, now {measured['n']}")
    if committed["confusion_matrix"] != measured["confusion_matrix"]:
        found.append("the confusion matrix differs")
    new = {metric["name"]: metric for metric in measured["metrics"]}
    if (names := [metric["name"] for metric in committed["metrics"]]) != list(new):
        return [*found, f"metrics: committed {names}, now {list(new)}"]
    for old in committed["metrics"]:
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
        lines.append(f"  {metric['name']:<9} {metric['value']:.5f}  [{low:.5f}, {high:.5f}]")
    return "\n".join(lines)
