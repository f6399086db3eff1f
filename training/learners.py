"""The two frameworks behind one small interface, so that recipes differ in their network and nothing else does.

A learner holds a network and its optimiser. It is handed rows in the order they are to be used and never shuffles,
so that a run resumed from a checkpoint takes the same steps as one that was never stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import keras
import numpy as np
import torch

from .data import Split
from .state import unreadable, whole, write_state

# Told after every batch; drives the progress bar.
Tick = Callable[[], object]
_EVAL_ROWS = 500


class Learner(Protocol):
    """What the training loop needs from a framework."""

    framework: str

    def run_epoch(self, rows: Split, batch_size: int, tick: Tick, share: tuple[float, float]) -> float:
        """Train once over `rows` in their order; the mean loss.

        share: where in the whole training the epoch begins and ends, each 0 to 1.
        """

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

    def run_epoch(self, rows: Split, batch_size: int, tick: Tick, share: tuple[float, float]) -> float:
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
        with whole(named):
            self.model.save(named)
        named.replace(path)

    def load(self, path: Path) -> None:
        named = path.with_suffix(".keras")
        try:
            named.write_bytes(path.read_bytes())
            self.model = keras.models.load_model(named)
        except Exception as error:
            raise unreadable(path, error) from error
        finally:
            named.unlink(missing_ok=True)


class Served(torch.nn.Module):
    """A network of logits with normalisation before and softmax after it, so that callers need to know neither."""

    def __init__(self, network: torch.nn.Module, mean: float | tuple, std: float | tuple):
        super().__init__()
        self.network = network
        # One value a channel; buffers that are constants of the recipe, not state.
        for name, value in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32).reshape(-1, 1, 1), persistent=False)

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        """float32 [n, k], unbounded, of images float32 [n, c, h, w] in [0, 1]."""
        return self.network((image - self.mean) / self.std)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.logits(image).softmax(dim=1)


@dataclass(frozen=True)
class Tricks:
    """What a torch training may add to plain steps.

    augment: images [n, c, h, w] in [0, 1] to the same, drawn anew each epoch by torch's generator.
    schedule: the share of training that is done (0 to 1) to a factor on each group's learning rate.
    ema: decay a step of the moving average of weights that is served in their place; 0 for none.
    channels_last: compute in that memory layout, which is faster for some networks and changes rounding only.
    bf16: convolutions and dense layers in bfloat16, sums and weights in float32 (Micikevicius et al. 2018): faster
    where the processor multiplies matrices of it (AMX).
    """

    augment: Callable | None = None
    label_smoothing: float = 0.0
    schedule: Callable[[float], float] | None = None
    ema: float = 0.0
    channels_last: bool = False
    bf16: bool = False


class TorchLearner:
    """A torch network of logits, trained with cross-entropy by the optimiser that `optimiser` makes.

    prepare: called with the network and the first epoch's images before training, for layers that data initialise.
    """

    framework = f"torch {torch.__version__.split('+')[0]}"

    def __init__(self, network, mean, std, optimiser: Callable, tricks: Tricks = Tricks(), prepare=None):
        self.trained = Served(network, mean, std)
        self.layout = torch.channels_last if tricks.channels_last else torch.contiguous_format
        self.trained.to(memory_format=self.layout)
        self.optimiser = optimiser(network.parameters())
        self.rates = [group["lr"] for group in self.optimiser.param_groups]
        self.tricks, self.prepare = tricks, prepare
        average = torch.optim.swa_utils.get_ema_multi_avg_fn(tricks.ema)
        self.averaged = (
            torch.optim.swa_utils.AveragedModel(self.trained, multi_avg_fn=average, use_buffers=True)
            if tricks.ema
            else None
        )

    @property
    def served(self) -> Served:
        """The network that answers: the average of weights where there is one."""
        return self.averaged.module if self.averaged else self.trained

    def run_epoch(self, rows: Split, batch_size: int, tick: Tick, share: tuple[float, float]) -> float:
        if self.prepare and share[0] == 0:
            self.prepare(self.trained, torch.from_numpy(rows.images[:2000]))
        self.trained.train()
        images, labels = torch.from_numpy(rows.images), torch.from_numpy(rows.labels)
        steps, total = -(-len(labels) // batch_size), 0.0
        for step, (batch, truth) in enumerate(zip(images.split(batch_size), labels.split(batch_size))):
            self._set_rate(share[0] + (share[1] - share[0]) * step / steps)
            batch = self.tricks.augment(batch) if self.tricks.augment else batch
            batch = batch.contiguous(memory_format=self.layout)
            self.optimiser.zero_grad()
            smoothing = self.tricks.label_smoothing
            with torch.autocast("cpu", torch.bfloat16, enabled=self.tricks.bf16):
                logits = self.trained.logits(batch)
            loss = torch.nn.functional.cross_entropy(logits.float(), truth, label_smoothing=smoothing)
            loss.backward()
            self.optimiser.step()
            if self.averaged:
                self.averaged.update_parameters(self.trained)
            total += loss.item() * len(truth)
            tick()
        return total / len(labels)

    def _set_rate(self, done: float) -> None:
        if self.tricks.schedule:
            for group, rate in zip(self.optimiser.param_groups, self.rates):
                group["lr"] = rate * self.tricks.schedule(done)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        self.served.eval()
        with torch.no_grad():
            return torch.cat([self.served(part) for part in torch.from_numpy(images).split(_EVAL_ROWS)]).numpy()

    def module(self) -> torch.nn.Module:
        return self.served

    def _state(self) -> dict[str, object]:
        parts = {"network": self.trained, "optimiser": self.optimiser}
        return parts | ({"averaged": self.averaged} if self.averaged else {})

    def save(self, path: Path) -> None:
        write_state({name: part.state_dict() for name, part in self._state().items()}, path)

    def load(self, path: Path) -> None:
        try:
            state = torch.load(path, weights_only=True)
            for name, part in self._state().items():
                part.load_state_dict(state[name])
        except Exception as error:
            raise unreadable(path, error) from error
