"""Networks that end in global average pooling and one dense layer, so that a class activation map is exact."""

from __future__ import annotations

import torch
from torch import nn


class GapNetwork(nn.Module):
    """Features after a ReLU, their average over the image, one dense layer.

    flip: in evaluation the features are the mean of those of the image and of its mirror image (mirrored back), from
    which embedding, logits and map follow as before: the average of both answers, in one graph.
    shift: of both also moved by so many pixels up and left, and down and right, the border reflected (as airbench
    evaluates; Jordan 2024). Their maps are not moved back: it is a fraction of a place of the map.
    """

    def __init__(self, features: nn.Module, channels: int, classes: int, flip: bool = False, shift: int = 0):
        super().__init__()
        self.features, self.flip, self.shift = features, flip, shift
        self.head = nn.Linear(channels, classes)

    def maps(self, image: torch.Tensor) -> torch.Tensor:
        """float32 [n, channels, h, w], not below 0."""
        maps = self.features(image)
        return maps if self.training else self.averaged(image, maps)

    def averaged(self, image: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        """The mean of an image's own maps and those of its other views."""
        if not (self.flip or self.shift):
            return maps
        views = [image]
        if self.shift:
            padded, (height, width) = nn.functional.pad(image, [self.shift] * 4, mode="reflect"), image.shape[2:]
            views += [padded[:, :, at : at + height, at : at + width] for at in (0, 2 * self.shift)]
        every = [maps, *map(self.features, views[1:])]
        if self.flip:
            every += [self.features(view.flip(3)).flip(3) for view in views]
        return sum(every) / len(every)

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
