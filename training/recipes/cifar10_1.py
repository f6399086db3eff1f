"""cifar10/1: the Keras CNN of many introductions to CIFAR-10."""

from keras import Input, Sequential, layers

from ..learners import KerasLearner
from .collections import CIFAR

NCHW = {"data_format": "channels_first"}


def learner() -> KerasLearner:
    """Three convolutions, each pooled, and two dense layers."""
    model = Sequential([
        Input((3, 32, 32)),
        layers.Conv2D(32, 3, padding="same", activation="relu", **NCHW), layers.MaxPooling2D(2, **NCHW),
        layers.Conv2D(64, 3, padding="same", activation="relu", **NCHW), layers.MaxPooling2D(2, **NCHW),
        layers.Conv2D(128, 3, padding="same", activation="relu", **NCHW), layers.MaxPooling2D(2, **NCHW),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dropout(0.3),
        layers.Dense(10, activation="softmax"),
    ])  # fmt: skip
    model.compile(optimizer="adam", loss="categorical_crossentropy")
    return KerasLearner(model)


RECIPE = CIFAR.recipe(
    command="cifar10-1",
    learner=learner,
    epochs=10,
    batch_size=64,
    card=CIFAR.card(
        "CIFAR-10, Keras CNN",
        "Adam at Keras' default rate, categorical cross-entropy, pixels / 255, dropout 0.3, no augmentation.",
    ),
)
