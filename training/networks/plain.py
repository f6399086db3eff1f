"""The classics, for comparison: LeNet-5, a scaled AlexNet, a small VGG."""

from __future__ import annotations

from torch import nn


def lenet5() -> nn.Sequential:
    """LeNet-5 (LeCun et al. 1998) for 28 × 28 × 1: convolutions 5 × 5 of 6 and 16, dense 120, 84, 10.

    ReLU and max-pooling stand in for the original's tanh and trainable subsampling.
    """
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def alexnet() -> nn.Sequential:
    """AlexNet (Krizhevsky et al. 2012) scaled to 32 × 32 × 3: its five convolutions and three dense layers, narrower.

    The first filters are 5 × 5 at stride 2 instead of 11 × 11 at stride 4; pooling overlaps as in the original.
    """
    return nn.Sequential(
        nn.Conv2d(3, 24, 5, stride=2, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1),
        nn.Conv2d(24, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1),
        nn.Conv2d(64, 96, 3, padding=1), nn.ReLU(),
        nn.Conv2d(96, 96, 3, padding=1), nn.ReLU(),
        nn.Conv2d(96, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(256, 256), nn.ReLU(),
        nn.Dropout(0.3), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10),
    )  # fmt: skip


def vgg() -> nn.Sequential:
    """A small VGG (Simonyan and Zisserman 2015) for 32 × 32 × 3: three stacks of 3 × 3, dense 128, 10."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.2), nn.Linear(64 * 16, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
