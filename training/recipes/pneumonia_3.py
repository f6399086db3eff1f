"""pneumonia/3: EfficientNet-Lite0 from ImageNet weights, fine-tuned, with the mirror image folded into the graph."""

from ..chest.augment import Jitter
from ..chest.loop import Plan
from ..chest.networks import lite0

SIDE = 224
NETWORK = lite0
PLAN = Plan(
    epochs=6,
    batch_size=16,
    rate=4e-4,
    head_rate=2e-3,
    smoothing=0.02,
    ema=0.995,
    jitter=Jitter(
        degrees=10, shift=0.06, scale=0.15, aspect=0.2, brightness=0.12, contrast=0.3, sharpness=0.8, flip=0.5
    ),
)
