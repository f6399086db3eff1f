"""mnist/1: the small Keras CNN that most introductions to MNIST train."""

from keras import Input, Sequential, layers

from ..learners import KerasLearner
from .collections import MNIST

# Channels first, as torch computes: with Keras' default the exported graph would transpose around every layer.
NCHW = {"data_format": "channels_first"}


def learner() -> KerasLearner:
    """The network, compiled with Adam and categorical cross-entropy."""
    model = Sequential([
        Input((1, 28, 28)),
        layers.Conv2D(32, 3, activation="relu", **NCHW),
        layers.MaxPooling2D(2, **NCHW),
        layers.Conv2D(64, 3, activation="relu", **NCHW),
        layers.MaxPooling2D(2, **NCHW),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ])  # fmt: skip
    model.compile(optimizer="adam", loss="categorical_crossentropy")
    return KerasLearner(model)


RECIPE = MNIST.recipe(
    command="mnist-1",
    learner=learner,
    seeds=(1, 2, 3),
    epochs=5,
    batch_size=64,
    calibration=0.0,
    card=MNIST.card(
        "MNIST digits, Keras CNN",
        "Adam at Keras' default rate, categorical cross-entropy, pixels / 255, no augmentation.",
        (
            "Anything that is not a digit still gets one of the ten labels, often with a high score.",
            "Dark-on-light, off-centre, rotated or otherwise scaled digits were not trained for.",
            "The scores are not recalibrated; the calibration error above holds for MNIST only.",
        ),
    ),
)
