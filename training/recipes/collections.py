"""What the recipes of one data set share: its images, how they become inputs, and what its cards say of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..data import Dataset, cifar10, mnist
from ..recipe import Batching, Card, Recipe
from .steps import DIGIT, PHOTOGRAPH

#: Rows and milliseconds of a run that suit a small network.
SMALL = Batching(max_batch=32, max_run_ms=100)


@dataclass(frozen=True)
class Collection:
    """A data set and its part of a card."""

    model: str
    labels: tuple[str, ...]
    load: Callable[[Path], Dataset]
    image_shape: tuple[int, int, int]
    preprocess: tuple[dict, ...]
    use: str
    population: str
    data: str
    limits: tuple[str, ...]

    def card(self, title: str, training: str, limits: tuple[str, ...] | None = None) -> Card:
        """The card of one recipe; `limits` in the place of the collection's."""
        return Card(title, self.use, self.population, self.data, training, limits or self.limits)

    def recipe(self, *, seeds: tuple[int, ...] = (1,), batching: Batching = SMALL, **own) -> Recipe:
        """A recipe on this data set, by what is its own; a tenth of the training split is held out."""
        return Recipe(
            model=self.model,
            labels=self.labels,
            load=self.load,
            image_shape=self.image_shape,
            preprocess=self.preprocess,
            validation=0.1,
            seeds=seeds,
            batching=batching,
            **own,
        )


MNIST = Collection(
    model="mnist",
    labels=mnist.LABELS,
    load=mnist.load_mnist,
    image_shape=(1, 28, 28),
    preprocess=DIGIT,
    use="Names the digit in an image of one centred handwritten digit. A demonstration and a test load for the "
    "service; not meant for decisions about people.",
    population="Single handwritten digits 0 to 9, white on black, centred in 28 × 28 pixels, as in MNIST "
    "(writers: employees of a United States agency and high-school students)",
    data="MNIST (LeCun, Cortes, Burges): 60,000 training and 10,000 test images.",
    limits=(
        "Dark-on-light, off-centre or strongly rotated digits were not trained for.",
        "Letters and other drawn signs are close to digits: the gate lets some of them pass.",
    ),
)
CIFAR = Collection(
    model="cifar10",
    labels=cifar10.LABELS,
    load=cifar10.load_cifar10,
    image_shape=(3, 32, 32),
    preprocess=PHOTOGRAPH,
    use="Names the thing in a small colour image, one of ten. A demonstration and a test load for the service.",
    population="Colour images of 32 × 32 pixels that show one airplane, automobile, bird, cat, deer, dog, frog, "
    "horse, ship or truck, as in CIFAR-10",
    data="CIFAR-10 (Krizhevsky 2009): 50,000 training and 10,000 test images, here as JPEG files of quality 75, so "
    "lossy: figures are a little below those of the lossless set.",
    limits=(
        "A larger photograph is shrunk to 32 × 32: what is small in it is not seen.",
        "Anything that is none of the ten still gets a label unless the gate refuses it.",
    ),
)
