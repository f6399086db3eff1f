"""The graph that serves a chest classifier: the image and its mirror image in one run, their maps as one.

The mean of both logits is the logit of the mean of both embeddings, so the pair of maps side by side is one map of
twice the width under the same head, and Grad-CAM++ keeps its closed form; its two halves are laid over each other.
"""

from __future__ import annotations

import torch
from torch import nn

from ..heads import ServedGraph
from .networks import Classifier


class Mirrored(ServedGraph):
    """`ServedGraph` of a `Classifier` with the mirror image folded in; `features` gives maps [n, d, h, 2w].

    stages: which of the body's stages the distance looks at, beside the embedding.
    """

    def __init__(self, network: Classifier, stages: tuple[int, ...]):
        super().__init__(_Both(network.body, stages), network.head.weight, network.head.bias)

    def maps(self, maps: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Grad-CAM++ of both labels [n, 2, h, w], the mean of the image's and of its mirror image's."""
        return folded(super().maps(maps, embedding))


def folded(wide: torch.Tensor) -> torch.Tensor:
    """[…, h, 2w] to […, h, w]: the mean of the left half and of the right half, mirrored back."""
    left, right = wide.chunk(2, dim=-1)
    return (left + right.flip(-1)) / 2


class _Both(nn.Module):
    def __init__(self, body: nn.Module, stages: tuple[int, ...]):
        super().__init__()
        self.body, self.stages = body, stages

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.body.stages(torch.cat([image, image.flip(-1)]))
        pairs = [found[at].reshape(2, -1, *found[at].shape[1:]) for at in (*self.stages, -1)]
        near = torch.cat([pair.mean(dim=(0, 3, 4)) for pair in pairs], dim=1)
        return torch.cat([pairs[-1][0], pairs[-1][1]], dim=3), near
