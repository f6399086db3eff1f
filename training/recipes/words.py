"""Sentences of model cards that recipes of one data set share."""

from __future__ import annotations

from dataclasses import dataclass

from ..recipe import Card


@dataclass(frozen=True)
class Words:
    """A data set's part of a card."""

    use: str
    population: str
    data: str
    limits: tuple[str, ...]

    def card(self, title: str, training: str) -> Card:
        """The card of one recipe."""
        return Card(title, self.use, self.population, self.data, training, self.limits)


MNIST = Words(
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
CIFAR = Words(
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
