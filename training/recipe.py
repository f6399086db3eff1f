"""What a recipe says. A recipe file holds a network and one `Recipe`; everything else is shared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .data import Dataset
from .model_file import Interface

if TYPE_CHECKING:
    from .learners import Learner


@dataclass(frozen=True)
class Card:
    """The sentences of a model card that no measurement can supply."""

    title: str
    use: str
    population: str
    data: str
    training: str
    limits: tuple[str, ...]


@dataclass(frozen=True)
class Batching:
    """How the service may batch: rows a run at most, milliseconds a run at most; 0 lets the service choose."""

    max_batch: int
    max_run_ms: int
    instances: int = 0
    intra_threads: int = 0


@dataclass(frozen=True)
class Recipe:
    """How one model is made.

    seeds: each is trained; the one with the best validation accuracy (then the lowest log loss) becomes the bundle.
    validation: the share of the training split that is held out for that choice, taken from its end.
    calibration: the part of those rows, taken from their end, that calibrates and does not choose; 0 for a bundle of
    plain scores, without calibration, gate and further outputs.
    preprocess: the steps from an image file to the network's input.
    """

    command: str
    model: str
    labels: tuple[str, ...]
    load: Callable[[Path], Dataset]
    learner: Callable[[], Learner]
    image_shape: tuple[int, int, int]
    seeds: tuple[int, ...]
    epochs: int
    batch_size: int
    validation: float
    batching: Batching
    card: Card
    previous_version: str | None = None
    calibration: float = 0.5
    preprocess: tuple[dict, ...] = ()

    @property
    def interface(self) -> Interface:
        """The exported model's inputs and outputs."""
        return Interface(self.image_shape, len(self.labels))
