"""From a trained chest classifier to the graph that serves: mirror image folded in, and the distance of its gate."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..heads import Distance, ServedGraph
from .networks import Classifier

_ROWS = 32


class Both(nn.Module):
    """The last maps, mean of the image's and of its mirror image's (mirrored back), and the distance's features.

    The head is linear behind a mean over places, so it gives the mean of both logits, and Grad-CAM++ keeps its
    closed form over the mean of the maps. The features are the means over places of the body's `stages` (negative
    numbers count from the last), which keep more of what an image is than the last one alone.
    """

    def __init__(self, body: nn.Module, stages: tuple[int, ...]):
        super().__init__()
        self.body, self.stages = body, stages

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.body.stages(torch.cat([image, image.flip(3)]))
        halves = {at: found[at].chunk(2) for at in {*self.stages, -1}}
        near = [((one + other) / 2).mean(dim=(2, 3)) for one, other in (halves[at] for at in self.stages)]
        one, other = halves[-1]
        return (one + other.flip(3)) / 2, torch.cat(near, dim=1)


def graph(network: Classifier, stages: tuple[int, ...]) -> ServedGraph:
    """The served graph, without its distance."""
    return ServedGraph(Both(network.body, stages), network.head.weight, network.head.bias).eval()


@torch.no_grad()
def near(served: ServedGraph, images: np.ndarray) -> np.ndarray:
    """The distance's features float32 [n, e] of images float32 [n, 1, h, w]."""
    return np.concatenate([served.split(part)[1].numpy() for part in torch.from_numpy(images).split(_ROWS)])


def fit_distance(features: np.ndarray, labels: np.ndarray, shrink: float) -> Distance:
    """Mahalanobis distance to the nearest class; features of every stage weigh alike.

    shrink: the share of the identity in the covariance (Ledoit and Wolf 2004, with a fixed share). There are about as
    many features as training images: without it the directions that hardly vary among those decide everything, and
    good images of another detector are refused.
    """
    wide = features.astype(np.float64)
    spread = wide.std(axis=0) + 1e-6
    means = np.stack([wide[labels == label].mean(axis=0) for label in (0, 1)])
    apart = (wide - means[labels]) / spread
    covariance = apart.T @ apart / len(apart)
    level = np.trace(covariance) / len(covariance)
    values, vectors = np.linalg.eigh((1 - shrink) * covariance + shrink * level * np.eye(len(covariance)))
    return Distance(vectors / np.sqrt(values) / spread[:, None], means)
