"""Random changes of whole batches of grey radiographs on float32 [n, 1, h, w] in [0, 1].

What an image's own shape, brightness and sharpness tell about the class is a shortcut of the collection, not a sign
of disease: aspect, scale, contrast and sharpness are jittered so that the networks learn little of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class Jitter:
    """The largest change of each kind; 0 leaves it out. A change is drawn uniformly from -x to x.

    degrees: rotation. shift: of the side. scale, aspect: in the logarithm. brightness: added. contrast: in the
    logarithm, about the image's mean. sharpness: share of the fine detail added or taken away. flip: chance of a
    mirror image. cutout: side in pixels of one grey square.
    """

    degrees: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    aspect: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    sharpness: float = 0.0
    flip: float = 0.5
    cutout: int = 0

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The batch, changed; every image by its own draws of `generator`."""
        moved = warped(images, self.grid(images, generator))
        return self.shaded(moved, generator)

    def grid(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Where each pixel of the changed batch comes from: float32 [n, h, w, 2] for `warped`."""
        n = len(images)

        def drawn(largest: float) -> torch.Tensor:
            return _drawn(n, largest, generator)

        angle, grow, stretch = torch.deg2rad(drawn(self.degrees)), drawn(self.scale), drawn(self.aspect)
        mirror = torch.where(torch.rand(n, generator=generator) < self.flip, -1.0, 1.0)
        across, down = torch.exp(grow + stretch / 2), torch.exp(grow - stretch / 2)
        theta = torch.zeros(n, 2, 3)
        theta[:, 0, 0], theta[:, 0, 1] = mirror * angle.cos() * across, -angle.sin() * down
        theta[:, 1, 0], theta[:, 1, 1] = mirror * angle.sin() * across, angle.cos() * down
        theta[:, 0, 2], theta[:, 1, 2] = drawn(2 * self.shift), drawn(2 * self.shift)
        return F.affine_grid(theta, list(images.shape), align_corners=False)

    def shaded(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Grey levels alone: sharpness, contrast, brightness, then the square that is cut out."""
        n = len(images)
        if self.sharpness:
            smooth = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
            images = images + _each(_drawn(n, self.sharpness, generator)) * (images - smooth)
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        contrast = _each(torch.exp(_drawn(n, self.contrast, generator)))
        images = (images - mean) * contrast + mean + _each(_drawn(n, self.brightness, generator))
        images = images.clamp(0, 1)
        return self._cut(images, generator) if self.cutout else images

    def _cut(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        n, _, height, width = images.shape
        top = torch.randint(0, height - self.cutout + 1, (n,), generator=generator)
        left = torch.randint(0, width - self.cutout + 1, (n,), generator=generator)
        rows, columns = torch.arange(height), torch.arange(width)
        inside_rows = (rows >= top[:, None]) & (rows < top[:, None] + self.cutout)
        inside_columns = (columns >= left[:, None]) & (columns < left[:, None] + self.cutout)
        inside = (inside_rows[:, :, None] & inside_columns[:, None, :])[:, None]
        return images.masked_fill(inside, 0.5)


def warped(images: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Images (or masks) [n, c, h, w] at the places of `grid`; black where those lie outside."""
    return F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def _drawn(n: int, largest: float, generator: torch.Generator) -> torch.Tensor:
    return (torch.rand(n, generator=generator) * 2 - 1) * largest


def _each(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None, None]
