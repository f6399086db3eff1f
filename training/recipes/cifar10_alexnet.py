"""AlexNet scaled to 32 × 32, for the comparison in docs/models.md; no bundle of it is committed."""

from functools import partial

from torch import optim

from ..augment import flip
from ..learners import TorchLearner, Tricks
from ..networks.plain import alexnet
from ..schedule import one_cycle
from .collections import CIFAR


def learner() -> TorchLearner:
    """Five convolutions, three dense layers."""
    tricks = Tricks(flip, schedule=one_cycle)
    adam = partial(optim.Adam, lr=1.5e-3)
    return TorchLearner(alexnet(), mean=0.473, std=0.251, optimiser=adam, tricks=tricks)


RECIPE = CIFAR.recipe(
    command="cifar10-alexnet",
    learner=learner,
    epochs=6,
    batch_size=128,
    card=CIFAR.card("CIFAR-10, scaled AlexNet", "Adam, one cycle to 1.5e-3, cross-entropy; mirrored; dropout 0.3."),
)
