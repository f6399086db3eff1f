"""lung_field bundles: from the collection to a segmentation bundle that a recipe's crop step names.

There is no mask by a person here: figures compare with the classical method where that finds both lungs, and count
where each of them finds both. A sheet for the eye is painted on demand.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from .. import bundle, goldens, model_file, tracking
from ..errors import NotRepeated, TrainingError
from ..provenance import Provenance, code_commit
from ..recipe import Batching
from . import collection, files, lung_masks, unet
from .augment import Jitter
from .recipe import NOTICE, POPULATION, refuse_unused, steps

OUTPUT = "mask"
_TOLERANCE = 2e-3
_PARTS = {"train folder, patients held out": "held_out", "published test folder": "test"}


@dataclass(frozen=True)
class LungRecipe:
    """How the lung-field network is trained: U-Net on the training patients' plausible classical masks."""

    command: str
    side: int
    epochs: int
    batch_size: int
    jitter: Jitter
    seed: int = 1

    model = "lung_field"

    def build(self, options) -> dict | None:
        """Train and write the bundle; evaluation.json, or None with `train_only`."""
        version = bundle.target(options.out, self.model, options.replace)
        refuse_unused(options)
        if options.strangers is not None:
            raise TrainingError("--strangers is not for lung_field: a segmentation has no gate to try")
        commit, checkpoints = code_commit(), options.checkpoints / f"{self.command}-seed{self.seed}"
        found = collection.load(options.data, steps(self.side)[:4], options.checkpoints / f"prepared/chest-{self.side}")
        epochs, training = options.epochs or self.epochs, found.parts["training"]
        kept, plausible = self._masks(training)
        with tracking.run(self.command, options.checkpoints / "mlruns") as run:
            told = {"seed": self.seed, "epochs": epochs, "batch_size": self.batch_size, "side": self.side}
            run.parameters(told | {"data": found.digest})
            network, losses = unet.train(
                training.pixels[kept], plausible, epochs, self.batch_size, self.seed, self.jitter, checkpoints,
                {"data": found.digest},
            )  # fmt: skip
            run.epochs({"loss": losses})
            if options.train_only:
                return None
            provenance = Provenance(
                found.digest, commit, bundle.today(), self.seed, f"torch {torch.__version__.split('+')[0]}", run.id,
                options.previous_version,
            )  # fmt: skip
            story = {
                "images": len(training), "with_a_plausible_classical_mask": int(kept.sum()),
                "share_of_class": {n: float(kept[training.labels == c].mean()) for c, n in enumerate(files.LABELS)},
                "epochs": epochs, "batch_size": self.batch_size,
            }  # fmt: skip
            figures = self._publish(options.out, version, network, found, provenance, story)
            run.final(figures["datasets"])
        shutil.rmtree(checkpoints, ignore_errors=True)
        return figures

    def _masks(self, training: collection.Part) -> tuple[np.ndarray, np.ndarray]:
        """bool [n] of the images that have a plausible classical mask, and those masks, bool [m, h, w]."""
        masks = [lung_masks.lungs(image) for image in training.pixels]
        kept = np.array([mask is not None for mask in masks])
        if kept.sum() < self.batch_size:
            raise TrainingError(
                f"{kept.sum()} of {len(kept)} training images have a plausible classical lung mask, less than a batch "
                f"of {self.batch_size}; more frontal chest radiographs are needed"
            )
        return kept, np.stack([mask for mask in masks if mask is not None])

    def _publish(self, out: Path, version: str, network, found, provenance: Provenance, story: dict) -> dict:
        """Write the bundle; its evaluation.json. story: how it was trained."""
        commands = (
            f"python -m training {self.command} --data DIR --out models/{self.model}/{version}",
            f"python -m training evaluate models/{self.model}/{version} --data DIR",
        )
        with bundle.staged(out) as folder:
            model = folder / "model.onnx"
            interface = model_file.Interface((1, self.side, self.side), 1, OUTPUT, (1, self.side, self.side))
            model_file.export(_Served(network), interface, model, (OUTPUT,))
            pixels = found.parts["held_out"].pixels[:256]
            apart = np.abs(unet.probabilities(network, pixels) - masked(model, pixels)).max()
            if not apart <= 1e-4:
                raise TrainingError(f"the exported model differs from the framework's by {apart:.1e}")
            difference = {"mask": float(apart), "n": len(pixels), "framework": provenance.framework}
            figures = {
                "schema": 1,
                "datasets": measure(model, found),
                "interval": "95 % percentile bootstrap over patients, 1000 resamples, seed 1",
                "command": commands[1],
                "framework_max_difference": difference,
                "training": story,
            }
            contents = self._manifest(version, model, provenance)
            bundle.validate(contents)
            case = goldens.case("a drawn chest", drawn(self.side), model, OUTPUT)
            bundle.write(folder / "bundle.toml", bundle.to_toml(contents))
            bundle.write(folder / "evaluation.json", bundle.to_json(figures))
            document = {"schema": 1, "made_by": commands[0], "cases": [case]}
            bundle.write(folder / "goldens.json", bundle.to_json(document))
            bundle.write(folder / "MODEL_CARD.md", card(contents, figures, commands, model))
            bundle.write_sums(folder)
        return figures

    def _manifest(self, version: str, model: Path, provenance: Provenance) -> dict:
        shape = [-1, 1, self.side, self.side]
        return {
            "schema": 1,
            "name": self.model,
            "version": version,
            "task": "segmentation",
            "labels": [],
            "model": {
                "file": model.name, "sha256": bundle.sha256(model), "layout": "NCHW", "precision": "fp32",
                "input": [{"name": model_file.INPUT, "dtype": "FP32", "shape": shape}],
                "output": [{"name": OUTPUT, "role": "mask", "dtype": "FP32", "shape": shape}],
            },
            "preprocess": {"step": [dict(step) for step in steps(self.side)]},
            "intended_use": {
                "medical": True, "notice": NOTICE, "views": ["AP"], "age_years": [1, 5], "population": POPULATION,
            },
            "postprocess": {"activation": "none"},
            "batching": asdict(Batching(max_batch=8, max_run_ms=200)),
            "provenance": {key: value for key, value in asdict(provenance).items() if value is not None},
        }  # fmt: skip


class _Served(torch.nn.Module):
    def __init__(self, network: unet.UNet):
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {OUTPUT: self.network(image).sigmoid()}


def masked(model: Path, pixels: np.ndarray) -> np.ndarray:
    """float32 [n, h, w] by ONNX Runtime, of uint8 images [n, h, w]."""
    images = pixels[:, None].astype(np.float32) / np.float32(255)
    return model_file.run_all(model, images, (OUTPUT,))[OUTPUT][:, 0]


def both(mask: np.ndarray) -> bool:
    """Whether the service would find both lungs in bool [h, w], by the rule of `src/imaging/lung_field.rs`."""
    parts, n = ndimage.label(mask)
    areas = sorted((int((parts == part).sum()), part) for part in range(1, n + 1))
    areas = [(area, part) for area, part in areas if area >= max(1, int(0.015 * mask.size))]
    if len(areas) >= 2 and areas[-2][0] >= 0.2 * areas[-1][0]:
        return True
    if not areas:
        return False
    columns = np.flatnonzero((parts == areas[-1][1]).any(axis=0))
    middle = mask.shape[1] / 2
    return bool(columns[0] < 0.75 * middle and columns[-1] + 1 > 1.25 * middle)


def measure(model: Path, found: collection.Collection) -> list[dict]:
    """Entries of `datasets`: Dice with the classical masks, and by class how often each method finds both lungs."""
    entries = []
    for name, key in _PARTS.items():
        part = found.parts[key]
        masks = masked(model, part.pixels) >= 0.5
        classical = [lung_masks.lungs(image) for image in part.pixels]
        there = np.array([mask is not None for mask in classical])
        truth = np.stack([np.zeros_like(masks[0]) if mask is None else mask for mask in classical])
        units = np.unique([image.patient for image in part.images], return_inverse=True)[1]
        hits = np.array([both(mask) for mask in masks], float)
        metrics = []
        if there.any():
            metrics.append(_mean("dice_with_the_classical_mask", unet.dice(masks, truth)[there], units[there]))
        for label, word in enumerate(files.LABELS):
            rows = part.labels == label
            metrics.append(_mean(f"both_lungs_found, {word}", hits[rows], units[rows]))
            metrics.append(_mean(f"both_lungs_found_classically, {word}", there[rows].astype(float), units[rows]))
        entries.append({"name": name, "n": len(part), "units": int(units.max()) + 1, "metrics": metrics})
    return entries


def _mean(name: str, values: np.ndarray, units: np.ndarray) -> dict:
    numbers = np.unique(units, return_inverse=True)[1]
    n, generator, drawn = numbers.max() + 1, np.random.default_rng(1), []
    for _ in range(1000):
        weights = np.bincount(generator.integers(0, n, n), minlength=n)[numbers]
        drawn.append(weights @ values / weights.sum())
    interval = np.percentile(drawn, [2.5, 97.5]).tolist()
    return {"name": name, "value": float(values.mean()), "interval": interval, "n": len(values)}


def evaluate(folder: Path, manifest: dict, committed: dict, data: Path, work: Path) -> None:
    """Measure anew and compare with evaluation.json; raises NotRepeated where a figure differs."""
    side = manifest["model"]["input"][0]["shape"][-1]
    found = collection.load(data, steps(side)[:4], work / f"chest-{side}")
    if found.digest != manifest["provenance"]["data_digest"]:
        print("note: not the bytes that the model was made with", file=sys.stderr)
    for old, now in zip(committed["datasets"], measure(folder / manifest["model"]["file"], found), strict=True):
        print(f"{now['name']}, n = {now['n']}")
        known = {metric["name"]: metric for metric in old["metrics"]}
        if list(known) != [metric["name"] for metric in now["metrics"]]:
            raise NotRepeated(f"{folder}: {old['name']}: committed {', '.join(known)}, now others")
        for metric in now["metrics"]:
            was = known[metric["name"]]
            print(f"  {metric['name']:<42} {metric['value']:.4f}")
            if was["n"] != metric["n"] or abs(was["value"] - metric["value"]) > _TOLERANCE:
                raise NotRepeated(f"{folder}: {metric['name']}: committed {was}, now {metric}")


def sheet(model: Path, pixels: np.ndarray, columns: int = 8) -> Image.Image:
    """Images with the mask in red, for the eye."""
    masks = masked(model, pixels) >= 0.5
    tiles = np.repeat(pixels[..., None], 3, axis=-1).astype(np.int16)
    tiles[..., 0] += 90 * masks
    tiles = np.clip(tiles, 0, 255).astype(np.uint8)
    rows = [np.concatenate(list(tiles[at : at + columns]), axis=1) for at in range(0, len(tiles), columns)]
    width = max(row.shape[1] for row in rows)
    return Image.fromarray(np.concatenate([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]))


def sheets(folder: Path, manifest: dict, data: Path, to: Path, work: Path, count: int = 32) -> list[Path]:
    """Sheets for the eye of each measured part: `count` images a class, drawn by a seed, and all where `both` fails."""
    side, model, written = manifest["model"]["input"][0]["shape"][-1], folder / manifest["model"]["file"], []
    found = collection.load(data, steps(side)[:4], work / f"chest-{side}")
    to.mkdir(parents=True, exist_ok=True)
    for name, key in _PARTS.items():
        part, generator = found.parts[key], np.random.default_rng(6)
        missed = np.flatnonzero([not both(mask) for mask in masked(model, part.pixels) >= 0.5])
        shown = {"not both found": missed}
        for label, word in enumerate(files.LABELS):
            rows = np.flatnonzero(part.labels == label)
            shown[word] = np.sort(generator.choice(rows, min(count, len(rows)), replace=False))
        for kind, rows in shown.items():
            if len(rows):
                written.append(to / f"{name} {kind}.png".replace(" ", "-").replace(",", ""))
                sheet(model, part.pixels[rows]).save(written[-1])
    return written


def drawn(side: int) -> np.ndarray:
    """A grey body with two dark ellipses, float32 [1, 1, side, side], with few decimals."""
    y, x = np.mgrid[:side, :side] / side
    image = np.where(np.abs(x - 0.5) < 0.44, 0.65, 0.05)
    for column in (0.32, 0.68):
        image[((x - column) / 0.11) ** 2 + ((y - 0.5) / 0.27) ** 2 < 1] = 0.25
    return image.round(2).astype(np.float32)[None, None]


def card(contents: dict, figures: dict, commands: Sequence[str], model: Path) -> str:
    """MODEL_CARD.md; `seen` of the figures is what a look at the sheets showed, written by hand."""
    told, provenance, difference = figures["training"], contents["provenance"], figures["framework_max_difference"]
    tables = []
    for entry in figures["datasets"]:
        lines = [f"### {entry['name']}", "", "| | value | 95 % interval | n |", "|---|---:|---|---:|"]
        for metric in entry["metrics"]:
            low, high = metric["interval"]
            name = metric["name"].replace("_", " ")
            lines.append(f"| {name} | {metric['value']:.4f} | {low:.4f} to {high:.4f} | {metric['n']:,} |")
        tables.append("\n".join(lines))
    shares = ", ".join(f"{share:.0%} of {name}" for name, share in told["share_of_class"].items())
    sections = [
        f"# Lung fields in children's chest radiographs, a small U-Net ({contents['name']}/{contents['version']})",
        '## Intended use\n\nFinds the lungs for a recipe\'s crop step (`kind = "lung_field"`). Where it does '
        f"not find both, the step mirrors the one it found or keeps the whole image, with a warning.\n\n**{NOTICE}**",
        f"## Data\n\n{POPULATION}. Digest: `{provenance['data_digest']}`.",
        f"## Training\n\nA U-Net of four levels on the classical method's masks (border air removed, Otsu's threshold, "
        f"largest dark part of each half, plausible areas and box): {told['with_a_plausible_classical_mask']:,} of "
        f"{told['images']:,} training images had one ({shares}). {told['epochs']} epochs, batch size "
        f"{told['batch_size']}, cross-entropy and soft Dice, AdamW with one-cycle; {provenance['framework']}.",
        "## Figures\n\nNo person drew a mask here: Dice compares with the classical masks where there is one, on "
        f"patients that it was not trained on. Intervals: {figures['interval']}.\n\n"
        + "\n\n".join(tables)
        + f"\n\nLargest difference to the framework over {difference['n']} real images: mask {difference['mask']:.1e}.",
        *(["## Seen\n\n" + figures["seen"]] if figures.get("seen") else []),
        "## Limits\n\n- Consolidated lung is bright: the classical masks leave it out, and so may this network.\n"
        "- How often both lungs are found depends on the class (see above): a crop by it must be shown not to add a "
        "shortcut. No bundle of this house crops by it.",
        f"## Repeat it\n\n```sh\n{commands[0]}\n{commands[1]}\n```\n\nCode commit: {provenance['code_commit']}. "
        f"{model.stat().st_size:,} bytes.",
    ]
    return "\n\n".join(sections) + "\n"
