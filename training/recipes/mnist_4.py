"""mnist/4: batch norm, augmentation and a GAP head, so that it explains itself."""

from functools import partial

from torch import nn, optim

from ..augment import affine
from ..learners import TorchLearner, Tricks
from ..networks.gap import GapNetwork, conv
from ..schedule import one_cycle
from .collections import MNIST


def learner() -> TorchLearner:
    """Five convolutions, trained on slightly turned, scaled and shifted digits."""
    features = nn.Sequential(
        *conv(1, 24, pool=True), *conv(24, 32), *conv(32, 32), *conv(32, 64, pool=True), *conv(64, 64)
    )
    tricks = Tricks(
        partial(affine, degrees=10, scale=0.1, shift=0.07), schedule=one_cycle, ema=0.99, channels_last=True
    )
    adam = partial(optim.AdamW, lr=4e-3, weight_decay=0.02)
    return TorchLearner(GapNetwork(features, 64, 10), mean=0.1307, std=0.3081, optimiser=adam, tricks=tricks)


RECIPE = MNIST.recipe(
    command="mnist-4",
    learner=learner,
    epochs=18,
    batch_size=128,
    previous_version="2",
    card=MNIST.card(
        "MNIST digits, batch norm and augmentation",
        "AdamW, one cycle to 4e-3, moving average of weights (0.99), cross-entropy; rotation ±10°, scale ±10 % an "
        "axis, shift ±7 %.",
    ),
)
