"""Trains Hilum's bundled models and writes them as bundles.

A recipe trains, one export writes ONNX, one evaluation measures that ONNX file, one writer lays the bundle down.
Nothing here serves, and nothing of a data set is ever copied into a bundle.
"""

import os

# Both must be set before the libraries they steer are imported, so they stand in the package's first file.
# Spinning OpenMP threads make training many times slower when other programs need the same cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# The recipes export through torch, so Keras has to compute with it whatever the user's keras.json says.
os.environ["KERAS_BACKEND"] = "torch"
