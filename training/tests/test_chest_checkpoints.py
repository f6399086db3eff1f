"""What each of the chest trainings refuses to go on from, what a kill leaves, and that publishing clears it away."""

import errno
import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training import evaluation, prepared
from training.chest import checkpoint, files, folder_cnn, lung_recipe, recipe, unet
from training.chest.augment import Jitter
from training.chest.loop import Run
from training.chest.torch_training import TorchTraining
from training.errors import TrainingError
from training.train import Options

from .test_chest_data import chest
from .test_chest_loop import PLAN, _small, rows, tiny


def by_loop(folder: Path, data: str = "a", epochs: int = 2, seed: int = 0) -> list[float]:
    run = Run(tiny, PLAN, 1, folder, {"data": data})
    return run.train(rows(16, seed), rows(16, 1), epochs).auc


def by_folder_cnn(folder: Path, data: str = "a", epochs: int = 2, seed: int = 0) -> list[float]:
    return folder_cnn.train(rows(16, seed), rows(16, 1), epochs, 8, 1, folder, {"data": data})[1].auc


def by_unet(folder: Path, data: str = "a", epochs: int = 2, seed: int = 0) -> list[float]:
    pixels = rows(16, seed).pixels
    return unet.train(pixels, pixels > 90, epochs, 8, 1, Jitter(), folder, {"data": data})[1]


@pytest.fixture(params=[by_loop, by_folder_cnn, by_unet])
def train(request, monkeypatch):
    monkeypatch.setattr(folder_cnn, "network", lambda side: _small(side))
    return request.param


def refused(train, folder: Path, changed: str, **arguments) -> None:
    with pytest.raises(TrainingError, match=rf"{folder}: a checkpoint of other settings \({changed}\)") as found:
        train(folder, **arguments)
    assert "remove its folder or name another with --checkpoints" in str(found.value)


def test_other_data_rows_threads_or_code_are_refused_by_name(train, tmp_path, monkeypatch):
    done = train(folder := tmp_path / "run")
    assert train(folder) == done, "the same settings go on"
    refused(train, folder, "data", data="b")
    refused(train, folder, "rows", seed=5)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 99)
        refused(train, folder, "threads")
    monkeypatch.setattr(checkpoint, "sources_digest", lambda _: "mended")
    refused(train, folder, "code")


def test_fewer_epochs_than_are_done_are_refused(train, tmp_path):
    train(folder := tmp_path / "run")
    if train is by_unet:
        refused(train, folder, "epochs", epochs=1)
        return
    with pytest.raises(TrainingError, match="2 epochs are done, more than the 1 of --epochs"):
        train(folder, epochs=1)
    assert len(train(folder, epochs=3)) == 3


def test_a_damaged_checkpoint_is_told_in_a_line(train, tmp_path):
    train(folder := tmp_path / "run")
    for path in [path for path in folder.iterdir() if path.is_file()]:
        whole = path.read_bytes()
        for spoiled in (b"", b"no checkpoint", whole[: len(whole) // 2]):
            path.write_bytes(spoiled)
            with pytest.raises(TrainingError, match=f"{path}: the checkpoint cannot be read") as found:
                train(folder)
            assert "\n" not in str(found.value) and "remove its folder" in str(found.value)
        path.write_bytes(whole)


def test_a_kill_between_weights_and_state_leaves_the_epoch_before_in_force(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_cnn, "network", lambda side: _small(side))
    whole = by_folder_cnn(tmp_path / "whole", epochs=4)
    by_folder_cnn(folder := tmp_path / "run", epochs=2)
    dumps = json.dumps

    def killed(value, **more):
        if isinstance(value, dict) and "history" in value:
            raise KeyboardInterrupt
        return dumps(value, **more)

    with monkeypatch.context() as patch:
        patch.setattr(folder_cnn.json, "dumps", killed)
        with pytest.raises(KeyboardInterrupt):
            by_folder_cnn(folder, epochs=3)
    assert (folder / "epoch-3.keras").exists()
    assert by_folder_cnn(folder, epochs=4) == whole
    state = json.loads((folder / "state.json").read_text())
    weights = {path.name for path in folder.glob("*.keras")}
    assert weights == {state["file"], state["best"]} and state["file"] == "epoch-4.keras"


@pytest.mark.parametrize("name", ["epoch-1.keras", "state.json.partial"])
def test_a_full_disk_is_said_of_the_folder_cnns_files_and_leaves_none_half_written(tmp_path, monkeypatch, name):
    monkeypatch.setattr(folder_cnn, "network", lambda side: _small(side))
    (folder := tmp_path / "run").mkdir()
    (folder / name).symlink_to("/dev/full")
    with pytest.raises(OSError) as found:
        by_folder_cnn(folder)
    assert found.value.errno == errno.ENOSPC and found.value.filename == str(folder / name)
    assert not (folder / name).is_symlink() and not (folder / "state.json").exists()


def test_the_folder_cnn_refuses_less_than_a_batch(tmp_path):
    with pytest.raises(TrainingError, match="4 images to train on are less than a batch of 8"):
        folder_cnn.train(rows(4, 0), rows(4, 1), 1, 8, 1, tmp_path, {})


@pytest.fixture
def options(tmp_path, monkeypatch) -> Options:
    """Drawn chests, of each class 40 to train and 10 to test; the positive ones have a bright square."""
    try:
        prepared.binary()
    except TrainingError:
        pytest.skip("no hilum program: build it or name it in HILUM_BIN")
    # MLflow sets it when told of a folder, and the next run of this process would be recorded there.
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    generator = np.random.default_rng(0)
    for split, n in (("train", 40), ("test", 10)):
        for label, name in enumerate(files.LABELS):
            (folder := tmp_path / "data" / split / name).mkdir(parents=True)
            for at in range(n):
                patient = at + (100 if split == "test" else 0)
                pixels = np.asarray(Image.fromarray(chest()).resize((176, 176)))
                pixels = pixels + generator.integers(0, 4, pixels.shape, np.uint8)
                pixels[at : at + 40, 20:60] += np.uint8(60 * label)
                named = f"person{patient}_virus_{at}.png" if label else f"IM-{patient:04}-{at}.png"
                Image.fromarray(pixels).save(folder / named)
    return Options(tmp_path / "data", tmp_path, tmp_path / "checkpoints", False, None, None, None, "7", True)


def recorded(folder: Path, experiment: str) -> dict[str, list[float]]:
    """Every metric of the experiment's last run, by name."""
    import mlflow

    mlflow.set_tracking_uri((folder / "mlruns").resolve().as_uri())
    found = mlflow.search_runs(experiment_names=[experiment], output_format="list")[0]
    client = mlflow.MlflowClient()
    names = found.data.metrics
    return {name: [row.value for row in client.get_metric_history(found.info.run_id, name)] for name in names}


def published(made, out: Path, options: Options) -> tuple[dict, dict[str, list[float]]]:
    """Train, publish, and look: the manifest's provenance and what was recorded. Checkpoints stay till the bundle."""
    kept = options.checkpoints / f"{made.command}-seed1"
    assert made.build(replace(options, out=out)) is None and kept.is_dir()
    made.build(replace(options, out=out, train_only=False))
    assert not kept.exists() and (options.checkpoints / "prepared").is_dir()
    evaluation.read_bundle(out)
    provenance = tomllib.loads((out / "bundle.toml").read_text())["provenance"]
    assert provenance["previous_version"] == "7" and provenance["mlflow_run"]
    return provenance, recorded(options.checkpoints, made.command)


def test_a_published_chest_bundle_leaves_no_checkpoint_and_each_epoch_recorded(options, tmp_path):
    training = TorchTraining(tiny, replace(PLAN, epochs=2), (0,), 0.1)
    made = recipe.ChestRecipe("pneumonia-9", "tiny", 16, training, "told", ())
    _, seen = published(made, tmp_path / "pneumonia" / "9", options)
    assert len(seen["loss"]) == len(seen["validation AUC"]) == 2
    assert any(name.startswith("roc_auc") for name in seen)


def test_a_published_lung_field_leaves_no_checkpoint_and_each_epoch_recorded(options, tmp_path):
    made = lung_recipe.LungRecipe("lung_field-9", 128, 2, 16, Jitter())
    _, seen = published(made, tmp_path / "lung_field" / "9", options)
    assert len(seen["loss"]) == 2 and any(name.startswith("both_lungs_found") for name in seen)


def test_lung_field_refuses_what_it_does_not_honour_and_images_without_a_mask(options, tmp_path):
    made = lung_recipe.LungRecipe("lung_field-9", 64, 1, 16, Jitter())
    out = tmp_path / "lung_field" / "9"
    for flag in ({"limit": 5}, {"seeds": (2,)}):
        with pytest.raises(TrainingError, match="--limit and --seeds are not for chest recipes"):
            made.build(replace(options, out=out, **flag))
    generator = np.random.default_rng(0)
    for path in options.data.rglob("*.png"):
        # Unlike each other: the same file in train and test is refused before.
        noise = generator.integers(80, 100, (170, 170)).astype(np.uint8)
        Image.fromarray(noise).save(path)
    with pytest.raises(TrainingError, match="0 of 56 training images have a plausible classical lung mask"):
        made.build(replace(options, out=out))
