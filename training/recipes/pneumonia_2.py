"""pneumonia/2: DenseNet-121 from random weights (no package has its ImageNet weights)."""

from ..chest.augment import Jitter
from ..chest.loop import Plan
from ..chest.networks import dense121

SIDE = 160
NETWORK = dense121
PLAN = Plan(
    epochs=20,
    batch_size=16,
    rate=1e-4,
    head_rate=1e-4,
    schedule="cosine",
    floor=1e-6,
    weight_decay=0.01,
    head_decay=0.01,
    balanced=True,
    patience=5,
    jitter=Jitter(degrees=10, shift=0.05, scale=0.1, aspect=0.15, brightness=0.15, flip=0.5, cutout=32),
)
