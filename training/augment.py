"""Random changes of training images, on whole batches; torch's generator draws, so a seed repeats them."""

from __future__ import annotations

import torch
from torch.nn import functional


def affine(images: torch.Tensor, degrees: float, scale: float, shift: float) -> torch.Tensor:
    """Rotate by up to ±degrees, scale by 1 ± scale (each axis by itself), shift by up to ± `shift` of the side.

    images: float [n, c, h, w]; what comes in from outside is 0.
    """
    n = len(images)
    draw = torch.rand(5, n) * 2 - 1
    angle = draw[0] * degrees * torch.pi / 180
    across, down = 1 + draw[1] * scale, 1 + draw[2] * scale
    # grid_sample's coordinates run from -1 to 1 over the side.
    top = torch.stack([across * angle.cos(), -across * angle.sin(), draw[3] * 2 * shift], dim=1)
    bottom = torch.stack([down * angle.sin(), down * angle.cos(), draw[4] * 2 * shift], dim=1)
    grid = functional.affine_grid(torch.stack([top, bottom], dim=1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def flip(images: torch.Tensor) -> torch.Tensor:
    """Mirror each image left to right with probability one half."""
    mirrored = torch.rand(len(images), 1, 1, 1) < 0.5
    return torch.where(mirrored, images.flip(3), images)


def crop(images: torch.Tensor, pixels: int) -> torch.Tensor:
    """Shift each image by up to ± `pixels` both ways; the border is reflected."""
    n, _, height, width = images.shape
    padded = functional.pad(images, [pixels] * 4, mode="reflect")
    corners = torch.randint(0, 2 * pixels + 1, (2, n))
    rows = (corners[0][:, None] + torch.arange(height))[:, :, None]
    columns = (corners[1][:, None] + torch.arange(width))[:, None, :]
    return padded[torch.arange(n)[:, None, None], :, rows, columns].permute(0, 3, 1, 2).contiguous()


def cutout(images: torch.Tensor, side: int) -> torch.Tensor:
    """Fill one square of `side` pixels an image with the image's own mean (DeVries and Taylor 2017)."""
    n, _, height, width = images.shape
    corners = torch.rand(2, n) * torch.tensor([[height - side + 1.0], [width - side + 1.0]])
    top, left = corners.long()
    rows, columns = torch.arange(height), torch.arange(width)
    inside = ((rows >= top[:, None]) & (rows < top[:, None] + side))[:, None, :, None]
    inside = inside & ((columns >= left[:, None]) & (columns < left[:, None] + side))[:, None, None, :]
    return torch.where(inside, images.mean(dim=(2, 3), keepdim=True), images)
