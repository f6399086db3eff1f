"""The lung-field network, a small U-Net (Ronneberger et al. 2015), and how it is trained on classical masks.

Images without a plausible classical mask are left out of its training and are what it is for.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..errors import TrainingError
from ..state import write_state
from .augment import Jitter, warped

_EVAL_ROWS = 64


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
    pixels: np.ndarray, masks: np.ndarray, epochs: int, batch_size: int, seed: int, jitter: Jitter, folder: Path
) -> UNet:
    """Fit cross-entropy and soft Dice to uint8 images and bool masks [n, h, w]; resumes from `folder`."""
    if len(pixels) < batch_size:
        raise TrainingError(f"{len(pixels)} images with a mask are less than a batch of {batch_size}")
    torch.manual_seed(seed)
    network = UNet().to(memory_format=torch.channels_last)
    steps = len(pixels) // batch_size
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=epochs * steps)
    parts = {"network": network, "optimiser": optimiser, "schedule": schedule}
    path, done = folder / "latest.pt", 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        if state["rows"] != len(pixels) or state["epochs"] != epochs:
            raise TrainingError(f"{path}: a checkpoint of other settings; remove its folder")
        for name, part in parts.items():
            part.load_state_dict(state[name])
        done = state["done"]
    for epoch in range(done, epochs):
        started, total = time.monotonic(), 0.0
        generator = torch.Generator().manual_seed(seed * 1000 + epoch)
        order = np.random.default_rng((seed, epoch)).permutation(len(pixels))
        network.train()
        for picked in np.array_split(order, steps):
            images = torch.from_numpy(pixels[picked]).unsqueeze(1).float() / 255
            truth = torch.from_numpy(masks[picked]).unsqueeze(1).float()
            grid = jitter.grid(images, generator)
            images, truth = jitter.shaded(warped(images, grid), generator), warped(truth, grid)
            out = network(images.contiguous(memory_format=torch.channels_last))
            chance = out.sigmoid()
            overlap = 2 * (chance * truth).sum(dim=(1, 2, 3)) + 1
            soft = 1 - (overlap / (chance.sum(dim=(1, 2, 3)) + truth.sum(dim=(1, 2, 3)) + 1)).mean()
            loss = F.binary_cross_entropy_with_logits(out, truth) + soft
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: part.state_dict() for name, part in parts.items()}
        write_state(state | {"rows": len(pixels), "epochs": epochs, "done": epoch + 1}, folder / "latest.partial")
        (folder / "latest.partial").replace(path)
        print(f"epoch {epoch + 1}/{epochs}: loss {total / steps:.4f}, {time.monotonic() - started:.0f} s", flush=True)
    return network
