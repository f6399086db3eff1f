"""The recipes by the name they have on the command line.

Modules are imported when asked for, so that `--help` need not wait for the frameworks.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from ..data import Dataset
from ..data.cifar10 import load_cifar10
from ..data.mnist import load_mnist
from ..errors import TrainingError
from ..recipe import Recipe

_MODULES = {
    "mnist-1": ("mnist_1", "Keras CNN for handwritten digits"),
    "mnist-2": ("mnist_2", "PyTorch CNN for handwritten digits"),
    "mnist-3": ("mnist_3", "LeNet-5 for handwritten digits"),
    "mnist-4": ("mnist_4", "the best CNN for handwritten digits, with maps"),
    "cifar10-1": ("cifar10_1", "Keras CNN for CIFAR-10"),
    "cifar10-2": ("cifar10_2", "the best CNN for CIFAR-10, with maps"),
    "cifar10-3": ("cifar10_3", "a small VGG for CIFAR-10"),
}
_LOADERS = {"mnist": load_mnist, "cifar10": load_cifar10}


def summaries() -> dict[str, str]:
    """One line a recipe, for the help text."""
    return {command: line for command, (_, line) in _MODULES.items()}


def recipe(command: str) -> Recipe:
    """The recipe with this command-line name."""
    return import_module(f".{_MODULES[command][0]}", __package__).RECIPE


def loader(model: str) -> Callable[[Path], Dataset]:
    """The function that reads the data set which the bundles of this name are evaluated on.

    Found by the model's name and not through its recipe: evaluating needs no training framework.
    """
    if model not in _LOADERS:
        raise TrainingError(f"no data set is known for model {model!r}, only for {', '.join(_LOADERS)}")
    return _LOADERS[model]
