"""The collection as arrays: each part's images through `hilum prepare`, with patients, subgroups and statistics.

The pixels are those that the service would hand to the network; nothing else ever decodes a radiograph here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import prepared
from ..data import Dataset, Split
from ..errors import TrainingError
from . import files, patients
from .loop import Rows


@dataclass(frozen=True)
class Part:
    """One part's images: pixels uint8 [n, h, w], what is known of each, and its source's statistics."""

    pixels: np.ndarray
    images: list[files.Radiograph]
    statistics: list[dict]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def patients(self) -> int:
        """How many."""
        return len({image.patient for image in self.images})

    @property
    def labels(self) -> np.ndarray:
        """int64 [n]."""
        return np.array([image.label for image in self.images], np.int64)

    def take(self, images: Sequence[files.Radiograph]) -> Part:
        """These images of the part, in their order."""
        place = {image.sha256: at for at, image in enumerate(self.images)}
        at = [place[image.sha256] for image in images]
        return Part(self.pixels[at], list(images), [self.statistics[row] for row in at])

    def rows(self) -> Rows:
        """For the loop."""
        return Rows(self.pixels, self.labels)

    def split(self, channels: int = 1) -> Split:
        """For the evaluation: floats [n, channels, h, w], patients as units, bacteria and virus as subgroups."""
        floats = np.repeat(self.pixels[:, None].astype(np.float32) / np.float32(255), channels, axis=1)
        of = np.array([image.patient for image in self.images])
        return Split(floats, self.labels, of, np.array([image.group for image in self.images]))


@dataclass(frozen=True)
class Collection:
    """`training`, `validation`, `calibration`, `held_out` of the train folder, `test` of the test folder."""

    parts: dict[str, Part]
    digest: str

    def whole(self) -> Part:
        """The train folder's parts in one."""
        parts = [self.parts[name] for name in patients.SHARES]
        columns = [[row for part in parts for row in getattr(part, name)] for name in ("images", "statistics")]
        return Part(np.concatenate([part.pixels for part in parts]), *columns)

    def measured(self, channels: int = 1) -> dict[str, Split]:
        """What figures are given for, by name."""
        parts = {"train folder, patients held out": "held_out", "published test folder": "test"}
        return {name: self.parts[part].split(channels) for name, part in parts.items()}


def load(folder: Path, steps: Sequence[dict], work: Path, arguments: Sequence[str] = ()) -> Collection:
    """Read `folder/{train,test}/{NORMAL,PNEUMONIA}/`; `work` keeps the prepared images for the next time.

    arguments: more of `hilum prepare`'s, such as where a crop step's bundle lies.

    An image that stands under two patients is left out, as `hilum prepare` does.
    """
    train, test = files.collection(folder)
    parts = patients.split(train)
    recipe = work / "steps.toml"
    work.mkdir(parents=True, exist_ok=True)
    recipe.write_text(prepared.steps_toml(steps), encoding="utf-8")
    found = {}
    for name in ("train", "test"):
        made = prepared.prepare(
            folder / name, work / name, recipe, files.LABELS, ["--patient", files.PATIENT, "--folds", "2", *arguments]
        )
        found[name] = {source: at for at, source in enumerate(made.sources)}, made
    whole = {name: _part(images, *found["train"]) for name, images in parts.items()}
    whole["test"] = _part(test, *found["test"])
    return Collection(whole, files.digest(train, test))


def _part(images: list[files.Radiograph], place: dict[str, int], made: prepared.Prepared) -> Part:
    kept = [image for image in images if image.sha256 in place]
    if not kept:
        raise TrainingError("none of a part's images was prepared; look at report.json beside the prepared images")
    at = [place[image.sha256] for image in kept]
    return Part(made.pixels[at], kept, [made.statistics[row] for row in at])


def dataset(folder: Path, manifest: dict, work: Path = Path(".checkpoints/prepared")) -> Dataset:
    """The measured parts for the bundle of `manifest`: held-out patients and the published test folder."""
    steps = manifest["preprocess"]["step"]
    kept = [step["op"] for step in steps].index("quantise8") + 1
    side, channels = steps[kept - 2]["width"], manifest["model"]["input"][0]["shape"][1]
    found = load(folder, steps[:kept], work / f"chest-{side}")
    (name, held), (last, test) = found.measured(channels).items()
    return ChestDataset("chest", held, test, found.digest, more={name: held, last: test})


class ChestDataset(Dataset):
    """A data set whose measured parts are `more` alone."""

    def measured(self) -> dict[str, Split]:
        return self.more
