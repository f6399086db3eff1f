"""mnist/3: LeNet-5, for comparison."""

from functools import partial

from torch import optim

from ..data.mnist import LABELS, load_mnist
from ..learners import TorchLearner, Tricks
from ..networks.plain import lenet5
from ..recipe import Batching, Recipe
from ..schedule import one_cycle
from .steps import DIGIT
from .words import MNIST


def learner() -> TorchLearner:
    """Two convolutions 5 × 5, three dense layers."""
    adam = partial(optim.Adam, lr=3e-3)
    return TorchLearner(lenet5(), mean=0.1307, std=0.3081, optimiser=adam, tricks=Tricks(schedule=one_cycle))


RECIPE = Recipe(
    command="mnist-3",
    model="mnist",
    labels=LABELS,
    load=load_mnist,
    learner=learner,
    image_shape=(1, 28, 28),
    seeds=(1,),
    epochs=8,
    batch_size=128,
    validation=0.1,
    preprocess=DIGIT,
    batching=Batching(max_batch=32, max_run_ms=100),
    previous_version="2",
    card=MNIST.card("MNIST digits, LeNet-5", "Adam, one cycle to 3e-3, cross-entropy, no augmentation."),
)
