"""The ONNX file of a bundle: written from a torch module, checked, and run.

Every model leaves here with one interface, whatever trained it: the names, shapes and value ranges of `Interface`.
The file carries no trace of the machine that made it.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from .errors import TrainingError

OPSET = 20
INPUT, OUTPUT, BATCH = "image", "probabilities", "batch"
# Scores are computed in batches of this size; fixed because the order of additions may depend on it.
_ROWS = 250
# Nodes whose constants are weights; those of others are a target shape or a mean.
_WEIGHTED = {"Conv", "Gemm", "MatMul", "Add"}


@dataclass(frozen=True)
class Interface:
    """Input `image` float32 [batch, *image_shape] in [0, 1]; output `probabilities` float32 [batch, classes]."""

    image_shape: tuple[int, int, int]
    classes: int


def export(module, interface: Interface, path: Path) -> None:
    """Write `module` (torch, image to probabilities) as a single ONNX file and check it."""
    import torch

    module.eval()
    # Two rows: the exporter takes a batch of one for a constant.
    example = torch.zeros(2, *interface.image_shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            _named(module), (example,), path, input_names=[INPUT], output_names=[OUTPUT], opset_version=OPSET,
            dynamo=True, external_data=False, dynamic_shapes={INPUT: {0: torch.export.Dim(BATCH)}}, verbose=False,
        )  # fmt: skip
    model = onnx.load(path)
    _strip(model)
    onnx.save(model, path)
    check(path, interface)


def _named(module):
    """A module whose `forward` takes `image`: dynamic shapes are matched by argument name, Keras' takes `*args`."""
    import torch

    class Named(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, image):
            return self.inner(image)

    return Named().eval()


def _strip(model: onnx.ModelProto) -> None:
    """Drop stack traces and source paths that the exporter leaves beside nodes and values."""
    graph = model.graph
    del model.metadata_props[:], graph.metadata_props[:]
    model.doc_string = graph.doc_string = ""
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


def check(path: Path, interface: Interface) -> None:
    """Refuse a file that ONNX finds invalid or whose inputs and outputs are not the interface's."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    found = [(value.name, _shape(value)) for value in (*model.graph.input, *model.graph.output)]
    wanted = [(INPUT, [BATCH, *interface.image_shape]), (OUTPUT, [BATCH, interface.classes])]
    if found != wanted:
        raise TrainingError(f"{path.name}: inputs and outputs are {found}, expected {wanted}")
    if any(tensor.external_data for tensor in model.graph.initializer):
        raise TrainingError(f"{path.name}: weights lie outside the file")


def _shape(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def run(path: Path, images: np.ndarray) -> np.ndarray:
    """Probabilities float32 [n, k] of images float32 [n, c, h, w] in [0, 1], by ONNX Runtime on one CPU thread."""
    options = onnxruntime.SessionOptions()
    # One thread: figures must not depend on how many cores the machine has.
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise TrainingError(f"{path}: ONNX Runtime cannot load it ({error})") from error
    batches = range(0, len(images), _ROWS)
    return np.concatenate([session.run([OUTPUT], {INPUT: images[i : i + _ROWS]})[0] for i in batches])


def layers(path: Path) -> list[tuple[str, str, int]]:
    """The graph's nodes in order as (operator with kernel, output shape, number of weights)."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    shapes = {value.name: _shape(value) for value in (*model.graph.value_info, *model.graph.output)}
    sizes = {tensor.name: (tensor.dims, int(np.prod(tensor.dims))) for tensor in model.graph.initializer}
    rows = []
    for node in model.graph.node:
        kernel = next((list(a.ints) for a in node.attribute if a.name == "kernel_shape"), None)
        operator = node.op_type + (f" {'×'.join(map(str, kernel))}" if kernel else "")
        weights = sum(sizes[name][1] for name in node.input if name in sizes and node.op_type in _WEIGHTED)
        rows.append((operator, " × ".join(map(str, shapes.get(node.output[0], ["?"]))), weights))
    return rows
