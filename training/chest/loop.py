"""Trains a binary classifier of radiographs: augmentation, schedule, early stopping by validation AUC, checkpoints.

A checkpoint is written after every epoch and holds all that the next epoch depends on: a run that was stopped goes
on as if it had not been. Test and held-out images are never seen here.
"""

from __future__ import annotations

import copy
import inspect
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from ..errors import TrainingError
from ..state import unreadable, write_state
from . import checkpoint
from .augment import Jitter

_EVAL_ROWS = 64
# What decides the weights, beside the file that makes the network; what a recipe's file says is in the plan.
_SOURCES = ("loop.py", "augment.py", "networks.py")


@dataclass(frozen=True)
class Rows:
    """uint8 images [n, h, w] as `hilum prepare` wrote them, labels 0 or 1."""

    pixels: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def floats(self, rows: np.ndarray | slice) -> torch.Tensor:
        """float32 [n, 1, h, w] in [0, 1]."""
        return torch.from_numpy(self.pixels[rows]).unsqueeze(1).float() / 255


@dataclass(frozen=True)
class Plan:
    """How a network is trained.

    rate, head_rate: the largest learning rates of body and head; the schedule is `one_cycle` (a warm-up of `warm_up`
    of the steps, then a cosine to rate × 1e-3), `cosine` to `floor`, or `plateau` (Keras' ReduceLROnPlateau by
    validation AUC: × 0.3 after 2 epochs). ema: decay a step of the averaged weights that are evaluated and served,
    0 for none. smoothing: of the labels. patience: epochs without a better validation AUC before it stops; 0: never.
    head_decay: L2 on the last layer, as Keras adds it to the loss. balanced: pos_weight = N_neg / N_pos.
    freeze_layers: the body's first so many layers (those with weights) rest in the first `freeze_epochs` epochs.
    """

    epochs: int
    batch_size: int
    rate: float
    head_rate: float
    schedule: str = "one_cycle"
    warm_up: float = 0.15
    floor: float = 1e-6
    weight_decay: float = 0.01
    head_decay: float = 0.0
    smoothing: float = 0.0
    ema: float = 0.0
    patience: int = 0
    balanced: bool = False
    bf16: bool = False
    freeze_layers: int = 0
    freeze_epochs: int = 0
    jitter: Jitter = Jitter()


@dataclass
class History:
    """What a run went through, an entry an epoch."""

    loss: list[float]
    auc: list[float]
    seconds: list[float]

    @property
    def best(self) -> int:
        """The epoch (from 0) of the best validation AUC, the first of equals."""
        return int(np.argmax(self.auc))

    def by_name(self) -> dict[str, list[float]]:
        """What is recorded of each epoch."""
        return {"loss": self.loss, "validation AUC": self.auc}


class Run:
    """One seed of one plan; `train` runs it to its end and leaves the best weights in `evaluated`.

    make: a function that gives a module of logits [n, 1] with `body` and `head`. settings: what else the weights
    depend on, such as the data's digest; `train` adds its rows, code and threads.
    """

    def __init__(self, make: Callable[[], nn.Module], plan: Plan, seed: int, folder: Path, settings: dict):
        self.plan, self.seed, self.folder = plan, seed, folder
        self.settings = settings | {"seed": seed, "plan": asdict(plan)}
        self.sources = (inspect.getfile(make), *_SOURCES)
        torch.manual_seed(seed)
        self.network = make().to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network) if plan.ema else None
        parts = [
            {"params": list(self.network.body.parameters()), "lr": plan.rate, "top": plan.rate},
            {"params": list(self.network.head.parameters()), "lr": plan.head_rate, "top": plan.head_rate},
        ]
        self.optimiser = torch.optim.AdamW(parts, weight_decay=plan.weight_decay, fused=True)
        self.history = History([], [], [])
        self.best: dict | None = None
        self.factor = 1.0

    @property
    def evaluated(self) -> nn.Module:
        """The weights that are scored: the averaged ones where the plan averages."""
        return self.average or self.network

    def train(self, training: Rows, validation: Rows, at_most: int | None = None) -> History:
        """Run to the last epoch or to the end of patience; at most so many epochs of the plan, whose schedule stays."""
        if len(training) < self.plan.batch_size:
            raise TrainingError(f"{len(training)} images to train on are less than a batch of {self.plan.batch_size}")
        last = min(self.plan.epochs, at_most or self.plan.epochs)
        arrays = (training.pixels, training.labels, validation.pixels, validation.labels)
        self.settings = checkpoint.settings(self.settings, arrays, self.sources)
        self._restore()
        checkpoint.refuse_fewer(self.folder, len(self.history.auc), last)
        for epoch in range(len(self.history.auc), last):
            if self._out_of_patience():
                break
            started = time.monotonic()
            loss = self._epoch(training, epoch)
            auc = float(roc_auc_score(validation.labels, logits(self.evaluated, validation)))
            self.history.loss.append(loss)
            self.history.auc.append(auc)
            self.history.seconds.append(time.monotonic() - started)
            if self.history.best == epoch:
                self.best = copy.deepcopy(self.evaluated.state_dict())
            if self.plan.schedule == "plateau" and epoch - self.history.best and (epoch - self.history.best) % 2 == 0:
                self.factor *= 0.3
            self._write()
            print(
                f"epoch {epoch + 1}/{self.plan.epochs}: loss {loss:.4f}, validation AUC {auc:.4f}, "
                f"{self.history.seconds[-1]:.0f} s",
                flush=True,
            )
        if self.best is not None:
            self.evaluated.load_state_dict(self.best)
        return self.history

    def _out_of_patience(self) -> bool:
        waited = len(self.history.auc) - 1 - self.history.best if self.history.auc else 0
        return 0 < self.plan.patience <= waited

    def _epoch(self, rows: Rows, epoch: int) -> float:
        plan, network = self.plan, self.network
        # All draws depend on seed and epoch alone, so a resumed run takes the same steps.
        torch.manual_seed(self.seed * 1000 + epoch)
        generator = torch.Generator().manual_seed(self.seed * 1000 + epoch)
        order = np.random.default_rng((self.seed, epoch)).permutation(len(rows))
        # A last batch of one or two images would upset the batch normalisation.
        steps = len(rows) // plan.batch_size
        weight = torch.tensor((rows.labels == 0).sum() / (rows.labels == 1).sum()) if plan.balanced else None
        network.train()
        self._freeze(epoch < plan.freeze_epochs)
        total = 0.0
        with tqdm(total=steps, desc=f"epoch {epoch + 1}", disable=not sys.stderr.isatty(), leave=False) as bar:
            for step, picked in enumerate(np.array_split(order, steps)):
                self._set_rates((epoch + step / steps) / plan.epochs)
                images = plan.jitter(rows.floats(picked), generator).contiguous(memory_format=torch.channels_last)
                truth = torch.from_numpy(rows.labels[picked]).float()[:, None]
                target = truth * (1 - plan.smoothing) + plan.smoothing / 2
                with torch.autocast("cpu", torch.bfloat16, enabled=plan.bf16):
                    out = network(images)
                loss = F.binary_cross_entropy_with_logits(out.float(), target, pos_weight=weight)
                penalty = plan.head_decay * network.head.weight.square().sum() if plan.head_decay else 0.0
                self.optimiser.zero_grad()
                (loss + penalty).backward()
                self.optimiser.step()
                if self.average is not None:
                    self._average(epoch * steps + step)
                total += loss.item() * len(picked)
                bar.update()
        if not np.isfinite(total):
            raise TrainingError("the loss is not finite; lower the learning rate")
        return total / len(rows)

    def _freeze(self, frozen: bool) -> None:
        if not self.plan.freeze_layers:
            return
        modules = self.network.body.modules()
        layers = [module for module in modules if next(module.parameters(recurse=False), None) is not None]
        for layer in layers[: self.plan.freeze_layers]:
            layer.requires_grad_(not frozen)
            if frozen:
                layer.eval()

    def _set_rates(self, done: float) -> None:
        plan = self.plan
        for group in self.optimiser.param_groups:
            top = group["top"]
            if plan.schedule == "plateau":
                group["lr"] = top * self.factor
                continue
            floor, warm = (plan.floor, 0.0) if plan.schedule == "cosine" else (top * 1e-3, plan.warm_up)
            if done < warm:
                group["lr"] = top * (0.04 + 0.96 * done / warm)
            else:
                group["lr"] = floor + (top - floor) * (1 + math.cos(math.pi * (done - warm) / (1 - warm))) / 2

    @torch.no_grad()
    def _average(self, step: int) -> None:
        # The first steps count less, so that the starting weights do not linger.
        decay = min(self.plan.ema, (1 + step) / (10 + step))
        for kept, new in zip(self.average.state_dict().values(), self.network.state_dict().values()):
            if kept.is_floating_point():
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)

    def _write(self) -> None:
        checkpoint.make_folder(self.folder)
        state = {
            "settings": json.dumps(self.settings, sort_keys=True),
            "history": asdict(self.history),
            "factor": self.factor,
            "network": self.network.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
        }
        aside = self.folder / "latest.partial"
        write_state(state, aside)
        # Being stopped before this line leaves the previous epoch in force.
        aside.replace(self.folder / "latest.pt")

    def _restore(self) -> None:
        path = self.folder / "latest.pt"
        if not path.exists():
            return
        try:
            state = torch.load(path, weights_only=True)
            settings = json.loads(state["settings"])
        except Exception as error:
            raise unreadable(path, error) from error
        checkpoint.refuse_other(self.folder, settings, self.settings)
        try:
            self.history, self.factor, self.best = History(**state["history"]), state["factor"], state["best"]
            self.network.load_state_dict(state["network"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
        except Exception as error:
            raise unreadable(path, error) from error
        print(f"resumed after epoch {len(self.history.auc)}", flush=True)


def logits(network: nn.Module, rows: Rows) -> np.ndarray:
    """float32 [n] of each image, without augmentation."""
    network.eval()
    with torch.no_grad():
        parts = range(0, len(rows), _EVAL_ROWS)
        return torch.cat([network(rows.floats(slice(i, i + _EVAL_ROWS)))[:, 0] for i in parts]).numpy()
