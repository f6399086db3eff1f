"""AlexNet scaled to 32 × 32, for the comparison in docs/models.md; no bundle of it is committed."""

from functools import partial

from torch import optim

from ..augment import flip
from ..data.cifar10 import LABELS, load_cifar10
from ..learners import TorchLearner, Tricks
from ..networks.plain import alexnet
from ..recipe import Batching, Recipe
from ..schedule import one_cycle
from .steps import PHOTOGRAPH
from .words import CIFAR


def learner() -> TorchLearner:
    """Five convolutions, three dense layers."""
    tricks = Tricks(flip, schedule=one_cycle)
    adam = partial(optim.Adam, lr=1.5e-3)
    return TorchLearner(alexnet(), mean=0.473, std=0.251, optimiser=adam, tricks=tricks)


RECIPE = Recipe(
    command="cifar10-alexnet",
    model="cifar10",
    labels=LABELS,
    load=load_cifar10,
    learner=learner,
    image_shape=(3, 32, 32),
    seeds=(1,),
    epochs=6,
    batch_size=128,
    validation=0.1,
    preprocess=PHOTOGRAPH,
    batching=Batching(max_batch=32, max_run_ms=100),
    card=CIFAR.card("CIFAR-10, scaled AlexNet", "Adam, one cycle to 1.5e-3, cross-entropy; mirrored; dropout 0.3."),
)
