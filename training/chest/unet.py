"""The lung-field network, a small U-Net (Ronneberger et al. 2015), and how it is trained on classical masks.

Images without a plausible classical mask are left out of its training and are what it is for.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from ..errors import TrainingError
from ..state import unreadable, write_state
from . import checkpoint
from .augment import Jitter, warped

_EVAL_ROWS = 64
# What decides the weights; what the recipe's file says is in the settings.
_SOURCES = ("unet.py", "augment.py", "lung_masks.py")


class UNet(nn.Module):
    """float32 [n, 1, h, w] in [0, 1] (h, w multiples of 8) to the logit of lung at each pixel, same shape."""

    def __init__(self, widths: tuple[int, ...] = (12, 24, 48, 64)):
        super().__init__()
        self.down = nn.ModuleList(_block(a, b) for a, b in zip((1, *widths), widths))
        self.up = nn.ModuleList(_block(a + b, b) for a, b in zip(widths[:0:-1], widths[-2::-1]))
        self.last = nn.Conv2d(widths[0], 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x, kept = image, []
        for at, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if at else x)
            kept.append(x)
        for block, beside in zip(self.up, kept[-2::-1]):
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), beside], dim=1))
        return self.last(x)


def _block(before: int, after: int) -> nn.Sequential:
    layers = []
    for inputs in (before, after):
        layers += [nn.Conv2d(inputs, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


def dice(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Per image 2 |A ∩ B| / (|A| + |B|) of bool [n, h, w] (Dice 1945); 1 where both are empty."""
    both = (found & truth).sum(axis=(1, 2))
    total = found.sum(axis=(1, 2)) + truth.sum(axis=(1, 2))
    return np.where(total == 0, 1.0, 2 * both / np.maximum(total, 1))


def probabilities(network: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """float32 [n, h, w] of uint8 images [n, h, w]."""
    network.eval()
    with torch.no_grad():
        images = torch.from_numpy(pixels).unsqueeze(1)
        return torch.cat([network(part.float() / 255).sigmoid()[:, 0] for part in images.split(_EVAL_ROWS)]).numpy()


def train(
    pixels: np.ndarray, masks: np.ndarray, epochs: int, batch_size: int, seed: int, jitter: Jitter, folder: Path,
    settings: dict,
) -> tuple[UNet, list[float]]:  # fmt: skip
    """Fit cross-entropy and soft Dice to uint8 images and bool masks [n, h, w]; the network and each epoch's loss.

    Resumes from `folder`. settings: what the weights depend on beside the rows, the code and the other arguments.
    """
    if len(pixels) < batch_size:
        raise TrainingError(f"{len(pixels)} images with a mask are less than a batch of {batch_size}")
    told = settings | {"epochs": epochs, "batch_size": batch_size, "seed": seed, "jitter": asdict(jitter)}
    run = _Run(epochs, len(pixels) // batch_size, seed, jitter)
    path, settings = folder / "latest.pt", checkpoint.settings(told, (pixels, masks), _SOURCES)
    if path.exists():
        run.restore(path, settings)
    for epoch in range(len(run.losses), epochs):
        started = time.monotonic()
        run.epoch(pixels, masks, epoch)
        checkpoint.make_folder(folder)
        run.write(path, settings)
        took = time.monotonic() - started
        print(f"epoch {epoch + 1}/{epochs}: loss {run.losses[-1]:.4f}, {took:.0f} s", flush=True)
    return run.network, run.losses


class _Run:
    """Network, optimiser and schedule: one cycle over `epochs` of `steps` each. losses: of each epoch done."""

    def __init__(self, epochs: int, steps: int, seed: int, jitter: Jitter):
        torch.manual_seed(seed)
        self.steps, self.seed, self.jitter, self.losses = steps, seed, jitter, []
        self.network = UNet().to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=3e-3)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, 3e-3, total_steps=epochs * steps)

    def _parts(self) -> dict:
        return {"network": self.network, "optimiser": self.optimiser, "schedule": self.schedule}

    def epoch(self, pixels: np.ndarray, masks: np.ndarray, epoch: int) -> None:
        """Train over the rows once."""
        generator = torch.Generator().manual_seed(self.seed * 1000 + epoch)
        order, total = np.random.default_rng((self.seed, epoch)).permutation(len(pixels)), 0.0
        self.network.train()
        with tqdm(total=self.steps, desc=f"epoch {epoch + 1}", disable=not sys.stderr.isatty(), leave=False) as bar:
            for picked in np.array_split(order, self.steps):
                images = torch.from_numpy(pixels[picked]).unsqueeze(1).float() / 255
                truth = torch.from_numpy(masks[picked]).unsqueeze(1).float()
                grid = self.jitter.grid(images, generator)
                images, truth = self.jitter.shaded(warped(images, grid), generator), warped(truth, grid)
                loss = _loss(self.network(images.contiguous(memory_format=torch.channels_last)), truth)
                self.optimiser.zero_grad()
                loss.backward()
                self.optimiser.step()
                self.schedule.step()
                total += loss.item()
                bar.update()
        if not np.isfinite(total):
            raise TrainingError("the loss is not finite; lower the learning rate")
        self.losses.append(total / self.steps)

    def write(self, path: Path, settings: dict) -> None:
        """Replace the checkpoint; being stopped in between leaves the previous one in force."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        aside = path.with_suffix(".partial")
        write_state(state | {"settings": json.dumps(settings), "losses": self.losses}, aside)
        aside.replace(path)

    def restore(self, path: Path, settings: dict) -> None:
        """Take up the checkpoint; TrainingError where it is damaged or of other settings."""
        try:
            state = torch.load(path, weights_only=True)
            # Without settings where an earlier version of this program wrote it.
            kept = json.loads(state.get("settings", "{}"))
        except Exception as error:
            raise unreadable(path, error) from error
        checkpoint.refuse_other(path.parent, kept, settings)
        try:
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
            self.losses = state["losses"]
        except Exception as error:
            raise unreadable(path, error) from error
        print(f"resumed after epoch {len(self.losses)}", flush=True)


def _loss(out: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of logits and soft Dice, both against [n, 1, h, w]."""
    chance = out.sigmoid()
    overlap = 2 * (chance * truth).sum(dim=(1, 2, 3)) + 1
    soft = 1 - (overlap / (chance.sum(dim=(1, 2, 3)) + truth.sum(dim=(1, 2, 3)) + 1)).mean()
    return F.binary_cross_entropy_with_logits(out, truth) + soft
