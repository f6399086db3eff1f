"""Networks that end in global average pooling and one dense layer, so that a class activation map is exact."""

from __future__ import annotations

import torch
from torch import nn


class GapNetwork(nn.Module):
    """Features after a ReLU, their average over the image, one dense layer.

    flip: the features are the mean of those of the image and of its mirror image (mirrored back), from which
    embedding, logits and map follow as before: the average of both answers, in one graph. In evaluation only.
    """

    def __init__(self, features: nn.Module, channels: int, classes: int, flip: bool = False):
        super().__init__()
        self.features, self.flip = features, flip
        self.head = nn.Linear(channels, classes)

    def maps(self, image: torch.Tensor) -> torch.Tensor:
        """float32 [n, channels, h, w], not below 0."""
        maps = self.features(image)
        if self.flip and not self.training:
            maps = (maps + self.features(image.flip(3)).flip(3)) / 2
        return maps

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.maps(image).mean(dim=(2, 3)))


def conv(inputs: int, outputs: int, *, pool: bool = False) -> list[nn.Module]:
    """Convolution 3 × 3, max-pooling if asked for, batch norm, ReLU: pooled first, since the rest is cheaper then."""
    pooled = [nn.MaxPool2d(2)] if pool else []
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), *pooled, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    ]  # fmt: skip


class Whitening(nn.Conv2d):
    """A fixed convolution 2 × 2 onto the principal directions of patches, both signs, scaled to variance one.

    As in airbench (Jordan 2024): the first layer need not be learned.
    """

    def __init__(self, channels: int = 3, side: int = 2):
        super().__init__(channels, 2 * channels * side * side, side, bias=False)
        self.weight.requires_grad = False

    @torch.no_grad()
    def fit(self, images: torch.Tensor) -> None:
        """Take the directions from normalised images [n, c, h, w]."""
        side = self.kernel_size[0]
        patches = nn.functional.unfold(images, side).transpose(1, 2).flatten(0, 1).double()
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        directions = (vectors / (values + 5e-4).sqrt()).T.reshape(-1, *self.weight.shape[1:])
        self.weight.copy_(torch.cat([directions, -directions]).float())
