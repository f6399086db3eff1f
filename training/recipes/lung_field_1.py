"""lung_field/1: a small U-Net at 128 pixels, trained on classical masks where they are plausible."""

from ..chest.augment import Jitter
from ..chest.lung_recipe import LungRecipe

RECIPE = LungRecipe(
    command="lung_field-1",
    side=128,
    epochs=8,
    batch_size=16,
    jitter=Jitter(
        degrees=15, shift=0.1, scale=0.2, aspect=0.15, brightness=0.15, contrast=0.4, sharpness=0.5, flip=0.5, cutout=24
    ),
)
