"""A binary bundle of patients, from a graph to its files; and what happens when that fails."""

import errno
import json
import tomllib
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from training import bundle, calibration, evaluation, heads, model_file, precision, publish
from training.__main__ import main
from training.baseline import STATISTICS
from training.data import Split
from training.networks.gap import GapNetwork, conv
from training.provenance import Provenance
from training.recipe import Batching, Card
from training.recipes.steps import steps


def radiographs(n: int, seed: int) -> Split:
    """Images of n / 2 patients, two each; the positive ones have a bright corner."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) // 2 % 2
    images = generator.random((n, 1, 16, 16), np.float32) * 0.5
    images[labels == 1, :, :6, :6] += 0.3
    patients = np.array([f"{seed}-{at // 2}" for at in range(n)])
    return Split(images, labels, patients, np.where(labels == 1, np.where(np.arange(n) % 4 < 3, "a", "b"), "normal"))


def publication(**changes) -> publish.Publication:
    torch.manual_seed(0)
    network = GapNetwork(torch.nn.Sequential(*conv(1, 6, pool=True)), 6, 1)
    rows = {name: radiographs(80, at) for at, name in enumerate(("train", "validation", "calibration", "x", "y"))}
    optimiser = torch.optim.Adam(network.parameters(), 0.02)
    images, labels = torch.from_numpy(rows["train"].images), torch.from_numpy(rows["train"].labels).float()
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(network(images)[:, 0], labels).backward()
        optimiser.step()
    network.eval()
    statistics = [dict.fromkeys(STATISTICS, float(row)) for row in range(160)]
    values = {
        "model": "pneumonia", "version": "9", "labels": ("NORMAL", "PNEUMONIA"), "image_shape": (1, 16, 16),
        "preprocess": steps("gray", 16, square=False), "batching": Batching(8, 100),
        "card": Card("T", "Use.", "drawn images", "Drawn.", "Adam.", ("All of them.",)),
        "provenance": Provenance("digest", "commit", "2026-01-01", 1, "torch"), "commands": ("train", "evaluate"),
        "graph": heads.ServedGraph(network.features, network.head.weight, network.head.bias),
        "rows": publish.Rows(
            rows["train"], rows["validation"], rows["calibration"], {"held out": rows["x"], "test": rows["y"]},
            statistics,
        ),
        "training": {"sentences": ["Trained."]}, "task": "binary", "provisional": True,
        "intended_use": {"medical": True, "notice": "Not for primary diagnosis", "views": ["AP"]},
        "strangers": {"noise": np.random.default_rng(9).random((30, 1, 16, 16), np.float32)},
        "decide": lambda scores, labels: {"threshold": calibration.youden(scores, labels), "abstain": [0.45, 0.5]},
    }  # fmt: skip
    return publish.Publication(**values | changes)


def test_a_binary_bundle_has_every_piece_of_evidence_and_repeats(tmp_path):
    out = tmp_path / "pneumonia" / "9"
    made = publication()
    figures = publish.publish(made, out)
    manifest, committed = evaluation.read_bundle(out)
    bundle.validate(manifest)
    assert committed == json.loads(json.dumps(figures))
    assert [output["role"] for output in manifest["model"]["output"]] == ["scores", "logits", "cam", "embedding", "ood"]
    assert (
        manifest["model"]["output"][0]["shape"] == [-1, 2] and manifest["postprocess"]["calibration"]["kind"] == "platt"
    )
    assert manifest["baseline"] == {"file": "baseline.json", "provisional": True}
    assert [entry["name"] for entry in figures["datasets"]] == ["held out", "test"]
    entry = figures["datasets"][0]
    assert (entry["n"], entry["units"]) == (80, 40)
    assert {group["name"] for group in entry["subgroups"]} == {"a", "b", "normal"}
    assert {metric["name"] for metric in entry["metrics"]} >= {
        "roc_auc",
        "ece_calibrated",
        "sensitivity_at_95_specificity",
    }
    assert figures["explanation"]["largest_difference_to_autograd"] < 1e-5
    assert figures["out_of_distribution"]["tried"][0]["name"] == "noise"
    # One row a patient: 80 patients of validation and calibration.
    assert json.loads((out / "baseline.json").read_text())["n"] == 80
    again, _ = evaluation.evaluate(out / "model.onnx", made.rows.measured["test"], "test", evaluation.Rule.of(manifest))
    assert evaluation.differences(figures["datasets"][1], again) == []
    # At most one in a hundred of the good images that set the gate is refused.
    held = evaluation.answer(out / "model.onnx", made.rows.held(), evaluation.Rule.of(manifest))
    assert held.refused.mean() <= 0.01
    assert "Not for primary diagnosis" in (out / "MODEL_CARD.md").read_text()


def test_the_same_rows_in_another_order_give_the_same_figures(tmp_path):
    made = publication()
    figures = publish.publish(made, tmp_path / "pneumonia" / "9")
    model = tmp_path / "pneumonia" / "9" / "model.onnx"
    rule = evaluation.Rule.of(tomllib.loads((model.parent / "bundle.toml").read_text()))
    turned = made.rows.measured["test"].take(np.random.default_rng(0).permutation(80))
    again, _ = evaluation.evaluate(model, turned, "test", rule)
    assert evaluation.differences(figures["datasets"][1], again) == []


def test_a_full_disk_leaves_no_bundle_and_is_said_in_a_line(tmp_path, monkeypatch, mnist_folder, capsys):
    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(bundle, "write", full)
    out = tmp_path / "pneumonia" / "9"
    with pytest.raises(OSError, match="No space left"):
        publish.publish(publication(), out)
    assert list(out.parent.iterdir()) == []

    monkeypatch.setattr("training.train.train", lambda *_: full(out, ""))
    assert main(["mnist-2", "--data", str(mnist_folder), "--out", str(tmp_path / "mnist" / "2")]) == 1
    assert "No space left on device; nothing was replaced" in capsys.readouterr().err


def test_a_full_disk_names_the_bundle_and_not_the_file_that_was_copied(tmp_path, monkeypatch):
    def full(source, target):
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(source), None, str(target))

    monkeypatch.setattr(publish.shutil, "copyfile", full)
    out = tmp_path / "pneumonia" / "9"
    with pytest.raises(OSError, match="No space left") as found:
        publish.publish(publication(), out)
    assert Path(found.value.filename).parents[1] == out.parent and list(out.parent.iterdir()) == []


def exported(path: Path, gain: float) -> np.ndarray:
    """A model with a distance at `path`, its last layer `gain` times as steep; images for it."""
    torch.manual_seed(0)
    network = GapNetwork(torch.nn.Sequential(*conv(1, 16, pool=True), *conv(16, 32)), 32, 3).eval()

    class Features(torch.nn.Module):
        def forward(self, image):
            maps = network.maps(image)
            return maps, maps.mean(dim=(2, 3))

    graph = heads.ServedGraph(Features(), network.head.weight * gain, network.head.bias)
    images = np.random.default_rng(0).random((40, 1, 16, 16), np.float32)
    heads.attach_distance(graph, images, np.arange(40) % 3)
    model_file.export(graph, model_file.Interface((1, 16, 16), 3), path, tuple(heads.ROLES))
    return images


@pytest.mark.parametrize(("gain", "cost", "kept"), [(1, 1.0, "fp16-weights"), (300, 1.0, "fp32"), (1, 1.2, "fp32")])
def test_fp16_weights_ship_where_they_cost_neither_score_nor_time(tmp_path, monkeypatch, gain, cost, kept):
    path = tmp_path / "model.onnx"
    images = exported(path, gain)
    before, scores, told = path.read_bytes(), model_file.run(path, images), model_file.layers(path)
    monkeypatch.setattr(precision, "cpu_time_over", lambda *_: cost)
    assert precision.choose(path, images) == kept
    assert list(tmp_path.iterdir()) == [path] and (path.read_bytes() == before) == (kept == "fp32")
    kinds = {tensor.name: tensor.data_type for tensor in onnx.load(path).graph.initializer}
    half = {name for name, kind in kinds.items() if kind == onnx.TensorProto.FLOAT16}
    assert bool(half) == (kept != "fp32") and not any("distance" in name for name in half)
    assert np.abs(model_file.run(path, images) - scores).max() <= 1e-3
    assert model_file.layers(path) == told


@pytest.mark.parametrize("halved", [False, True])
def test_int8_answers_alike_and_keeps_to_seven_bits_and_to_the_layers_of_the_scores(tmp_path, halved):
    path, small = tmp_path / "model.onnx", tmp_path / "small.onnx"
    images = exported(path, 1)
    if halved:
        precision.half_weights(path, tmp_path / "half.onnx", images)
        path = tmp_path / "half.onnx"
    precision.static_int8(path, small, images)
    plain, found = (model_file.run_all(one, images) for one in (path, small))
    assert 0 < np.abs(found["probabilities"] - plain["probabilities"]).max() < 0.02
    graph = onnx.load(small).graph
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = [values for values in tensors.values() if values.dtype == np.int8 and values.size >= 96]
    # Two convolutions and the dense layer, by what VPMADDUBSW adds in sixteen bits without saturation.
    assert len(weights) == 3 and all(np.abs(values.astype(int)).max() in (63, 64) for values in weights)
    (whiten,) = [values for name, values in tensors.items() if "whiten" in name]
    assert whiten.dtype == np.float32


def test_cpu_time_says_what_a_row_costs_and_which_bundle_is_the_dearer(capsys):
    small, large = (str(Path(__file__).parents[2] / "models" / name) for name in ("mnist/3", "cifar10/2"))
    assert main(["cpu-time", small, large]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(":")[0] for row in rows] == [small, large]
    costs = [float(row.split(": ")[1].split(" ms")[0]) for row in rows]
    assert 0 < costs[0] < costs[1] and rows[1].endswith("1.00 of the last one's")
    assert main(["cpu-time", small + "0"]) == 1
