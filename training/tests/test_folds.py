"""Cross-validation: who is in which fold, what is written, the paired comparison; a tiny network on drawn images."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from training import card, prepared, recipes
from training.chest import files, folds, recipe
from training.chest.collection import Part
from training.chest.torch_training import TorchTraining
from training.errors import TrainingError

from .test_chest_loop import PLAN, tiny

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def program():
    try:
        return prepared.binary()
    except TrainingError:
        pytest.skip("no hilum program: build it or name it in HILUM_BIN")


@pytest.fixture
def data(tmp_path) -> Path:
    """30 patients a class in train, 6 in test, two images each; positive images have a bright square."""
    generator = np.random.default_rng(0)
    for split, n in (("train", 30), ("test", 6)):
        for label, name in enumerate(files.LABELS):
            (folder := tmp_path / "data" / split / name).mkdir(parents=True)
            for at in range(2 * n):
                pixels = generator.integers(0, 120, (64, 64)).astype(np.uint8)
                pixels[16:48, 16:48] += np.uint8(60 * label)
                patient = at // 2 + (100 if split == "test" else 0)
                named = f"person{patient}_virus_{at}.png" if label else f"IM-{patient:04}-{at}.png"
                Image.fromarray(pixels).save(folder / named)
    return tmp_path / "data"


def setting(data: Path, crop: folds.Crop | None = None) -> folds.Setting:
    plan = dataclasses.replace(PLAN, epochs=9)
    made = recipe.ChestRecipe("pneumonia-9", "tiny", 16, TorchTraining(tiny, plan, (0,), 0.1), "told", ())
    return folds.Setting(made, data, data.parent / "checkpoints", 2, crop)


def cross_validated(chosen: folds.Setting) -> list[folds.Scored]:
    return folds.cross_validated(chosen, chosen.load())


def test_files_that_cannot_be_read_are_named(program, data):
    (data / "train" / "NORMAL" / "IM-0003-6.png").write_bytes(b"no image")
    (data / "train" / "PNEUMONIA" / "person4_virus_9.png").write_bytes(b"\x89PNG neither")
    with pytest.raises(
        TrainingError, match=r"train: NORMAL/IM-0003-6.png, PNEUMONIA/person4_virus_9.png cannot be read"
    ):
        setting(data).load()


def test_every_patient_is_held_out_once_and_a_second_call_trains_nothing(program, data, capsys):
    scored = cross_validated(setting(data))
    held = [image.patient for one in scored for image in one.held.images]
    assert len(held) == 120 and len(set(held)) == 60
    for one in scored:
        own, trained = ({image.patient for image in part.images} for part in (one.held, one.training))
        assert not own & trained and len(one.held) == 24
        assert 0.8 < len(trained) / 48 < 1, "some patients choose the epoch"
    capsys.readouterr()
    again = cross_validated(setting(data))
    assert "epoch" not in capsys.readouterr().out.replace("resumed after epoch", "")
    for one, other in zip(scored, again):
        np.testing.assert_array_equal(one.scores, other.scores)
    found = folds.document(setting(data), scored)
    areas = [roc_auc_score(one.held.labels, one.scores) for one in scored]
    assert [row["held_out"]["value"] for row in found["folds"]] == pytest.approx(areas)
    assert found["held_out_mean"] == pytest.approx(np.mean(areas)) and found["epochs"] == 2
    assert card.fold_table(found).count("\n") == 7


def test_crops_are_compared_on_the_same_patients(program, data):
    crop = folds.Crop(ROOT / "models" / "lung_field" / "1")
    plain, cropped = (cross_validated(setting(data, one)) for one in (None, crop))
    for one, other in zip(plain, cropped):
        assert [image.sha256 for image in one.held.images] == [image.sha256 for image in other.held.images]
    found = folds.compared(plain, cropped, setting(data, crop))
    assert found["bundle"] == "lung_field/1" and set(found["crop_alone"]) == {"held_out", "test"}
    means = [np.mean([roc_auc_score(one.held.labels, one.scores) for one in each]) for each in (plain, cropped)]
    assert found["held_out_difference"]["value"] == pytest.approx(means[1] - means[0])


def test_a_difference_is_paired_and_its_interval_holds_it():
    generator = np.random.default_rng(0)
    labels = np.arange(400) % 2
    images = [files.Radiograph(Path(str(i)), int(labels[i]), f"p{i // 2}", "", str(i)) for i in range(400)]
    part = Part(np.zeros((400, 1, 1), np.uint8), images, [{}] * 400)
    weak, strong = (labels * shift + generator.normal(0, 1, 400) for shift in (0.5, 2))
    found = folds.difference([(weak, strong, part)])
    wanted = roc_auc_score(labels, strong) - roc_auc_score(labels, weak)
    assert found["value"] == pytest.approx(wanted) and 0 < found["interval"][0] < wanted < found["interval"][1]
    same = folds.difference([(weak, weak, part)])
    assert same["value"] == 0 and same["interval"] == [0, 0]


def test_recipes_without_a_plan_have_no_folds(tmp_path):
    with pytest.raises(TrainingError, match="folds are for recipes of a torch network"):
        folds.run(folds.Setting(recipes.recipe("pneumonia-1"), tmp_path, tmp_path, 1), None, 1)
