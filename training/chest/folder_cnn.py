"""pneumonia/1's network and its way of training: Keras' image-folder example, with ImageDataGenerator's behaviour.

ImageDataGenerator(rescale=1/255, horizontal_flip=True).flow_from_directory(shuffle=True, class_mode="categorical"):
every epoch each image once, in a new order, mirrored with a chance of one half; the last batch may be short.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from keras import layers
from sklearn.metrics import roc_auc_score

from .loop import Rows

# Channels first, as torch computes.
_NCHW = {"data_format": "channels_first"}


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


def history(folder: Path) -> list[float]:
    """Validation AUC of each epoch of the run whose checkpoints lie in `folder`."""
    return [float(line) for line in (folder / "history.txt").read_text().split()]


def train(training: Rows, validation: Rows, epochs: int, batch_size: int, seed: int, folder: Path) -> keras.Model:
    """Train and keep the epoch of the best validation AUC (`best.keras`); resumes from `folder`."""
    keras.utils.set_random_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    latest, best, log = folder / "latest.keras", folder / "best.keras", folder / "history.txt"
    aucs = history(folder) if log.exists() and latest.exists() else []
    model = keras.models.load_model(latest) if aucs else network(training.pixels.shape[1])
    for epoch in range(len(aucs), epochs):
        started, losses = time.monotonic(), []
        for images, truth in batches(training, batch_size, np.random.default_rng((seed, epoch))):
            losses.append(float(model.train_on_batch(images, truth)))
        found = scores(model, validation)
        aucs.append(float(roc_auc_score(validation.labels, found)))
        print(
            f"epoch {epoch + 1}/{epochs}: loss {losses[-1]:.4f}, validation AUC {aucs[-1]:.4f}, scores "
            f"{found.min():.3f} to {found.max():.3f}, {time.monotonic() - started:.0f} s",
            flush=True,
        )
        if max(aucs) == aucs[-1]:
            model.save(best)
        aside = folder / "aside.keras"
        model.save(aside)
        aside.replace(latest)
        log.write_text("\n".join(map(str, aucs)))
    return keras.models.load_model(best)
