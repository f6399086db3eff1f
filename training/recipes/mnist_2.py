"""mnist/2: a PyTorch CNN with padded convolutions, the successor of mnist/1 behind the same interface."""

from functools import partial

from torch import nn, optim

from ..data.mnist import LABELS, load_mnist
from ..learners import TorchLearner
from ..recipe import Batching, Card, Recipe
from .steps import DIGIT


def learner() -> TorchLearner:
    """The network with Adam; inputs are normalised to [-1, 1] inside the model."""
    network = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 128), nn.ReLU(),
        nn.Linear(128, 10),
    )  # fmt: skip
    return TorchLearner(network, mean=0.5, std=0.5, optimiser=partial(optim.Adam, lr=1e-3))


RECIPE = Recipe(
    command="mnist-2",
    model="mnist",
    labels=LABELS,
    load=load_mnist,
    learner=learner,
    image_shape=(1, 28, 28),
    seeds=(1, 2, 3),
    epochs=5,
    batch_size=64,
    validation=0.1,
    calibration=0.0,
    preprocess=DIGIT,
    batching=Batching(max_batch=32, max_run_ms=100),
    previous_version="1",
    card=Card(
        title="MNIST digits, PyTorch CNN",
        use="Names the digit in an image of one centred handwritten digit. A demonstration and a test load for the "
        "service; not meant for decisions about people.",
        population="Single handwritten digits 0 to 9, white on black, centred in 28 × 28 pixels, as in MNIST "
        "(writers: employees of a United States agency and high-school students)",
        data="MNIST (LeCun, Cortes, Burges): 60,000 training and 10,000 test images.",
        training="Adam at 1e-3, cross-entropy, (pixel / 255 - 0.5) / 0.5, no augmentation.",
        limits=(
            "Anything that is not a digit still gets one of the ten labels, often with a high score.",
            "Dark-on-light, off-centre, rotated or otherwise scaled digits were not trained for.",
            "The scores are not recalibrated; the calibration error above holds for MNIST only.",
        ),
    ),
)
