"""From a trained learner to the graph that is served, whatever the network's head is."""

from __future__ import annotations

import keras
import torch
from torch import nn

from .heads import ServedGraph
from .learners import KerasLearner, Learner
from .networks.gap import GapNetwork


def graph_of(learner: Learner) -> ServedGraph:
    """The learner's network as scores, logits, embedding, and maps where its head allows them."""
    if isinstance(learner, KerasLearner):
        *_, before, last = learner.model.layers
        features = keras.Model(learner.model.inputs, before.output)
        return ServedGraph(_Called(features), last.kernel.value.T, last.bias.value)
    served = learner.served
    if isinstance(served.network, GapNetwork):
        head = served.network.head
        return ServedGraph(_Maps(served), head.weight, head.bias)
    *body, head = served.network
    return ServedGraph(_Normalised(served, nn.Sequential(*body)), head.weight, head.bias)


class _Called(nn.Module):
    """A Keras model in torch's terms."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.model(image, training=False)


class _Normalised(nn.Module):
    """Normalisation, then the layers before the last."""

    def __init__(self, served, body: nn.Module):
        super().__init__()
        self.body = body
        self.register_buffer("mean", served.mean.clone())
        self.register_buffer("std", served.std.clone())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.body((image - self.mean) / self.std)


class _Maps(nn.Module):
    """The maps of a GAP network; the distance is taken in the means of every stage after its ReLU.

    Strangers often look alike to the last layer, which keeps what tells the classes apart and nothing else.
    """

    def __init__(self, served):
        super().__init__()
        self.network = served.network
        self.register_buffer("mean", served.mean.clone())
        self.register_buffer("std", served.std.clone())

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = (image - self.mean) / self.std
        maps, means = x, []
        for layer in self.network.features:
            maps = layer(maps)
            if isinstance(layer, nn.ReLU):
                means.append(maps.mean(dim=(2, 3)))
        if self.network.flip:
            maps = (maps + self.network.features(x.flip(3)).flip(3)) / 2
        return maps, torch.cat(means, dim=1)
