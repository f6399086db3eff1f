"""mnist/2: a PyTorch CNN with padded convolutions, the successor of mnist/1 behind the same interface."""

from functools import partial

from torch import nn, optim

from ..learners import TorchLearner
from .collections import MNIST


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


RECIPE = MNIST.recipe(
    command="mnist-2",
    learner=learner,
    seeds=(1, 2, 3),
    epochs=5,
    batch_size=64,
    calibration=0.0,
    previous_version="1",
    card=MNIST.card(
        "MNIST digits, PyTorch CNN",
        "Adam at 1e-3, cross-entropy, (pixel / 255 - 0.5) / 0.5, no augmentation.",
        (
            "Anything that is not a digit still gets one of the ten labels, often with a high score.",
            "Dark-on-light, off-centre, rotated or otherwise scaled digits were not trained for.",
            "The scores are not recalibrated; the calibration error above holds for MNIST only.",
        ),
    ),
)
