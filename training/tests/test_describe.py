"""`hilum bundle describe`: its totals and its picture of feature maps against the framework and ONNX Runtime."""

import json
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from training import bundle, goldens, heads, model_file, prepared
from training.errors import TrainingError
from training.graphs import graph_of
from training.learners import KerasLearner
from training.recipes import recipe

ROOT = Path(__file__).parents[2]
RECIPES = ("mnist-3", "mnist-4", "cifar10-1", "cifar10-2", "cifar10-3", "cifar10-alexnet")


@pytest.fixture(autouse=True)
def program():
    try:
        return prepared.binary()
    except TrainingError:
        pytest.skip("no hilum program: build it or name it in HILUM_BIN")


def describe(program: Path, folder: Path, *arguments: object) -> dict:
    command = [str(part) for part in (program, "bundle", "describe", folder, "--output", "json", *arguments)]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("command", RECIPES)
def test_parameters_are_those_of_the_frameworks_own_count(program, tmp_path, command):
    made = recipe(command)
    learner = made.learner()
    if not isinstance(learner, KerasLearner):
        for layer in learner.served.modules():
            # Layers that are all zero or alike are merged in the file; trained ones are neither.
            if isinstance(layer, torch.nn.BatchNorm2d):
                for values in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                    torch.nn.init.uniform_(values, 0.5, 1.5)
    graph = graph_of(learner)
    rows = torch.zeros(4, *made.image_shape)
    heads.attach_distance(graph, rows.numpy() + np.arange(4, dtype=np.float32)[:, None, None, None], np.arange(4) % 2)
    folder = tmp_path / "bare" / "1"
    folder.mkdir(parents=True)
    with torch.no_grad():
        names = tuple(graph(rows))
    model_file.export(graph, made.interface, folder / "model.onnx", names)
    wanted = count(learner)
    (folder / "bundle.toml").write_text(manifest_of(made, folder, names), encoding="utf-8")
    assert describe_bundle(program, folder)["totals"]["parameters"] == wanted


def count(learner) -> int:
    """The framework's own count, of the network as it is exported."""
    if isinstance(learner, KerasLearner):
        return learner.model.count_params()
    network = learner.served.network
    wanted = sum(parameter.numel() for parameter in network.parameters())
    layers = list(getattr(network, "features", []))
    for before, layer in zip(layers, layers[1:]):
        # Right after a convolution that is used once, scale and shift become the convolution's bias.
        if isinstance(layer, torch.nn.BatchNorm2d) and isinstance(before, torch.nn.Conv2d) and not network.flip:
            wanted -= layer.num_features
    return wanted


def manifest_of(made, folder: Path, names: tuple[str, ...]) -> str:
    shapes = model_file.output_shapes(folder / "model.onnx")
    outputs = [{"name": n, "role": heads.ROLES[n], "dtype": "FP32", "shape": shapes[n]} for n in names]
    return bundle.to_toml({
        "schema": 1, "name": "bare", "version": "1", "task": "multiclass", "labels": list(made.labels),
        "model": {
            "file": "model.onnx", "sha256": bundle.sha256(folder / "model.onnx"), "layout": "NCHW", "precision": "fp32",
            "input": [{"name": "image", "dtype": "FP32", "shape": [-1, *made.image_shape]}], "output": outputs,
        },
        "intended_use": {"medical": False, "population": "none"},
        "provenance": {"data_digest": "none", "code_commit": "none", "date": "2026-01-01", "seed": 1},
    })  # fmt: skip


def describe_bundle(program: Path, folder: Path) -> dict:
    shape = onnx.load(folder / "model.onnx").graph.input[0].type.tensor_type.shape.dim
    made = goldens.goldens(folder / "model.onnx", tuple(dim.dim_value for dim in shape[1:]), "none")
    (folder / "goldens.json").write_text(bundle.to_json(made))
    bundle.write_sums(folder)
    return describe(program, folder)


def test_the_picture_shows_the_maps_that_onnx_runtime_gives(program, tmp_path):
    folder = ROOT / "models" / "mnist" / "2"
    image = np.zeros((28, 28), np.uint8)
    image[6:22, 12:17] = np.linspace(60, 255, 16).astype(np.uint8)[:, None]
    Image.fromarray(image).save(tmp_path / "one.png")
    describe(program, folder, "--feature-maps", tmp_path / "one.png", "--to", tmp_path / "maps.png", "--layers", 1)

    model = onnx.load(folder / "model.onnx")
    value = next(node.output[0] for node in model.graph.node if node.op_type == "Relu")
    model.graph.output.append(onnx.ValueInfoProto(name=value))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    maps = session.run([value], {"image": image[None, None].astype(np.float32) / 255})[0][0]

    picture = np.asarray(Image.open(tmp_path / "maps.png").convert("RGB")).astype(int)
    # Two rows of 16 filters, then two rows of 16 maps; tiles of 64 pixels with 2 between.
    for at, plane in enumerate(maps):
        top, left = (2 + at // 16) * 66, 2 + at % 16 * 66
        tile = picture[top : top + 64, left : left + 64, 0]
        place = np.arange(64) * 28 // 64
        span = max(plane.max() - plane.min(), np.finfo(np.float32).tiny)
        wanted = (255 * (plane - plane.min()) / span).astype(int)[place][:, place]
        assert np.abs(tile - wanted).max() <= 1, at


def test_filters_that_are_stored_as_fp16_are_drawn_too(program, tmp_path):
    folder = ROOT / "models" / "pneumonia" / "1"
    image = np.tile(np.linspace(0, 255, 160).astype(np.uint8), (160, 1))
    Image.fromarray(image).save(tmp_path / "ramp.png")
    told = describe(program, folder, "--feature-maps", tmp_path / "ramp.png", "--to", tmp_path / "maps.png")
    stored = {tensor.name: tensor for tensor in onnx.load(folder / "model.onnx").graph.initializer}
    half = [tensor for tensor in stored.values() if tensor.data_type == onnx.TensorProto.FLOAT16]
    filters = next(onnx.numpy_helper.to_array(tensor) for tensor in half if list(tensor.dims) == [32, 3, 3, 3])
    assert told["feature_maps"][0]["filters"] == [32, 3, 3, 3] and told["feature_maps"][0]["filter_rows"] == 2
    picture = np.asarray(Image.open(tmp_path / "maps.png").convert("RGB")).astype(float)
    largest = np.abs(filters.astype(np.float32)).max()
    for at, one in enumerate(filters.astype(np.float32)):
        top, left = (2 + at // 16 * 66), 2 + at % 16 * 66
        middle = picture[top + 10 : top + 64 : 21, left + 10 : left + 64 : 21]
        np.testing.assert_allclose(middle, 127.5 + 127.5 * one.transpose(1, 2, 0) / largest, atol=1.5)


def test_the_cards_count_is_describes(program):
    folders = [path.parent for path in ROOT.glob("models/*/[0-9]*/bundle.toml")]
    assert len(folders) > 10
    for folder in folders:
        totals = describe(program, folder)["totals"]
        counted = sum(weights for *_, weights in model_file.layers(folder / "model.onnx"))
        if folder.parent.name == "lung_field":
            # Masks are no scores: its card counts nothing.
            continue
        assert counted == totals["parameters"] + totals["statistics"], folder
        assert f"{counted:,} numbers learned" in (folder / "MODEL_CARD.md").read_text(encoding="utf-8"), folder
