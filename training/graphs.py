"""From a trained learner to the graph that is served, whatever the network's head is."""

from __future__ import annotations

import keras
import torch
from torch import nn

from .heads import DIRECTIONS, ServedGraph
from .learners import KerasLearner, Learner
from .networks.gap import GapNetwork


def graph_of(learner: Learner) -> ServedGraph:
    """The learner's network as scores, logits, embedding, and maps where its head allows them."""
    if isinstance(learner, KerasLearner):
        *_, before, last = learner.model.layers
        rectified = [
            layer for layer in learner.model.layers if getattr(layer, "activation", None) is keras.activations.relu
        ]
        stages = [layer.output for layer in rectified if len(layer.output.shape) == 4]
        features = keras.Model(learner.model.inputs, [before.output, *stages])
        return ServedGraph(_Called(features), last.kernel.value.T, last.bias.value)
    served = learner.served
    if isinstance(served.network, GapNetwork):
        head = served.network.head
        return ServedGraph(_Maps(served), head.weight, head.bias)
    *body, head = served.network
    return ServedGraph(_Normalised(served, nn.Sequential(*body)), head.weight, head.bias)


def answers(stages: list[torch.Tensor]) -> torch.Tensor:
    """What the distance is taken in: of the stages' filters the mean, and the share of places that are above 0.

    stages: maps [n, c, h, w] after their ReLU; as many from the first as the distance has directions for. Strangers
    often look alike to the last layer, which keeps what tells the classes apart and nothing else; how much and how
    often the filters before it answer gives them away.
    """
    means, left = [], DIRECTIONS
    for maps in stages:
        left -= 2 * maps.shape[1]
        if means and left < 0:
            break
        means += [maps.mean(dim=(2, 3)), (maps > 0).float().mean(dim=(2, 3))]
    return torch.cat(means, dim=1)


def _through(layers: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """What the layers make of `x`, and the maps after each ReLU."""
    stages = []
    for layer in layers:
        x = layer(x)
        if isinstance(layer, nn.ReLU) and x.dim() == 4:
            stages.append(x)
    return x, stages


class _Called(nn.Module):
    """A Keras model of an embedding and its stages in torch's terms."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        embedding, *stages = self.model(image, training=False)
        return embedding, answers(stages)


class _Normalised(nn.Module):
    """Normalisation, then the layers before the last."""

    def __init__(self, served, body: nn.Module):
        super().__init__()
        self.body = body
        self.register_buffer("mean", served.mean.clone())
        self.register_buffer("std", served.std.clone())

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        embedding, stages = _through(self.body, (image - self.mean) / self.std)
        return embedding, answers(stages)


class _Maps(nn.Module):
    """The maps of a GAP network."""

    def __init__(self, served):
        super().__init__()
        self.network = served.network
        self.register_buffer("mean", served.mean.clone())
        self.register_buffer("std", served.std.clone())

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = (image - self.mean) / self.std
        maps, stages = _through(self.network.features, x)
        return self.network.averaged(x, maps), answers(stages)
