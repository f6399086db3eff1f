"""From a trained graph to a bundle: export, calibration, gate, figures, proof, baseline, card; written aside, renamed.

Every figure comes from the ONNX file by ONNX Runtime, not from the framework.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from scipy.special import logsumexp

from . import baseline, bundle, calibration, card, curves, evaluation, explain, goldens, model_file, precision
from .data import Split
from .errors import TrainingError
from .heads import ROLES, ScoresOnly, ServedGraph, attach_distance
from .provenance import Provenance
from .recipe import Batching, Card
from .state import whole

# Rows on which framework and ONNX file are compared, and the difference from which the export counts as wrong.
_COMPARED = 256
_EXPORT_TOLERANCE = 1e-4
# The share of good validation images that a gate may refuse, and the training rows that the distance is fitted on.
_REFUSED = 0.01
_DISTANCE_ROWS = 10_000
# What `Rows.held` is made of, in words.
HELD = "validation and calibration"


@dataclass(frozen=True)
class Rows:
    """The rows that decide something, none of which may train the network but `training`.

    validation: threshold; calibration: calibration alone; both: gate and baseline. measured: figures, by name.
    statistics: of each row of validation, then calibration, as `hilum prepare` gives them; None for no baseline.
    """

    training: Split
    validation: Split
    calibration: Split | None
    measured: dict[str, Split]
    statistics: Sequence[dict] | None = None

    def held(self) -> Split:
        """Validation, then calibration."""
        if self.calibration is None:
            return self.validation
        pairs = zip(asdict_of(self.validation), asdict_of(self.calibration))
        return Split(*[None if a is None else np.concatenate([a, b]) for a, b in pairs])


def asdict_of(split: Split) -> tuple:
    """A split's columns in the order of its fields."""
    return split.images, split.labels, split.units, split.groups


@dataclass(frozen=True)
class Publication:
    """What a bundle is made of.

    graph: the torch graph to export; None where `model` names an ONNX file that is taken as it is.
    decide: calibrated validation scores [n] of the positive class and labels to `threshold`, `abstain` and more keys
    of `[postprocess]`; for binary models. strangers: images that the gate is tried against, by name.
    training: how it was trained, for evaluation.json and the card: `sentences` and `seeds`.
    more: further statements of evaluation.json, such as the AUC of a shortcut.
    """

    model: str
    version: str
    labels: tuple[str, ...]
    image_shape: tuple[int, int, int]
    preprocess: tuple[dict, ...]
    batching: Batching
    card: Card
    provenance: Provenance
    commands: tuple[str, str]
    graph: ServedGraph | ScoresOnly | None
    rows: Rows
    training: dict
    onnx: Path | None = None
    task: str = "multiclass"
    intended_use: dict = field(default_factory=lambda: {"medical": False, "notice": "", "views": []})
    quality: tuple[dict, ...] = ()
    strangers: dict[str, np.ndarray] = field(default_factory=dict)
    decide: Callable[[np.ndarray, np.ndarray], dict] | None = None
    provisional: bool = False
    difference: dict | None = None
    more: dict = field(default_factory=dict)

    @property
    def binary(self) -> bool:
        """Whether there is one positive class."""
        return self.task == "binary"


def publish(made: Publication, out: Path) -> dict:
    """Write the bundle `out`; its evaluation.json.

    Raises: TrainingError where the export differs from the framework; then nothing is written.
    """
    with bundle.staged(out) as folder, tempfile.TemporaryDirectory() as place:
        model, plain = folder / "model.onnx", Path(place) / "model.onnx"
        difference = _export(made, plain)
        with whole(model):
            shutil.copyfile(plain, model)
        chosen = precision.FP32
        if made.graph is not None and made.rows.calibration is not None:
            chosen = precision.choose(model, next(iter(made.rows.measured.values())).images)
        if chosen != precision.FP32:
            difference = _difference(made, model)
        post = _postprocess(made, model)
        held = made.rows.held()
        answers = evaluation.answer(model, held, evaluation.Rule(made.binary, post.get("calibration")))
        reject = _reject(made, answers)
        manifest = _manifest(made, model, post, reject, chosen)
        rule = evaluation.Rule.of(manifest)
        pairs = [evaluation.evaluate(model, split, name, rule) for name, split in made.rows.measured.items()]
        first = pairs[0][1]
        measured_by_name = {entry["name"]: answers.scored for entry, answers in pairs}
        more = {"training": made.training} | made.more
        if rule.gate is not None:
            more["out_of_distribution"] = _strangers(made, model, held, rule)
        if "cam" in model_file.output_shapes(model) and made.graph is not None:
            images = first.rows.images[: explain.PROVEN]
            worst = explain.largest_difference(made.graph, plain, images)
            more["explanation"] = {"largest_difference_to_autograd": worst, "n": len(images)}
        entries = [entry for entry, _ in pairs]
        if made.rows.calibration is not None:
            measured = made.rows.measured
            more["formats_tried"] = precision.try_formats(plain, made.rows.calibration, measured, rule, entries)
        figures = evaluation.document(entries, made.commands[1], difference, more)
        if made.rows.statistics is not None:
            answers = evaluation.answer(model, held, rule)
            text = bundle.to_json(_baseline(made, answers))
            bundle.write(folder / "baseline.json", text)
            manifest["baseline"] = {"file": "baseline.json", "provisional": made.provisional}
        # Last, as in every manifest.
        manifest["provenance"] = manifest.pop("provenance")
        bundle.validate(manifest)
        write_curves(folder, measured_by_name, made.labels)
        golden = goldens.goldens(model, made.image_shape, made.commands[0])
        bundle.write(folder / "bundle.toml", bundle.to_toml(manifest))
        bundle.write(folder / "evaluation.json", bundle.to_json(figures))
        bundle.write(folder / "goldens.json", bundle.to_json(golden))
        bundle.write(folder / "MODEL_CARD.md", card.render(made.card, manifest, figures, made.commands, model))
        bundle.write_sums(folder)
    return figures


def _export(made: Publication, model: Path) -> dict:
    """Write model.onnx in fp32; its largest difference to the framework's graph on real images."""
    if made.graph is None:
        model.write_bytes(made.onnx.read_bytes())
        model_file.check(model, model_file.Interface(made.image_shape, len(made.labels)))
        return made.difference or {}
    import torch

    # A recipe may bring a distance of its own.
    if isinstance(made.graph, ServedGraph) and made.graph.distance is None:
        few = made.rows.training.take(slice(_DISTANCE_ROWS))
        attach_distance(made.graph, few.images, few.labels)
    first = next(iter(made.rows.measured.values())).images[:2]
    made.graph.eval()
    with torch.no_grad():
        names = tuple(made.graph(torch.from_numpy(first)))
    model_file.export(made.graph, model_file.Interface(made.image_shape, len(made.labels)), model, names)
    difference = _difference(made, model)
    if not difference["probabilities"] <= _EXPORT_TOLERANCE:
        worst = difference["probabilities"]
        raise TrainingError(f"the exported model differs from the framework's by {worst:.1e}; the export is wrong")
    return difference


def _difference(made: Publication, model: Path) -> dict:
    """By output, the largest difference to the framework's graph on the first measured images."""
    import torch

    images = next(iter(made.rows.measured.values())).images[:_COMPARED]
    with torch.no_grad():
        parts = [made.graph(part) for part in torch.from_numpy(images).split(64)]
    found = model_file.run_all(model, images)
    apart = {
        name: float(np.abs(found[name] - np.concatenate([part[name].numpy() for part in parts])).max())
        for name in parts[0]
    }
    return apart | {"n": len(images), "framework": made.provenance.framework}


def _postprocess(made: Publication, model: Path) -> dict:
    """`[postprocess]`: calibration from its own rows, threshold from validation. Softmax is inside the graph."""
    post: dict = {"activation": "none"}
    if made.rows.calibration is not None:
        outputs = model_file.run_all(model, made.rows.calibration.images, ("logits",))
        fit = calibration.fit_platt if made.binary else calibration.fit_temperature
        logits = outputs["logits"]
        if made.binary:
            logits = logits[:, -1] - (logits[:, 0] if logits.shape[1] == 2 else 0)
        post["calibration"] = fit(logits, made.rows.calibration.labels)
    if made.binary and made.decide is not None:
        rule = evaluation.Rule(True, post.get("calibration"))
        answers = evaluation.answer(model, made.rows.validation, rule)
        post |= made.decide(answers.scored.calibrated[:, 1], made.rows.validation.labels)
    return post


def _reject(made: Publication, held: evaluation.Answers) -> dict | None:
    """`[reject]`: quality gates as given, the distance that 99 % of the held-out rows do not exceed."""
    reject: dict = {"quality": list(made.quality)} if made.quality else {}
    if held.distance is not None:
        source = f"99th percentile of {len(held.rows):,} {HELD} images"
        reject["ood"] = {"threshold": _gate(held.distance), "source": source}
    return reject or None


def _gate(values: np.ndarray) -> float:
    # Not rounded: a bound that is a hair lower would refuse the row that set it.
    return float(np.quantile(values.astype(np.float64), 1 - _REFUSED, method="higher"))


def _manifest(made: Publication, model: Path, post: dict, reject: dict | None, chosen: str) -> dict:
    """bundle.toml without its baseline."""
    outputs = [
        {"name": name, "role": ROLES[name], "dtype": "FP32", "shape": shape}
        for name, shape in model_file.output_shapes(model).items()
    ]
    contents = {
        "schema": 1,
        "name": made.model,
        "version": made.version,
        "task": made.task,
        "labels": list(made.labels),
        "model": {
            "file": model.name,
            "sha256": bundle.sha256(model),
            "layout": "NCHW",
            "precision": chosen,
            "input": [{"name": model_file.INPUT, "dtype": "FP32", "shape": [-1, *made.image_shape]}],
            "output": outputs,
        },
        "preprocess": {"step": [dict(step) for step in made.preprocess]},
        "intended_use": made.intended_use | {"population": made.card.population},
        "postprocess": post,
        "reject": reject,
        "batching": asdict(made.batching),
        "provenance": {key: value for key, value in asdict(made.provenance).items() if value is not None},
    }
    return {key: value for key, value in contents.items() if value not in (None, {"step": []})}


def _strangers(made: Publication, model: Path, held: Split, rule: evaluation.Rule) -> dict:
    """What the gate refuses of other images, beside what an energy score (Liu et al. 2020) would at the same rate."""
    near = energy(model_file.run_all(model, held.images, ("logits",))["logits"])
    bound = _gate(near)
    tried = []
    for name, images in made.strangers.items():
        outputs = model_file.run_all(model, images, ("logits", "ood"))
        shares = [(outputs["ood"].reshape(-1) > rule.gate).mean(), (energy(outputs["logits"]) > bound).mean()]
        tried.append({"name": name, "n": len(images), "refused": float(shares[0]), "energy_refused": float(shares[1])})
    return {
        "score": "Mahalanobis distance to the nearest class in the graph's features",
        "threshold": rule.gate,
        "rule": f"99th percentile of all {HELD} images",
        "tried": tried,
    }


def energy(logits: np.ndarray) -> np.ndarray:
    """−log Σ exp(logit), higher for strangers; one logit z counts as the two (0, z)."""
    wide = logits.astype(np.float64)
    wide = np.concatenate([np.zeros_like(wide), wide], axis=1) if wide.shape[1] == 1 else wide
    return -logsumexp(wide, axis=1)


def _baseline(made: Publication, held: evaluation.Answers) -> dict:
    scored = held.scored
    score = scored.calibrated[:, 1] if made.binary else scored.calibrated[np.arange(len(held.rows)), scored.predicted]
    answered = baseline.Answered(score, scored.predicted, held.distance, held.refused)
    return baseline.baseline(answered, made.rows.statistics, made.labels, scored.units)


def write_curves(folder: Path, parts: curves.Parts, labels: tuple[str, ...]) -> None:
    """roc.svg, pr.svg and calibration.svg of every part measured."""
    bundle.write(folder / "roc.svg", curves.roc(parts, labels))
    bundle.write(folder / "pr.svg", curves.precision_recall(parts, labels))
    bundle.write(folder / "calibration.svg", curves.calibration(parts))
