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
    "cifar10-alexnet": ("cifar10_alexnet", "AlexNet scaled to 32 × 32, for comparison only"),
    "lung_field-1": ("lung_field_1", "small U-Net for the lung fields of chest radiographs"),
    "pneumonia-1": ("pneumonia_1", "Keras CNN for children's chest radiographs"),
    "pneumonia-2": ("pneumonia_2", "DenseNet-121 for children's chest radiographs"),
    "pneumonia-3": ("pneumonia_3", "EfficientNet-Lite0 for children's chest radiographs"),
}
_LOADERS = {"mnist": load_mnist, "cifar10": load_cifar10}


def summaries() -> dict[str, str]:
    """One line a recipe, for the help text."""
    return {command: line for command, (_, line) in _MODULES.items()}


def recipe(command: str) -> Recipe:
    """The recipe with this command-line name."""
    return import_module(f".{_MODULES[command][0]}", __package__).RECIPE


def dataset(manifest: dict, folder: Path) -> Dataset:
    """What the bundle of this manifest is measured on; image files go through the manifest's own recipe."""
    if manifest["name"] == "pneumonia":
        from ..chest.collection import dataset as radiographs

        return radiographs(folder, manifest)
    return loader(manifest["name"])(folder)


def loader(model: str) -> Callable[[Path], Dataset]:
    """The function that reads the data set which the bundles of this name are evaluated on.

    Found by the model's name and not through its recipe: evaluating needs no training framework.
    """
    if model not in _LOADERS:
        raise TrainingError(f"no data set is known for model {model!r}, only for {', '.join(_LOADERS)}")
    return _LOADERS[model]
