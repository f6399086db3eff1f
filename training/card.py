"""Renders MODEL_CARD.md from what was measured; only the recipe's own sentences are not computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import model_file
from .recipe import Card

_NAMES = {
    "accuracy": "Accuracy",
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC (average precision)",
    "sensitivity_at_95_specificity": "Sensitivity at 95 % specificity",
    "f1": "F1",
    "log_loss": "Log loss",
    "log_loss_calibrated": "Log loss, calibrated",
    "brier": "Brier score",
    "brier_calibrated": "Brier score, calibrated",
    "ece": "Expected calibration error (15 equal-mass bins)",
    "ece_calibrated": "Expected calibration error, calibrated",
}


def render(card: Card, manifest: dict, figured: dict, commands: tuple[str, str], model: Path) -> str:
    """The card as Markdown. manifest: of bundle.toml; figured: evaluation.json; commands: to train, to evaluate."""
    provenance = manifest["provenance"]
    sections = [
        f"# {card.title} ({manifest['name']}/{manifest['version']})",
        "## Intended use\n\n" + _use(card, manifest),
        "## Interface\n\n" + _interface(manifest),
        "## Data\n\n" + f"{card.data} Digest: `{provenance['data_digest']}`.",
        "## Network\n\n" + _network(model),
        "## Training\n\n" + _training(figured["training"]),
        "## Figures\n\n" + figures(figured, manifest["labels"]),
        "## Decision\n\n" + _decision(manifest, figured),
        "## Shortcut\n\n" + _shortcut(figured),
        "## Spread over patients\n\n" + _spread(figured),
        "## Number formats\n\n" + _formats(figured, manifest["model"]["precision"]),
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in card.limits),
        "## Repeat it\n\n" + _repeat(commands, provenance["code_commit"]),
    ]
    return "\n\n".join(section for section in sections if not section.endswith("\n\n")) + "\n"


def _use(card: Card, manifest: dict) -> str:
    notice = manifest["intended_use"].get("notice")
    return f"{card.use}\n\nPopulation: {card.population}." + (f"\n\n**{notice}**" if notice else "")


def _interface(manifest: dict) -> str:
    shown = {"scores": "scores in the order of the labels", "logits": "before the activation", "cam": "Grad-CAM++ maps"}
    shown |= {"embedding": "the features before the last layer", "ood": "the distance that the gate looks at"}
    lines = [f"Labels: {', '.join(manifest['labels'])}.", "", "| tensor | shape | |", "|---|---|---|"]
    for given in manifest["model"]["input"]:
        lines.append(f"| `{given['name']}` (input) | {_shape(given)} | FP32, values in [0, 1] |")
    lines += [f"| `{out['name']}` | {_shape(out)} | {shown[out['role']]} |" for out in manifest["model"]["output"]]
    steps = [step["op"] for step in manifest.get("preprocess", {}).get("step", [])]
    files = f"\n\nImage files: {', '.join(steps)}." if steps else ""
    return "\n".join(lines) + "\n\nNormalisation and activation are inside the graph." + files


def _shape(tensor: dict) -> str:
    return " × ".join("batch" if dim == -1 else str(dim) for dim in tensor["shape"])


def _network(model: Path) -> str:
    layers = model_file.layers(model)
    lines = ["| operator | output | parameters |", "|---|---|---:|"]
    lines += [f"| {operator} | {shape} | {weights or ''} |" for operator, shape, weights in layers]
    total = sum(weights for _, _, weights in layers)
    if len(lines) > 62:
        lines = [f"{len(layers)} operators; `hilum bundle describe` lists them."]
    return (
        "\n".join(lines) + f"\n\n{total:,} numbers learned (running means and variances of batch norms that were not "
        f"folded included, each weight once however often it is used), opset {model_file.OPSET}, "
        f"{model.stat().st_size:,} bytes."
    )


def _training(training: dict) -> str:
    parts = list(training["sentences"])
    if seeds := training.get("seeds"):
        lines = ["| seed | validation accuracy | validation log loss | |", "|---:|---:|---:|---|"]
        lines += [
            f"| {seed['seed']} | {seed['accuracy']:.4f} | {seed['log_loss']:.4f} | {'chosen' if not at else ''} |"
            for at, seed in enumerate(seeds)
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def figures(evaluation: dict, labels: Sequence[str]) -> str:
    """The section that evaluation.json determines."""
    difference = evaluation["framework_max_difference"]
    parts = [
        "Computed from `model.onnx` by ONNX Runtime; images that the gate refuses count too. Intervals: "
        f"{evaluation['interval']}; they cover the choice of test images, not of the seed, and resampling pushes "
        "that of the calibration error upwards. Of several classes ROC-AUC, PR-AUC, sensitivity and F1 are means of "
        "each class against the others."
    ]
    for entry in evaluation["datasets"]:
        parts.append(f"### {entry['name']}\n\n" + metric_table(entry["metrics"]))
        if refused := entry.get("refused"):
            parts.append(f"The gate refuses {refused['n']:,} of these {entry['n']:,} images ({refused['share']:.2%}).")
        if unsure := entry.get("abstained"):
            parts.append(_abstained(unsure, entry["n"]))
        for group in entry.get("subgroups", []):
            parts.append(f"{group['name']}, n = {group['n']:,}:\n\n" + metric_table(group["metrics"]))
        counts = entry["confusion_matrix"]
        parts.append("Confusion matrix (rows: truth, columns: prediction):\n\n" + _matrix(counts, labels))
    named = " and of ".join(entry["name"] for entry in evaluation["datasets"])
    pictures = "![ROC](roc.svg) ![Precision and recall](pr.svg) ![Calibration](calibration.svg)"
    parts.append(f"### Curves\n\nOf {named}.\n\n{pictures}")
    worst = {name: value for name, value in difference.items() if isinstance(value, float)}
    if worst:
        text = ", ".join(f"{name} {value:.1e}" for name, value in worst.items())
        parts.append(f"Largest difference to the framework over {difference['n']} real images: {text}.")
    if proof := evaluation.get("explanation"):
        parts.append(
            f"The map `cam` against exact Grad-CAM++ by automatic differentiation, every label of {proof['n']} images, "
            f"each over its own largest value: {proof['largest_difference_to_autograd']:.1e} at most."
        )
    return "\n\n".join(parts)


def _abstained(unsure: dict, n: int) -> str:
    text = f"The scores of {unsure['n']:,} of these {n:,} images ({unsure['share']:.2%}) leave the decision open "
    text += "(`abstain`, where the gate does not refuse the image)"
    right = unsure["accuracy_of_the_others"]
    return text + ("." if right is None else f"; of the others {right:.4f} get the right label.")


def metric_table(found: list[dict]) -> str:
    """Metrics as a Markdown table."""
    lines = ["| metric | value | 95 % interval | n |", "|---|---:|---|---:|"]
    for metric in found:
        low, high = metric["interval"]
        lines.append(
            f"| {_NAMES[metric['name']]} | {metric['value']:.4f} | {low:.4f} to {high:.4f} | {metric['n']:,} |"
        )
    return "\n".join(lines)


def _matrix(counts: list[list[int]], labels: Sequence[str]) -> str:
    lines = ["| | " + " | ".join(labels) + " | recall |", "|---:|" + "---:|" * (len(counts) + 1)]
    for truth, row in enumerate(counts):
        recall = row[truth] / sum(row) if sum(row) else float("nan")
        lines.append(f"| **{labels[truth]}** | " + " | ".join(map(str, row)) + f" | {recall:.4f} |")
    return "\n".join(lines)


def _decision(manifest: dict, figured: dict) -> str:
    post, parts = manifest["postprocess"], []
    if (fitted := post.get("calibration")) is not None:
        numbers = ", ".join(f"{key} {value}" for key, value in fitted.items() if key != "kind")
        parts.append(f"Calibration: {fitted['kind']} ({numbers}), on rows that neither trained nor chose.")
    band = f", abstains in {post['abstain']}" if post.get("abstain") else ""
    several = " of the best class, else it abstains" if manifest["task"] == "multiclass" else ""
    parts.append(f"Threshold {post.get('threshold', 0.5)} on the calibrated score{several}{band}.")
    if rule := figured.get("decision_rule"):
        parts.append(rule)
    if tried := figured.get("out_of_distribution"):
        lines = [
            f"Out-of-distribution gate: {tried['score']}, at most {tried['threshold']:.6g} ({tried['rule']}). Share "
            "refused of other images, and what an energy score would refuse at the same rate of good ones:",
            "",
            "| images | n | refused | by energy |",
            "|---|---:|---:|---:|",
        ]
        lines += [
            f"| {row['name']} | {row['n']:,} | {row['refused']:.3f} | {row['energy_refused']:.3f} |"
            for row in tried["tried"]
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _shortcut(figured: dict) -> str:
    if not (told := figured.get("shortcut")):
        return ""
    rows = [(f"image statistics, {row['name']}", row) for row in told["roc_auc"]]
    sizes = figured.get("shortcut_of_sizes", {}).get("roc_auc", [])
    rows += [(f"{row['name']}, images in their original size", row) for row in sizes]
    lines = [
        "How well the class is told by what is no sign of disease: a logistic regression on "
        f"{', '.join(told['features'])} of the file, fitted on training patients; and the size of the images before "
        "they were stretched to one size. The model's own ROC-AUC stands above.",
        "",
        "| by | ROC-AUC | 95 % interval | n |",
        "|---|---:|---|---:|",
    ]
    for name, row in rows:
        low, high = row["interval"]
        lines.append(f"| {name} | {row['value']:.4f} | {low:.4f} to {high:.4f} | {row['n']:,} |")
    return "\n".join(lines)


def _spread(figured: dict) -> str:
    parts = []
    if found := figured.get("cross_validation"):
        parts.append(
            f"The recipe trained anew on five folds of the train folder's patients, {found['epochs']} epochs each; a "
            "fold's figures are of its own patients, whom that training never saw, and of the published test folder."
        )
        parts.append(fold_table(found))
    if tried := figured.get("crop_ablation"):
        told = [f"The same folds on images cropped to the lungs by {tried['bundle']}:", "", fold_table(tried), ""]
        for name, where in (("held_out", "patients of the fold"), ("test", "published test folder")):
            gain, alone = tried[f"{name}_difference"], tried["crop_alone"][name]
            low, high = gain["interval"]
            told.append(
                f"- {where}: cropped less whole {gain['value']:+.4f} ({low:+.4f} to {high:+.4f}), mean over folds; by "
                f"the crop's box alone and by whether both lungs were found {_ranged(alone)}."
            )
        parts.append("\n".join(told))
    return "\n\n".join(parts)


def fold_table(found: dict) -> str:
    """The folds of `cross_validation` or `crop_ablation` as a Markdown table."""
    lines = [
        "| fold | training images | ROC-AUC, its patients | n | ROC-AUC, test folder | n |",
        "|---|---:|---|---:|---|---:|",
    ]
    for row in found["folds"]:
        own, test = row["held_out"], row["test"]
        lines.append(
            f"| {row['fold']} | {row['training']:,} | {_ranged(own)} | {own['n']:,} | {_ranged(test)} | {test['n']:,} |"
        )
    means = [f"{found[f'{name}_mean']:.4f} ± {found[f'{name}_sd']:.4f}" for name in ("held_out", "test")]
    lines.append(f"| mean ± standard deviation | | {means[0]} | | {means[1]} | |")
    return "\n".join(lines)


def _ranged(metric: dict) -> str:
    low, high = metric["interval"]
    return f"{metric['value']:.4f} ({low:.4f} to {high:.4f})"


def _formats(figured: dict, held: str) -> str:
    lines = ["| format | bytes | largest score difference | labels flipped | accuracy* (fp32) | CPU time |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    outside = []
    for name, row in figured.get("formats_tried", {}).items():
        if "failed" in row:
            lines.append(f"| {name} | failed: {row['failed'].splitlines()[0]} | | | | |")
            continue
        lines.append(
            f"| {name} | {row['bytes']:,} | {row['largest_score_difference']:.1e} | {row['labels_flipped']} of "
            f"{row['n']:,} | {row['accuracy']:.4f} ({row['fp32_accuracy']:.4f}) | {row['cpu_time_over_fp32']} × |"
        )
        left = row.get("outside")
        outside += [] if left is None else [f"{name}: {'; '.join(left) or 'none'}."]
    if len(lines) == 2:
        return ""
    told = f"\n\nFigures that leave the bundle's 95 % interval. {' '.join(outside)}" if outside else ""
    plain = "\n\n\\* of the label with the largest raw score, on the first images of the first part measured."
    return "\n".join(lines) + plain + told + f"\n\nThe bundle holds {held}."


def _repeat(commands: tuple[str, str], commit: str) -> str:
    train, evaluate = commands
    return (
        f"```sh\n# train anew\n{train}\n# recompute the figures; exit code 3 if they differ\n{evaluate}\n```\n\n"
        f"Code commit: {commit}. Training on another processor or number of threads rounds differently and gives a "
        "slightly different model."
    )
