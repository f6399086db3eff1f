"""The bridge to `hilum prepare`: the service's own decoder and recipe make every image that is learned or measured.

So a network never sees pixels in training that it would not see in service.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .errors import TrainingError

_ROOT = Path(__file__).parents[1]
# `hilum prepare` wants two classes; what they are does not matter where only pixels are asked for.
_TURNS = ("even", "odd")
_PROGRESS = re.compile(r"\d+ of \d+ images")
# Of the files that cannot be read, so many are named in a message.
_NAMED = 5


@dataclass(frozen=True)
class Prepared:
    """What `hilum prepare` made of a folder, sorted by source digest.

    pixels: uint8 [n, h, w] (grey) or [n, h, w, 3]; labels: class names; patients, sources: keyed hash and SHA-256 of
    the source file; statistics: the image's own, as the service audits them.
    """

    pixels: np.ndarray
    labels: list[str]
    patients: list[str]
    sources: list[str]
    statistics: list[dict]


def binary() -> Path:
    """The `hilum` program: HILUM_BIN, else a build in target/, else the one on PATH."""
    named = os.environ.get("HILUM_BIN")
    places = [Path(named)] if named else [_ROOT / "target" / kind / "hilum" for kind in ("release", "debug")]
    if not named and (on_path := shutil.which("hilum")):
        places.append(Path(on_path))
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise TrainingError("no `hilum` program: `cargo build --release`, or name one in HILUM_BIN")
    return found


def prepare(
    source: Path, target: Path, recipe: Path, classes: Sequence[str], arguments: Sequence[str] = ()
) -> Prepared:
    """Run `hilum prepare` (which goes on where it was stopped) and read what it wrote.

    Raises: TrainingError with the program's own words; a file that could not be decoded is one too.
    """
    if not source.is_dir():
        raise TrainingError(f"{source}: no such folder; --data must name the folder of images")
    command = [binary(), "prepare", source, target, "--recipe", recipe, "--classes", ",".join(classes), *arguments]
    ran = subprocess.run([str(part) for part in command], cwd=_ROOT, capture_output=True, text=True)
    if ran.returncode == 3:
        raise TrainingError(f"{source}: {_unreadable(source, target)}; mend or remove them")
    if ran.returncode:
        raise TrainingError(f"hilum prepare {source}: {_last(ran)}")
    return read(target)


def _unreadable(source: Path, target: Path) -> str:
    """Which files `hilum prepare` could not read: its report has their digests, because names may name patients."""
    from .bundle import sha256

    report = target / "report.json"
    failed = json.loads(report.read_text(encoding="utf-8"))["failed"]
    named = (path for path in sorted(source.rglob("*")) if path.is_file() and sha256(path) in failed)
    shown = [str(path.relative_to(source)) for path in itertools.islice(named, _NAMED)]
    more = f" and {len(failed) - len(shown)} more (by SHA-256 in {report})" if len(failed) > len(shown) else ""
    return f"{', '.join(shown)}{more} cannot be read"


def _last(ran: subprocess.CompletedProcess) -> str:
    lines = (ran.stderr.strip() or ran.stdout.strip()).splitlines()
    lines = [line for line in lines if not _PROGRESS.fullmatch(line.strip())]
    return " ".join(lines[-3:]) or f"exit code {ran.returncode}"


def manifest(folder: Path) -> list[dict]:
    """The lines of `folder`'s manifest, sorted by source digest; docs/prepare.md names their fields."""
    path = folder / "manifest.jsonl"
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: cannot be read ({error}); run `hilum prepare` again") from error
    if not rows:
        raise TrainingError(f"{folder}: no images were prepared")
    return sorted(rows, key=lambda row: row["source"])


def read(folder: Path) -> Prepared:
    """What an earlier `hilum prepare` left in `folder`."""
    rows, pixels = manifest(folder), []
    for row in rows:
        try:
            pixels.append(np.asarray(Image.open(folder / row["image"])))
        except OSError as error:
            raise TrainingError(f"{folder / row['image']}: cannot be read ({error}); prepare again") from error
    columns = [[row[key] for row in rows] for key in ("label", "patient", "source", "statistics")]
    return Prepared(np.stack(pixels), *columns)


def steps_toml(steps: Sequence[dict]) -> str:
    """A recipe of steps as the file that `hilum prepare --recipe` takes."""
    from .bundle import to_toml

    return to_toml({"step": [dict(step) for step in steps]})


@contextmanager
def as_files(pixels: np.ndarray) -> Iterator[tuple[Path, list[Path]]]:
    """A folder of PNG files of uint8 [n, h, w] or [n, h, w, 3], in two classes by turns, gone after the block."""
    with tempfile.TemporaryDirectory(prefix="hilum-images-") as place:
        folders = [Path(place) / "source" / name for name in _TURNS]
        for folder in folders:
            folder.mkdir(parents=True)
        files = []
        for at, image in enumerate(pixels):
            files.append(folders[at % 2] / f"{at:06d}.png")
            Image.fromarray(image).save(files[-1], compress_level=1)
        yield Path(place), files


def through_recipe(images: np.ndarray, steps: Sequence[dict]) -> tuple[np.ndarray, list[dict]]:
    """Send images float32 [n, c, h, w] in [0, 1] through a recipe as PNG files.

    Returns the same form after it, and each image's statistics, in the same order.
    """
    pixels = np.rint(images * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    with as_files(pixels) as (place, files):
        (recipe := place / "steps.toml").write_text(steps_toml(steps), encoding="utf-8")
        made = prepare(place / "source", place / "made", recipe, _TURNS, ["--patient", r"\d+", "--folds", "2"])
        by_source = {source: at for at, source in enumerate(made.sources)}
        from .bundle import sha256

        rows = [by_source[sha256(file)] for file in files]
    stacked = made.pixels[rows].astype(np.float32) / np.float32(255)
    stacked = stacked[:, None] if stacked.ndim == 3 else np.ascontiguousarray(stacked.transpose(0, 3, 1, 2))
    return stacked, [made.statistics[row] for row in rows]
