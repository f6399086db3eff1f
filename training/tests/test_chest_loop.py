"""The chest loop: what it learns, what it resumes, what it refuses; a tiny network on drawn images."""

import dataclasses

import keras
import numpy as np
import pytest
import torch
from torch import nn

from training.chest import folder_cnn, networks, unet
from training.chest.augment import Jitter
from training.chest.loop import Plan, Rows, Run, logits
from training.errors import TrainingError

PLAN = Plan(epochs=4, batch_size=8, rate=0.01, head_rate=0.02, ema=0.5, jitter=Jitter(brightness=0.05))


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3, stride=4), nn.BatchNorm2d(4), nn.ReLU())

    def stages(self, image):
        return [self.layers(image)]


def tiny() -> networks.Classifier:
    return networks.Classifier(Body(), 4, dropout=0.1)


def rows(n: int, seed: int) -> Rows:
    """Positive images have a bright square."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 120, (n, 16, 16)).astype(np.uint8)
    labels = np.arange(n) % 2
    pixels[labels == 1, 4:12, 4:12] += 60
    return Rows(pixels, labels)


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().float() for value in network.state_dict().values()])


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "plateau"])
def test_a_run_learns_and_keeps_its_best_epoch(tmp_path, schedule):
    plan = dataclasses.replace(PLAN, schedule=schedule, balanced=True, head_decay=0.01, smoothing=0.02)
    run = Run(tiny, plan, 1, tmp_path / "run", {})
    history = run.train(rows(64, 0), rows(32, 1))
    assert max(history.auc) > 0.9
    found = logits(run.evaluated, rows(32, 1))
    order = np.argsort(np.argsort(found)) + 1
    positive = np.arange(32) % 2 == 1
    auc = (order[positive].sum() - 16 * 17 / 2) / 256
    assert auc == pytest.approx(max(history.auc))


def test_a_stopped_run_ends_as_one_that_was_not(tmp_path):
    training, validation = rows(32, 0), rows(16, 1)
    whole = Run(tiny, PLAN, 1, tmp_path / "whole", {})
    whole.train(training, validation)

    class Stopped(Exception):
        pass

    parted = Run(tiny, PLAN, 1, tmp_path / "parted", {})
    write = parted._write

    def write_then_stop():
        write()
        if len(parted.history.auc) == 2:
            raise Stopped

    parted._write = write_then_stop
    with pytest.raises(Stopped):
        parted.train(training, validation)
    again = Run(tiny, PLAN, 1, tmp_path / "parted", {})
    again.train(training, validation)
    assert torch.equal(weights(again.evaluated), weights(whole.evaluated))
    assert again.history.auc == whole.history.auc


def test_a_checkpoint_of_other_settings_or_a_damaged_one_is_refused(tmp_path):
    training, validation = rows(16, 0), rows(16, 1)
    Run(tiny, PLAN, 1, tmp_path, {"data": "a"}).train(training, validation)
    with pytest.raises(TrainingError, match="other settings \\(data\\)"):
        Run(tiny, PLAN, 1, tmp_path, {"data": "b"}).train(training, validation)
    (tmp_path / "latest.pt").write_bytes(b"no checkpoint")
    with pytest.raises(TrainingError, match="cannot be read"):
        Run(tiny, PLAN, 1, tmp_path, {"data": "a"}).train(training, validation)


def test_patience_ends_a_run_that_gets_no_better(tmp_path):
    plan = dataclasses.replace(PLAN, epochs=30, rate=0.0, head_rate=0.0, weight_decay=0.0, ema=0.0, patience=2)
    same = Rows(np.full((16, 16, 16), 90, np.uint8), np.arange(16) % 2)
    history = Run(tiny, plan, 1, tmp_path, {}).train(same, same)
    assert len(history.auc) == 3


def test_a_set_smaller_than_a_batch_is_told(tmp_path):
    with pytest.raises(TrainingError, match="less than a batch"):
        Run(tiny, PLAN, 1, tmp_path, {}).train(rows(4, 0), rows(4, 1))


def test_frozen_layers_rest_and_then_learn(tmp_path):
    plan = dataclasses.replace(PLAN, epochs=1, ema=0.0, freeze_layers=3, freeze_epochs=1, jitter=Jitter())
    run = Run(tiny, plan, 1, tmp_path / "frozen", {})
    before = weights(run.network.body).clone()
    run.train(rows(16, 0), rows(16, 1))
    assert torch.equal(weights(run.network.body), before)
    thawed = Run(tiny, dataclasses.replace(plan, freeze_epochs=0), 1, tmp_path / "thawed", {})
    thawed.train(rows(16, 0), rows(16, 1))
    assert not torch.equal(weights(thawed.network.body), before)


def test_one_grey_channel_equals_three_that_are_the_same():
    from efficientnet_lite_pytorch import EfficientNet

    torch.manual_seed(0)
    colours = EfficientNet.from_name("efficientnet-lite0").eval()
    torch.manual_seed(0)
    grey = networks.Lite0(pretrained=False).eval()
    image = torch.rand(1, 1, 224, 224)
    with torch.no_grad():
        whole = colours.extract_features(((image * 255 - 127) / 128).expand(-1, 3, -1, -1))
        torch.testing.assert_close(grey.stages(image)[-1], whole, atol=1e-4, rtol=1e-3)


def test_dense121_has_the_parameters_of_the_published_network():
    # torchvision's 6,953,856 without its classifier, less two of the stem's three colours (64 · 49 each).
    assert sum(p.numel() for p in networks.Dense121().parameters()) == 6_953_856 - 2 * 64 * 49


def test_the_folder_generator_shows_each_image_once_and_mirrors_half():
    data = rows(60, 0)
    seen, mirrored = 0, 0
    for images, truth in folder_cnn.batches(data, 16, np.random.default_rng(0)):
        assert images.dtype == np.float32 and images.shape[1:] == (3, 16, 16) and images.max() <= 1
        for image, label in zip(images[:, 0], truth):
            plain = (data.pixels == np.rint(image * 255)).all(axis=(1, 2))
            flipped = (data.pixels[:, :, ::-1] == np.rint(image * 255)).all(axis=(1, 2))
            assert plain.sum() + flipped.sum() == 1
            assert label[data.labels[(plain | flipped).argmax()]] == 1
            seen, mirrored = seen + 1, mirrored + flipped.sum()
    assert seen == 60 and 15 < mirrored < 45


def test_the_folder_cnn_learns_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_cnn, "network", lambda side: _small(side))
    training, validation = rows(64, 0), rows(32, 1)
    folder_cnn.train(training, validation, 2, 8, 1, tmp_path / "a", {})
    whole, through = folder_cnn.train(training, validation, 4, 8, 1, tmp_path / "b", {})
    resumed, parted = folder_cnn.train(training, validation, 4, 8, 1, tmp_path / "a", {})
    assert parted.auc == through.auc and parted.loss == pytest.approx(through.loss)
    np.testing.assert_allclose(folder_cnn.scores(resumed, validation), folder_cnn.scores(whole, validation), atol=1e-6)
    assert (folder_cnn.scores(resumed, validation)[1::2] > 0.5).mean() > 0.9


def _small(side: int) -> keras.Model:
    model = keras.Sequential([
        keras.Input((3, side, side)),
        keras.layers.Conv2D(4, 5, strides=4, activation="relu", data_format="channels_first"),
        keras.layers.Flatten(),
        keras.layers.Dense(2, activation="softmax"),
    ])  # fmt: skip
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="categorical_crossentropy")
    return model


def test_the_u_net_finds_bright_squares_and_resumes(tmp_path):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 60, (32, 16, 16)).astype(np.uint8)
    masks = np.zeros((32, 16, 16), bool)
    for mask in masks:
        top, left = generator.integers(0, 8, 2)
        mask[top : top + 8, left : left + 8] = True
    pixels[masks] += 120
    arguments = (pixels, masks, 24, 8, 1, Jitter(shift=0.1))
    network, losses = unet.train(*arguments, tmp_path / "a", {})
    assert len(losses) == 24 and losses[-1] < losses[0]
    found = unet.probabilities(network, pixels) >= 0.5
    assert unet.dice(found, masks).mean() > 0.9
    again, kept = unet.train(*arguments, tmp_path / "a", {})
    assert torch.equal(weights(again), weights(network)) and kept == losses


def test_a_full_disk_is_said_of_the_checkpoint_and_leaves_none(tmp_path):
    training, validation = rows(16, 0), rows(16, 1)
    (tmp_path / "latest.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device.*latest.partial"):
        Run(tiny, PLAN, 1, tmp_path, {}).train(training, validation)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("latest")] == []


def test_a_full_disk_is_said_of_the_u_nets_checkpoint_too(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 60, (8, 16, 16)).astype(np.uint8)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "latest.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device.*latest.partial"):
        unet.train(pixels, pixels > 30, 1, 8, 1, Jitter(), tmp_path / "run", {})
    assert list((tmp_path / "run").iterdir()) == []
