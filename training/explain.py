"""Proof of the map in the graph: Grad-CAM++ by automatic differentiation, for a comparison on real images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from . import model_file
from .heads import ServedGraph

PROVEN = 8


def grad_cam_pp(maps: torch.Tensor, score, label: int) -> torch.Tensor:
    """Exact Grad-CAM++ [y, x] of maps [1, d, y, x], where `score` takes maps to logits [1, k]: no epsilon anywhere.

    Y = exp(S), so ∂ⁿY/∂Aⁿ = Y·(∂S/∂A)ⁿ wherever S is linear in A; ∂S/∂A comes from autograd. Up to the factor Y.
    """
    leaf = maps.detach().double().requires_grad_()
    slope = torch.autograd.grad(score(leaf)[0, label], leaf)[0]
    below = 2 * slope.square() + (leaf * slope.pow(3)).sum(dim=(2, 3), keepdim=True)
    alpha = torch.where(below == 0, torch.zeros_like(below), slope.square() / below)
    weights = (alpha * slope.relu()).sum(dim=(2, 3), keepdim=True)
    return (weights * leaf).sum(dim=1)[0].relu().detach()


def largest_difference(graph: ServedGraph, model: Path, images: np.ndarray) -> float:
    """Between the ONNX file's maps of every label and autograd's, each over its own largest value."""
    served = model_file.run_all(model, images)["cam"]
    weight, bias = graph.weight.double(), graph.bias.double()
    if len(weight) == 1:
        weight, bias = torch.cat([-weight, weight]), torch.cat([-bias, bias])

    def score(maps: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(torch.nn.functional.adaptive_avg_pool2d(maps, 1).flatten(1), weight, bias)

    worst = 0.0
    for at, image in enumerate(images):
        with torch.no_grad():
            maps = graph.split(torch.from_numpy(image[None]))[0]
        for label in range(len(weight)):
            exact = grad_cam_pp(maps, score, label).numpy()
            worst = max(worst, float(np.abs(_scaled(exact) - _scaled(served[at, label].astype(np.float64))).max()))
    return worst


def _scaled(values: np.ndarray) -> np.ndarray:
    # A zero map stays zero.
    return values / values.max() if values.max() > 0 else values
