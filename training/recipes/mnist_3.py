"""mnist/3: LeNet-5, for comparison."""

from functools import partial

from torch import optim

from ..learners import TorchLearner, Tricks
from ..networks.plain import lenet5
from ..schedule import one_cycle
from .collections import MNIST


def learner() -> TorchLearner:
    """Two convolutions 5 × 5, three dense layers."""
    adam = partial(optim.Adam, lr=3e-3)
    return TorchLearner(lenet5(), mean=0.1307, std=0.3081, optimiser=adam, tricks=Tricks(schedule=one_cycle))


RECIPE = MNIST.recipe(
    command="mnist-3",
    learner=learner,
    epochs=8,
    batch_size=128,
    previous_version="2",
    card=MNIST.card("MNIST digits, LeNet-5", "Adam, one cycle to 3e-3, cross-entropy, no augmentation."),
)
