"""pneumonia/2: DenseNet-121 from random weights (no package has its ImageNet weights)."""

from ..chest.augment import Jitter
from ..chest.loop import Plan
from ..chest.networks import dense121
from ..chest.recipe import ChestRecipe
from ..chest.torch_training import TorchTraining

SIDE = 128
NETWORK = dense121
PLAN = Plan(
    epochs=12,
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
RECIPE = ChestRecipe(
    command="pneumonia-2",
    title="Pneumonia in children's chest radiographs, DenseNet-121",
    side=SIDE,
    train=TorchTraining(NETWORK, PLAN, stages=(1, 2), shrink=0.1),
    told="DenseNet-121 from random weights (no package has its ImageNet weights, so that no layer rests in the first "
    "epochs, as `freeze_layers` would have it of one that starts pre-trained), global average pool, dropout 0.3, "
    "dense 1. Cross-entropy with pos_weight = N_neg/N_pos, 0.01 L2 on the last layer, AdamW 1e-4 with a cosine to "
    "1e-6, early stopping on validation AUC with patience 5; shifted, rotated by up to 10°, brightness ±15 %, "
    "mirrored, a square of 32 pixels cut out, aspect and scale jittered. Computed in fp32, channels last.",
    limits=(
        "One hospital, one age group: for adults and other sites nothing is known of it.",
        "Trained from random weights on a small collection.",
    ),
    previous_version="1",
)
