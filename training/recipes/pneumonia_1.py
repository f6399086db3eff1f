"""pneumonia/1: the CNN of Keras' image-folder examples, with ImageDataGenerator's behaviour."""

from pathlib import Path

from ..chest import folder_cnn
from ..chest.collection import Collection
from ..chest.recipe import ChestRecipe, Trained
from ..graphs import graph_of
from ..learners import KerasLearner
from ..recipe import Batching

SIDE = 128
EPOCHS, BATCH_SIZE, SEED = 10, 32, 1


def train(found: Collection, checkpoints: Path, at_most: int | None) -> Trained:
    """Train, keep the best epoch, and make it a graph: embedding of 128, no map (its head is no average pool)."""
    parts, epochs = found.parts, min(EPOCHS, at_most or EPOCHS)
    rows = parts["training"].rows()
    model, history = folder_cnn.train(
        rows, parts["validation"].rows(), epochs, BATCH_SIZE, SEED, checkpoints, {"data": found.digest}
    )
    sentence = (
        f"{len(history.auc)} epochs over {len(rows):,} images, batch size {BATCH_SIZE}; the weights of the best epoch "
        f"by validation AUC (each epoch's: {', '.join(f'{auc:.4f}' for auc in history.auc)})."
    )
    learner = KerasLearner(model)
    return Trained(graph_of(learner), [sentence], learner.framework, history.by_name())


RECIPE = ChestRecipe(
    command="pneumonia-1",
    title="Pneumonia in children's chest radiographs, a CNN of two convolutions",
    side=SIDE,
    channels=3,
    train=train,
    told="Conv 32, pool, conv 64, pool, flatten, dense 128, dense 2 softmax (Keras); rescaled by 1/255, mirrored with "
    "a chance of one half, shuffled each epoch, as ImageDataGenerator does. Adam at 1e-4: at Keras' default of 1e-3 it "
    "can end in one constant score.",
    limits=(
        "A first network for comparison: on the published test folder the higher versions are better in every figure.",
        "One hospital, one age group: for adults and other sites nothing is known of it.",
        "It gives no map: behind a flattened layer Grad-CAM++ has no closed form.",
    ),
    seed=SEED,
    batching=Batching(max_batch=16, max_run_ms=200),
)
