"""pneumonia/1's network and its way of training: Keras' image-folder example, with ImageDataGenerator's behaviour.

ImageDataGenerator(rescale=1/255, horizontal_flip=True).flow_from_directory(shuffle=True, class_mode="categorical"):
every epoch each image once, in a new order, mirrored with a chance of one half; the last batch may be short.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
from keras import layers
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from ..errors import TrainingError
from ..state import unreadable, whole
from . import checkpoint
from .loop import History, Rows

# Channels first, as torch computes.
_NCHW = {"data_format": "channels_first"}
# What decides the weights; what the recipe's file says is in the settings.
_SOURCES = ("folder_cnn.py",)


def network(side: int = 128, rate: float = 1e-4) -> keras.Model:
    """The network, compiled. At Keras' default rate of 1e-3 it can end in one constant score for every image.

    With inputs of 0 to 1 that are all positive, the first steps at that rate push every unit of the dense layer
    below 0, where ReLU has no gradient.
    """
    model = keras.Sequential([
        keras.Input((3, side, side)),
        layers.Conv2D(32, 3, activation="relu", **_NCHW),
        layers.MaxPooling2D(2, **_NCHW),
        layers.Conv2D(64, 3, activation="relu", **_NCHW),
        layers.MaxPooling2D(2, **_NCHW),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dense(2, activation="softmax"),
    ])  # fmt: skip
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="categorical_crossentropy")
    return model


def batches(rows: Rows, batch_size: int, generator: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One epoch: float32 [n, 3, h, w] = pixel / 255, and one-hot labels."""
    order = generator.permutation(len(rows))
    for start in range(0, len(order), batch_size):
        picked = order[start : start + batch_size]
        pixels = rows.pixels[picked].astype(np.float32) / 255
        mirrored = generator.random(len(picked)) < 0.5
        pixels[mirrored] = pixels[mirrored, :, ::-1]
        yield np.repeat(pixels[:, None], 3, axis=1), np.eye(2, dtype=np.float32)[rows.labels[picked]]


def scores(model: keras.Model, rows: Rows) -> np.ndarray:
    """float32 [n] of the positive class."""
    parts = range(0, len(rows), 64)
    grey = (rows.pixels[i : i + 64].astype(np.float32) / 255 for i in parts)
    return np.concatenate([model.predict_on_batch(np.repeat(part[:, None], 3, axis=1))[:, 1] for part in grey])


class _Checkpoint:
    """The epochs of one run: `<folder>/state.json` names the weights of the latest epoch and of the best one.

    settings: what the weights depend on.
    """

    def __init__(self, folder: Path, settings: dict):
        self.folder, self.settings, self.history, self.file, self.best = folder, settings, History([], [], []), "", ""

    def restore(self, epochs: int) -> None:
        """Take up what is there; refused where it was made otherwise or holds more than `epochs`."""
        path = self.folder / "state.json"
        if not path.exists():
            return
        try:
            state = json.loads(path.read_text())
            settings, self.history = state["settings"], History(**state["history"])
            self.file, self.best = state["file"], state["best"]
        except Exception as error:
            raise unreadable(path, error) from error
        checkpoint.refuse_other(self.folder, settings, self.settings)
        checkpoint.refuse_fewer(self.folder, len(self.history.auc), epochs)
        print(f"resumed after epoch {len(self.history.auc)}", flush=True)

    def load(self, name: str) -> keras.Model:
        """The model of one epoch's file."""
        try:
            return keras.models.load_model(self.folder / name)
        except Exception as error:
            raise unreadable(self.folder / name, error) from error

    def write(self, model: keras.Model) -> None:
        """Replace the checkpoint after the history's last epoch; being stopped leaves the previous one in force."""
        checkpoint.make_folder(self.folder)
        self.file = f"epoch-{len(self.history.auc)}.keras"
        with whole(self.folder / self.file):
            model.save(self.folder / self.file)
        if max(self.history.auc) == self.history.auc[-1]:
            self.best = self.file
        state = {"settings": self.settings, "history": asdict(self.history), "file": self.file, "best": self.best}
        aside = self.folder / "state.json.partial"
        with whole(aside):
            aside.write_text(json.dumps(state))
        aside.replace(self.folder / "state.json")
        for old in self.folder.glob("epoch-*.keras"):
            if old.name not in (self.file, self.best):
                old.unlink()


def train(
    training: Rows, validation: Rows, epochs: int, batch_size: int, seed: int, folder: Path, settings: dict
) -> tuple[keras.Model, History]:
    """The weights of the epoch with the best validation AUC, the last of equals; resumes from `folder`.

    settings: what the weights depend on beside the rows, the code and the other arguments. There is no schedule: a
    run goes on to more epochs as if they had been asked for at once.
    """
    if len(training) < batch_size:
        raise TrainingError(f"{len(training)} images to train on are less than a batch of {batch_size}")
    keras.utils.set_random_seed(seed)
    arrays = (training.pixels, training.labels, validation.pixels, validation.labels)
    told = settings | {"seed": seed, "batch_size": batch_size}
    kept = _Checkpoint(folder, checkpoint.settings(told, arrays, _SOURCES))
    kept.restore(epochs)
    history = kept.history
    model = kept.load(kept.file) if kept.file else network(training.pixels.shape[1])
    for epoch in range(len(history.auc), epochs):
        started = time.monotonic()
        history.loss.append(_epoch(model, training, batch_size, seed, epoch))
        found = scores(model, validation)
        history.auc.append(float(roc_auc_score(validation.labels, found)))
        history.seconds.append(time.monotonic() - started)
        kept.write(model)
        print(
            f"epoch {epoch + 1}/{epochs}: loss {history.loss[-1]:.4f}, validation AUC {history.auc[-1]:.4f}, scores "
            f"{found.min():.3f} to {found.max():.3f}, {history.seconds[-1]:.0f} s",
            flush=True,
        )
    return kept.load(kept.best), history


def _epoch(model: keras.Model, rows: Rows, batch_size: int, seed: int, epoch: int) -> float:
    """Train over the rows once; the mean loss."""
    total, steps = 0.0, -(-len(rows) // batch_size)
    with tqdm(total=steps, desc=f"epoch {epoch + 1}", disable=not sys.stderr.isatty(), leave=False) as bar:
        # Order and draws depend on seed and epoch alone, so a resumed run takes the same steps.
        for images, truth in batches(rows, batch_size, np.random.default_rng((seed, epoch))):
            total += float(model.train_on_batch(images, truth)) * len(truth)
            bar.update()
    if not np.isfinite(total):
        raise TrainingError("the loss is not finite; lower the learning rate")
    return total / len(rows)
