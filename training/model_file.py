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
# As many bytes of input at most are run at once: a batch of large images has larger feature maps still.
_BYTES = 2 << 20


@dataclass(frozen=True)
class Interface:
    """Input `image` float32 [batch, *image_shape] in [0, 1]; output `probabilities` float32 [batch, classes].

    output, output_shape: the first output's name and its shape without the batch, where it is another.
    """

    image_shape: tuple[int, int, int]
    classes: int
    output: str = OUTPUT
    output_shape: tuple[int, ...] | None = None

    @property
    def answer(self) -> tuple[str, list[int | str]]:
        """Name and shape of the first output."""
        return self.output, [BATCH, *(self.output_shape or (self.classes,))]


def export(module, interface: Interface, path: Path, outputs: tuple[str, ...] = (OUTPUT,)) -> None:
    """Write `module` (torch; image to a tensor, or to a dict of `outputs` in this order) as one ONNX file, checked."""
    import torch

    module.eval()
    # Two rows: the exporter takes a batch of one for a constant.
    example = torch.zeros(2, *interface.image_shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            _named(module, outputs), (example,), path, input_names=[INPUT], output_names=list(outputs),
            opset_version=OPSET, dynamo=True, external_data=False, verbose=False,
            dynamic_shapes={INPUT: {0: torch.export.Dim(BATCH)}},
        )  # fmt: skip
    model = onnx.load(path)
    _strip(model)
    # Tools that add an output or draw the graph need every value's shape.
    onnx.save(onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True), path)
    check(path, interface)


def _named(module, outputs: tuple[str, ...]):
    """A module whose `forward` takes `image`: dynamic shapes are matched by argument name, Keras' takes `*args`."""
    import torch

    class Named(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, image):
            found = self.inner(image)
            return tuple(found[name] for name in outputs) if isinstance(found, dict) else found

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
    """Refuse a file that ONNX finds invalid or whose input and scores are not the interface's."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    found = [(value.name, shape(value)) for value in (*model.graph.input, *model.graph.output[:1])]
    wanted = [(INPUT, [BATCH, *interface.image_shape]), interface.answer]
    if found != wanted:
        raise TrainingError(f"{path.name}: inputs and outputs are {found}, expected {wanted}")
    for value in model.graph.output:
        # The batch alone is open: a consumer allocates by what the file says.
        if any(isinstance(dim, str) or dim == 0 for dim in shape(value)[1:]) or shape(value)[0] != BATCH:
            raise TrainingError(f"{path.name}: {value.name} has shape {shape(value)}, only the batch may be open")
    if any(tensor.external_data for tensor in model.graph.initializer):
        raise TrainingError(f"{path.name}: weights lie outside the file")


def shape(value: onnx.ValueInfoProto) -> list[int | str]:
    """Dimensions as numbers, or as the name of an open one."""
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def output_shapes(path: Path) -> dict[str, list[int]]:
    """Each output's shape, -1 for the batch, in the file's order."""
    outputs = onnx.load(path, load_external_data=False).graph.output
    return {value.name: [-1 if isinstance(dim, str) else dim for dim in shape(value)] for value in outputs}


def session(path: Path) -> onnxruntime.InferenceSession:
    """ONNX Runtime on one CPU thread: figures must not depend on how many cores the machine has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise TrainingError(f"{path}: ONNX Runtime cannot load it ({error})") from error


def run(path: Path, images: np.ndarray) -> np.ndarray:
    """Probabilities float32 [n, k] of images float32 [n, c, h, w] in [0, 1]."""
    return run_all(path, images, (OUTPUT,))[OUTPUT]


def run_all(path: Path, images: np.ndarray, names: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
    """Outputs by name (all of them, or `names`) of images float32 [n, c, h, w] in [0, 1]."""
    opened = session(path)
    names = names or tuple(output.name for output in opened.get_outputs())
    rows = max(1, min(_ROWS, _BYTES // max(1, images[:1].nbytes)))
    parts = [opened.run(list(names), {INPUT: images[i : i + rows]}) for i in range(0, len(images), rows)]
    return {name: np.concatenate([part[at] for part in parts]) for at, name in enumerate(names)}


def layers(path: Path) -> list[tuple[str, str, int]]:
    """The graph's nodes up to the scores, in order, as (operator with kernel, output shape, number of weights).

    A weight counts where it is used first: a graph of several views uses each more than once.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    shapes = {value.name: shape(value) for value in (*model.graph.value_info, *model.graph.output)}
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    sizes = {
        tensor.name: int(np.prod(tensor.dims))
        for tensor in model.graph.initializer
        if tensor.dims and tensor.data_type in floats
    }
    stored, used, rows = {tensor.name: tensor.name for tensor in model.graph.initializer}, set(), []
    for node in leading_to(model.graph, OUTPUT):
        if node.op_type in ("Cast", "Transpose", "Reshape", "Identity") and node.input[0] in stored:
            # A weight kept in another number format or order.
            stored[node.output[0]] = stored[node.input[0]]
            continue
        kernel = next((list(a.ints) for a in node.attribute if a.name == "kernel_shape"), None)
        operator = node.op_type + (f" {'×'.join(map(str, kernel))}" if kernel else "")
        # Constants of other operators are a target shape or a mean, not weights; a number without a dimension is an
        # offset.
        counted = node.op_type in ("Conv", "Gemm", "MatMul", "Add", "BatchNormalization")
        weights = {stored[name] for name in node.input if counted and name in stored} - used
        used |= weights
        rows.append(
            (operator, " × ".join(map(str, shapes.get(node.output[0], ["?"]))), sum(sizes.get(w, 0) for w in weights))
        )
    return rows


def leading_to(graph: onnx.GraphProto, output: str) -> list[onnx.NodeProto]:
    """The nodes that an output depends on, in the graph's order."""
    wanted, kept = {output}, []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return kept[::-1]
