"""Tiny networks through the whole way: training, resuming, export, bundle, evaluation."""

import dataclasses
import json
import shutil
import tomllib
from functools import partial

import keras
import numpy as np
import onnx
import pytest
import torch

from training import fit, model_file
from training.__main__ import main
from training.augment import affine
from training.data.mnist import load_mnist
from training.errors import TrainingError
from training.learners import KerasLearner, TorchLearner, Tricks
from training.recipes import recipe
from training.schedule import one_cycle
from training.train import Options, train


def keras_learner() -> KerasLearner:
    nchw = {"data_format": "channels_first"}
    model = keras.Sequential([
        keras.Input((1, 28, 28)),
        keras.layers.Conv2D(2, 5, strides=4, activation="relu", **nchw),
        keras.layers.Flatten(),
        keras.layers.Dense(10, activation="softmax"),
    ])  # fmt: skip
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="categorical_crossentropy")
    return KerasLearner(model)


def torch_learner() -> TorchLearner:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 5, stride=4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(72, 10)
    )
    return TorchLearner(network, 0.5, 0.5, partial(torch.optim.Adam, lr=0.01))


def averaged_learner() -> TorchLearner:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 5, stride=4), torch.nn.BatchNorm2d(2), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Dropout(0.2), torch.nn.Linear(72, 10),
    )  # fmt: skip
    tricks = Tricks(partial(affine, degrees=5, scale=0.1, shift=0.05), 0.1, one_cycle, ema=0.9)
    return TorchLearner(network, 0.5, 0.5, partial(torch.optim.SGD, lr=0.05, momentum=0.9), tricks)


def interrupting(write):
    """A checkpoint's write that is stopped right after it."""

    def stopped(*arguments):
        write(*arguments)
        raise KeyboardInterrupt

    return stopped


LEARNERS = pytest.mark.parametrize("learner", [keras_learner, torch_learner, averaged_learner])


def tiny(learner):
    """mnist-1's recipe with a tiny network, few epochs and small batches."""
    return dataclasses.replace(recipe("mnist-1"), learner=learner, seeds=(1, 2), epochs=3, batch_size=16, preprocess=())


def options(tmp_path, folder, **changes) -> Options:
    values = dict.fromkeys(field.name for field in dataclasses.fields(Options)) | {"train_only": False}
    values |= {"data": folder, "out": tmp_path / "models" / "mnist" / "4", "checkpoints": tmp_path / "checkpoints"}
    return Options(**values | {"replace": False} | changes)


@LEARNERS
def test_the_exported_model_equals_the_framework(tmp_path, learner):
    made, path = learner(), tmp_path / "model.onnx"
    model_file.export(made.module(), model_file.Interface((1, 28, 28), 10), path)
    images = np.random.default_rng(0).random((7, 1, 28, 28), np.float32)
    scores = model_file.run(path, images)
    np.testing.assert_allclose(scores, made.probabilities(images), atol=1e-6)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)
    # A row's scores do not depend on its neighbours.
    np.testing.assert_allclose(model_file.run(path, images[:1]), scores[:1], atol=1e-6)


def test_the_exported_file_is_clean(tmp_path):
    path = tmp_path / "model.onnx"
    model_file.export(keras_learner().module(), model_file.Interface((1, 28, 28), 10), path)
    model = onnx.load(path)
    assert "Transpose" not in {node.op_type for node in model.graph.node}
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", model_file.OPSET)]
    assert b".py" not in path.read_bytes()


def test_a_file_with_another_interface_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="inputs and outputs"):
        model_file.export(torch_learner().module(), model_file.Interface((1, 28, 28), 3), tmp_path / "model.onnx")


@LEARNERS
def test_a_resumed_run_equals_one_that_was_not_stopped(tmp_path, mnist_folder, learner, monkeypatch):
    rows = load_mnist(mnist_folder).train
    run = partial(fit.train_seeds, tiny(learner), rows, rows, "digest", (5,))
    straight = run(epochs=3, checkpoints=tmp_path / "straight")[0]
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(fit.Checkpoint, "write", interrupting(fit.Checkpoint.write))
        run(epochs=3, checkpoints=tmp_path / "stopped")
    resumed = run(epochs=3, checkpoints=tmp_path / "stopped")[0]
    assert (resumed.learner.probabilities(rows.images) == straight.learner.probabilities(rows.images)).all()


def test_a_checkpoint_of_other_data_is_not_continued(tmp_path, mnist_folder):
    rows = load_mnist(mnist_folder).train
    run = partial(fit.train_seeds, tiny(torch_learner), rows, rows, seeds=(5,), epochs=1, checkpoints=tmp_path)
    run(digest="one")
    with pytest.raises(TrainingError, match="other settings"):
        run(digest="other")
    assert (tmp_path / ".gitignore").read_text() == "*\n"


def test_a_checkpoint_of_other_code_is_not_continued_and_no_file_of_the_users_is_overwritten(
    tmp_path, mnist_folder, monkeypatch
):
    (tmp_path / ".gitignore").write_text("mine\n")
    rows = load_mnist(mnist_folder).train
    run = partial(fit.train_seeds, tiny(torch_learner), rows, rows, "digest", (5,), checkpoints=tmp_path)
    run(epochs=1)
    monkeypatch.setattr(fit, "code_digest", lambda recipe: "another")
    with pytest.raises(TrainingError, match="other settings"):
        run(epochs=2)
    assert (tmp_path / ".gitignore").read_text() == "mine\n"


def test_a_checkpoint_of_another_length_or_damaged_is_not_used(tmp_path, mnist_folder):
    rows = load_mnist(mnist_folder).train
    run = partial(fit.train_seeds, tiny(torch_learner), rows, rows, "digest", (5,), checkpoints=tmp_path)
    run(epochs=2)
    with pytest.raises(TrainingError, match="other settings"):
        run(epochs=1)
    next(tmp_path.glob("*/epoch-2.state")).write_bytes(b"cut off")
    with pytest.raises(TrainingError, match="cannot be read"):
        run(epochs=2)


def test_a_recipe_becomes_a_bundle_whose_figures_repeat(tmp_path, mnist_folder, capsys):
    chosen = options(tmp_path, mnist_folder, previous_version="3")
    train(tiny(torch_learner), chosen)
    files = {path.name for path in chosen.out.iterdir()}
    wanted = {"model.onnx", "bundle.toml", "evaluation.json", "goldens.json", "MODEL_CARD.md", "SHA256SUMS"}
    assert files == wanted | {"roc.svg", "pr.svg", "calibration.svg"}
    manifest = tomllib.loads((chosen.out / "bundle.toml").read_text())
    assert (manifest["version"], manifest["provenance"]["previous_version"]) == ("4", "3")
    assert "2 seeds were trained" in (chosen.out / "MODEL_CARD.md").read_text()
    assert not list(chosen.checkpoints.glob("mnist*"))

    command = ["evaluate", str(chosen.out), "--data", str(mnist_folder)]
    assert main(command) == 0
    path = chosen.out / "evaluation.json"
    document = json.loads(path.read_text())
    document["datasets"][0]["metrics"][0]["value"] += 0.001
    path.write_text(json.dumps(document))
    assert main(command) == 3
    assert "accuracy: committed" in capsys.readouterr().err


def test_another_model_file_does_not_pass_for_the_committed_one(tmp_path, mnist_folder, capsys):
    chosen = options(tmp_path, mnist_folder, seeds=(1,), epochs=1)
    train(tiny(torch_learner), chosen)
    with (chosen.out / "model.onnx").open("ab") as model:
        model.write(b"\0")
    assert main(["evaluate", str(chosen.out), "--data", str(mnist_folder)]) == 3
    assert "SHA-256" in capsys.readouterr().err


def test_what_the_user_can_put_right_is_exit_code_1_and_a_line(tmp_path, mnist_folder, capsys):
    out = str(tmp_path / "mnist" / "1")
    assert main(["mnist-2", "--data", str(tmp_path / "nowhere"), "--out", out]) == 1
    assert main(["mnist-2", "--data", str(mnist_folder), "--out", str(tmp_path)]) == 1
    assert main(["evaluate", out, "--data", str(mnist_folder)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith("error: ") for line in lines)


@pytest.mark.parametrize("number", ["0", "-1", "two", "1,0"])
def test_a_number_that_cannot_be_used_is_named(tmp_path, capsys, number):
    with pytest.raises(SystemExit) as ended:
        main(["mnist-2", "--data", str(tmp_path), "--out", str(tmp_path), f"--seeds={number}"])
    assert ended.value.code == 2
    assert f"{number.split(',')[-1]!r} is not an integer from 1" in capsys.readouterr().err


def test_a_failed_bundle_leaves_nothing_but_the_checkpoint(tmp_path, mnist_folder, monkeypatch):
    chosen = options(tmp_path, mnist_folder, seeds=(1,), epochs=1)

    def fail(*_):
        raise TrainingError("no")

    monkeypatch.setattr("training.evaluation.evaluate", fail)
    with pytest.raises(TrainingError):
        train(tiny(torch_learner), chosen)
    assert list(chosen.out.parent.iterdir()) == []
    monkeypatch.undo()
    shutil.rmtree(chosen.out.parent)
    train(tiny(torch_learner), chosen)
    assert chosen.out.is_dir()
