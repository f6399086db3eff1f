"""The graph that is served: from images in [0, 1] to the outputs by role, all in one run.

`scores`, `logits`, `embedding` and `ood` always; `cam` where the head is a global average pool and one dense layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

#: Directions of the within-class spread that count in the distance; more would only make the file larger.
DIRECTIONS = 512


class ServedGraph(nn.Module):
    """Features and a dense layer, with everything that a bundle's roles ask for.

    features: images float32 [n, c, h, w] in [0, 1] to maps [n, d, y, x] (not below 0: after a ReLU) or to an
    embedding [n, d]; or to a pair of either and the features [n, e] that the distance is taken in.
    weight, bias: of the dense layer, [k, d] and [k]. One row is a binary model: the logit of the positive class.

    The map is Grad-CAM++ (Chattopadhyay et al. 2018) in closed form. With S = Σ_d w_d·mean(A_d) + b and Y = exp(S)
    every derivative is constant over the map, ∂ⁿY/∂A_d,ijⁿ = Y·(w_d/N)ⁿ for N places, so
    α_d = 1/(2 + w_d·mean(A_d)), the weight of A_d is Σ_ij α·ReLU(∂Y/∂A) = Y·ReLU(w_d)/(2 + ReLU(w_d)·mean(A_d)),
    and the map is ReLU(Σ_d weight_d·A_d) up to the positive factor Y. It holds for this head only.
    """

    def __init__(self, features: nn.Module | Callable, weight: torch.Tensor, bias: torch.Tensor):
        super().__init__()
        self.features = features
        self.register_buffer("weight", weight.detach().float())
        self.register_buffer("bias", bias.detach().float())
        self.distance: Distance | None = None

    @property
    def classes(self) -> int:
        """Labels: two where there is one logit."""
        return max(2, len(self.weight))

    def split(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps or embedding, and what the distance is taken in."""
        found = self.features(image)
        if isinstance(found, tuple):
            return found
        return found, found.mean(dim=(2, 3)) if found.dim() == 4 else found

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        found, near = self.split(image)
        embedding = found.mean(dim=(2, 3)) if found.dim() == 4 else found
        logits = embedding @ self.weight.T + self.bias
        binary = len(self.weight) == 1
        scores = torch.cat([-logits, logits], dim=1).sigmoid() if binary else logits.softmax(dim=1)
        outputs = {"probabilities": scores, "logits": logits}
        if found.dim() == 4:
            outputs["cam"] = self.maps(found, embedding)
        outputs["embedding"] = embedding
        if self.distance is not None:
            outputs["ood"] = self.distance(near)
        return outputs

    def maps(self, maps: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Grad-CAM++ of every label, float32 [n, k, y, x], each up to a positive factor."""
        weight = torch.cat([-self.weight, self.weight]) if len(self.weight) == 1 else self.weight
        positive = weight.relu()
        shares = positive / (positive * embedding.unsqueeze(1) + 2)
        return (shares @ maps.flatten(2)).reshape(-1, len(weight), *maps.shape[2:]).relu()


ROLES = {"probabilities": "scores", "logits": "logits", "cam": "cam", "embedding": "embedding", "ood": "ood"}


class Distance(nn.Module):
    """Mahalanobis distance to the nearest class, features [n, e] to [n] (Lee et al. 2018, one covariance)."""

    def __init__(self, whiten: np.ndarray, means: np.ndarray):
        super().__init__()
        self.register_buffer("whiten", torch.from_numpy(whiten.astype(np.float32)))
        self.register_buffer("means", torch.from_numpy((means @ whiten).astype(np.float32)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        apart = (features @ self.whiten).unsqueeze(1) - self.means
        return apart.square().sum(dim=2).amin(dim=1).sqrt()


def fit_distance(features: np.ndarray, labels: np.ndarray) -> Distance:
    """The distance from training features [n, e]; the covariance within classes is shrunk a little to the identity."""
    wide = features.astype(np.float64)
    means = np.stack([wide[labels == label].mean(axis=0) for label in np.unique(labels)])
    apart = wide - means[np.unique(labels, return_inverse=True)[1]]
    covariance = apart.T @ apart / len(wide)
    shrunk = covariance + np.eye(len(covariance)) * (1e-3 * np.trace(covariance) / len(covariance) + 1e-12)
    values, vectors = np.linalg.eigh(shrunk)
    # Small eigenvalues are kept first: what hardly varies in the training data gives strangers away.
    kept = slice(0, DIRECTIONS)
    return Distance(vectors[:, kept] / np.sqrt(values[kept]), means)


@dataclass(frozen=True)
class Fitted:
    """A graph with its distance, and the features' size."""

    graph: ServedGraph
    features: int


@torch.no_grad()
def attach_distance(graph: ServedGraph, images: np.ndarray, labels: np.ndarray, rows: int = 256) -> Fitted:
    """Fit the distance on training images float32 [n, c, h, w] and make it a part of the graph."""
    graph.eval()
    parts = [graph.split(part)[1].numpy() for part in torch.from_numpy(images).split(rows)]
    features = np.concatenate(parts)
    graph.distance = fit_distance(features, labels)
    return Fitted(graph, features.shape[1])


class ScoresOnly(nn.Module):
    """A module of scores under the one output's name, for bundles without further roles."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"probabilities": self.module(image)}
