"""Renders MODEL_CARD.md from what was measured; only the recipe's own sentences are not computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import model_file
from .fit import Trained
from .provenance import Provenance
from .recipe import Recipe

_NAMES = {
    "accuracy": "Accuracy",
    "log_loss": "Log loss",
    "brier": "Brier score (sum over classes)",
    "ece": "Expected calibration error (15 equal-mass bins)",
}


@dataclass(frozen=True)
class Story:
    """What the card tells: the recipe and everything that came of it. `runs` are the seeds, the chosen one first."""

    recipe: Recipe
    version: str
    runs: list[Trained]
    rows: tuple[int, int]
    epochs: int
    threads: int
    evaluation: dict
    provenance: Provenance
    commands: tuple[str, str]


def render(story: Story, model: Path) -> str:
    """The card as Markdown."""
    card, recipe = story.recipe.card, story.recipe
    sections = [
        f"# {card.title} ({recipe.model}/{story.version})",
        "## Intended use\n\n" + f"{card.use}\n\nPopulation: {card.population}.",
        "## Interface\n\n" + _interface(recipe),
        "## Data\n\n" + f"{card.data} Digest (SHA-256 over the decompressed training images, training labels, test "
        f"images and test labels files, one after the other): `{story.provenance.data_digest}`.",
        "## Network\n\n" + _network(model),
        "## Training\n\n" + _training(story),
        "## Figures\n\n" + figures(story.evaluation),
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in card.limits),
        "## Repeat it\n\n" + _repeat(story),
    ]
    return "\n\n".join(sections) + "\n"


def _interface(recipe: Recipe) -> str:
    channels, height, width = recipe.image_shape
    return (
        f"Input `{model_file.INPUT}`: FP32 [batch, {channels}, {height}, {width}], values in [0, 1]. "
        f"Output `{model_file.OUTPUT}`: FP32 [batch, {len(recipe.labels)}], rows sum to 1, in the order "
        f"{', '.join(recipe.labels)}. Normalisation and softmax are inside the graph."
    )


def _network(model: Path) -> str:
    layers = model_file.layers(model)
    lines = ["| operator | output | parameters |", "|---|---|---:|"]
    lines += [f"| {operator} | {shape} | {weights or ''} |" for operator, shape, weights in layers]
    total = sum(weights for _, _, weights in layers)
    return "\n".join(lines) + f"\n\n{total:,} parameters, opset {model_file.OPSET}, {model.stat().st_size:,} bytes."


def _training(story: Story) -> str:
    best, recipe = story.runs[0], story.recipe
    train, validation = story.rows
    epochs = f"{story.epochs} epochs" if story.epochs > 1 else "1 epoch"
    seeds = f"{len(story.runs)} seeds were" if len(story.runs) > 1 else "One seed was"
    threads = f"{story.threads} threads" if story.threads > 1 else "1 thread"
    lines = [
        f"{recipe.card.training} Batch size {recipe.batch_size}, {epochs} over {train:,} images; the last "
        f"{validation:,} images of the training file were held out for validation. "
        f"{story.provenance.framework}; {best.seconds:.0f} s on CPU with {threads}.",
        f"{seeds} trained. The bundle is the one with the best validation accuracy (at a tie the lowest log loss); "
        "the test images were looked at only after that choice.",
        "| seed | validation accuracy | validation log loss | |\n|---:|---:|---:|---|\n"
        + "\n".join(
            f"| {run.seed} | {run.accuracy:.4f} | {run.log_loss:.4f} | {'chosen' if run is best else ''} |"
            for run in sorted(story.runs, key=lambda run: run.seed)
        ),
    ]
    return "\n\n".join(lines)


def figures(evaluation: dict) -> str:
    """The figures of an evaluation.json as the card shows them."""
    entry, difference = evaluation["datasets"][0], evaluation["framework_max_difference"]
    lines = ["| metric | value | 95 % interval | n |", "|---|---:|---|---:|"]
    for metric in entry["metrics"]:
        low, high = metric["interval"]
        lines.append(
            f"| {_NAMES[metric['name']]} | {metric['value']:.4f} | {low:.4f} to {high:.4f} | {metric['n']:,} |"
        )
    return (
        f"On {entry['name']}, computed from `model.onnx` by ONNX Runtime. Intervals: {evaluation['interval']}; they "
        "cover the choice of test images, not the choice of seed, and resampling pushes that of the calibration error "
        "upwards.\n\n" + "\n".join(lines) + f"\n\nLargest difference between the framework's and ONNX Runtime's "
        f"probabilities over {difference['n']} test images: {difference['probabilities']:.1e}.\n\n"
        "Confusion matrix (rows: truth, columns: prediction):\n\n" + _matrix(entry["confusion_matrix"])
    )


def _matrix(counts: list[list[int]]) -> str:
    columns = range(len(counts))
    lines = ["| | " + " | ".join(map(str, columns)) + " | recall |", "|---:|" + "---:|" * (len(counts) + 1)]
    for truth, row in enumerate(counts):
        recall = row[truth] / sum(row) if sum(row) else float("nan")
        lines.append(f"| **{truth}** | " + " | ".join(map(str, row)) + f" | {recall:.4f} |")
    return "\n".join(lines)


def _repeat(story: Story) -> str:
    train, evaluate = story.commands
    return (
        f"```sh\n# train anew\n{train}\n# recompute the figures; exit code 3 if they differ\n{evaluate}\n```\n\n"
        f"Code commit: {story.provenance.code_commit}. Training on another processor or number of threads rounds "
        "differently and gives a slightly different model."
    )
