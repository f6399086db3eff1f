"""cifar10/3: a small VGG, for comparison."""

from functools import partial

from torch import optim

from ..augment import flip
from ..learners import TorchLearner, Tricks
from ..networks.plain import vgg
from ..schedule import one_cycle
from .collections import CIFAR


def learner() -> TorchLearner:
    """Three stacks of two convolutions 3 × 3, two dense layers."""
    tricks = Tricks(flip, schedule=one_cycle)
    adam = partial(optim.Adam, lr=1.5e-3)
    return TorchLearner(vgg(), mean=0.473, std=0.251, optimiser=adam, tricks=tricks)


RECIPE = CIFAR.recipe(
    command="cifar10-3",
    learner=learner,
    epochs=6,
    batch_size=128,
    previous_version="2",
    card=CIFAR.card("CIFAR-10, small VGG", "Adam, one cycle to 1.5e-3, cross-entropy; mirrored; dropout 0.2."),
)
