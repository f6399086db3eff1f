"""mnist/1: the small Keras CNN that most introductions to MNIST train."""

from keras import Input, Sequential, layers

from ..data.mnist import LABELS, load_mnist
from ..learners import KerasLearner
from ..recipe import Batching, Card, Recipe
from .steps import DIGIT

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


RECIPE = Recipe(
    command="mnist-1",
    model="mnist",
    labels=LABELS,
    load=load_mnist,
    learner=learner,
    image_shape=(1, 28, 28),
    seeds=(1, 2, 3),
    epochs=5,
    batch_size=64,
    validation=0.1,
    calibration=0.0,
    preprocess=DIGIT,
    batching=Batching(max_batch=32, max_run_ms=100),
    card=Card(
        title="MNIST digits, Keras CNN",
        use="Names the digit in an image of one centred handwritten digit. A demonstration and a test load for the "
        "service; not meant for decisions about people.",
        population="Single handwritten digits 0 to 9, white on black, centred in 28 × 28 pixels, as in MNIST "
        "(writers: employees of a United States agency and high-school students)",
        data="MNIST (LeCun, Cortes, Burges): 60,000 training and 10,000 test images.",
        training="Adam at Keras' default rate, categorical cross-entropy, pixels / 255, no augmentation.",
        limits=(
            "Anything that is not a digit still gets one of the ten labels, often with a high score.",
            "Dark-on-light, off-centre, rotated or otherwise scaled digits were not trained for.",
            "The scores are not recalibrated; the calibration error above holds for MNIST only.",
        ),
    ),
)
