"""The two frameworks behind one small interface, so that recipes differ in their network and nothing else does.

A learner holds a network and its optimiser. It is handed rows in the order they are to be used and never shuffles,
so that a run resumed from a checkpoint takes the same steps as one that was never stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import keras
import numpy as np
import torch

from .data import Split
from .errors import TrainingError

# Told after every batch; drives the progress bar.
Tick = Callable[[], object]
_EVAL_ROWS = 500


class Learner(Protocol):
    """What the training loop needs from a framework."""

    framework: str

    def run_epoch(self, rows: Split, batch_size: int, tick: Tick) -> float:
        """Train once over `rows` in their order; the mean loss."""

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """float32 [n, k] for images float32 [n, c, h, w] in [0, 1], by the framework itself."""

    def module(self) -> torch.nn.Module:
        """The network as served: images in [0, 1] to probabilities."""

    def save(self, path: Path) -> None:
        """Write network and optimiser."""

    def load(self, path: Path) -> None:
        """Take both back from `save`'s file."""


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy, torch and Keras; called before a recipe builds its network."""
    keras.utils.set_random_seed(seed)


def threads() -> int:
    """Threads that compute: torch splits sums between them, so that their number shows in the weights."""
    return torch.get_num_threads()


class KerasLearner:
    """A compiled Keras model that ends in softmax and takes one-hot labels."""

    framework = f"keras {keras.__version__}, torch {torch.__version__.split('+')[0]}"

    def __init__(self, model: keras.Model):
        self.model = model

    def run_epoch(self, rows: Split, batch_size: int, tick: Tick) -> float:
        classes = self.model.output_shape[-1]
        progress = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: tick())
        history = self.model.fit(
            rows.images, keras.utils.to_categorical(rows.labels, classes), batch_size=batch_size, epochs=1,
            shuffle=False, verbose=0, callbacks=[progress],
        )  # fmt: skip
        return float(history.history["loss"][0])

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        return self.model.predict(images, batch_size=_EVAL_ROWS, verbose=0)

    def module(self) -> torch.nn.Module:
        return self.model

    def save(self, path: Path) -> None:
        # Keras tells the format by the file name's ending.
        named = path.with_suffix(".keras")
        self.model.save(named)
        named.replace(path)

    def load(self, path: Path) -> None:
        named = path.with_suffix(".keras")
        try:
            named.write_bytes(path.read_bytes())
            self.model = keras.models.load_model(named)
        except Exception as error:
            raise _unreadable(path, error) from error
        finally:
            named.unlink(missing_ok=True)


class Served(torch.nn.Module):
    """A network of logits with normalisation before and softmax after it, so that callers need to know neither."""

    def __init__(self, network: torch.nn.Module, mean: float, std: float):
        super().__init__()
        self.network, self.mean, self.std = network, mean, std

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        """float32 [n, k], unbounded, of images float32 [n, c, h, w] in [0, 1]."""
        return self.network((image - self.mean) / self.std)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.logits(image).softmax(dim=1)


class TorchLearner:
    """A torch network of logits, trained with cross-entropy by the optimiser that `optimiser` makes."""

    framework = f"torch {torch.__version__.split('+')[0]}"

    def __init__(self, network: torch.nn.Module, mean: float, std: float, optimiser: Callable):
        self.served = Served(network, mean, std)
        self.optimiser = optimiser(network.parameters())

    def run_epoch(self, rows: Split, batch_size: int, tick: Tick) -> float:
        self.served.train()
        images, labels = torch.from_numpy(rows.images), torch.from_numpy(rows.labels)
        total = 0.0
        for batch, truth in zip(images.split(batch_size), labels.split(batch_size)):
            self.optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(self.served.logits(batch), truth)
            loss.backward()
            self.optimiser.step()
            total += loss.item() * len(truth)
            tick()
        return total / len(labels)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        self.served.eval()
        with torch.no_grad():
            return torch.cat([self.served(part) for part in torch.from_numpy(images).split(_EVAL_ROWS)]).numpy()

    def module(self) -> torch.nn.Module:
        return self.served

    def save(self, path: Path) -> None:
        torch.save({"network": self.served.state_dict(), "optimiser": self.optimiser.state_dict()}, path)

    def load(self, path: Path) -> None:
        try:
            state = torch.load(path, weights_only=True)
            self.served.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
        except Exception as error:
            raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> TrainingError:
    return TrainingError(f"{path}: the checkpoint cannot be read ({error}); remove its folder to begin again")
