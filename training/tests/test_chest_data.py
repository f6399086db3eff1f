"""Patients, splits, augmentation and lung masks of the chest data, on drawn images."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from training.chest import files, lung_masks, patients
from training.chest.augment import Jitter, warped
from training.errors import TrainingError


def radiographs(n: int) -> list[files.Radiograph]:
    """n patients of each class, two images each."""
    names = [f"IM-{i:04}-{k}.jpeg" for i in range(n) for k in (1, 2)]
    names += [f"person{i}_{'virus' if k else 'bacteria'}_{i}.jpeg" for i in range(n) for k in (0, 1)]
    return [_named(name) for name in names]


def _named(name: str) -> files.Radiograph:
    positive = name.startswith("person")
    patient = name.split("_")[0] if positive else "-".join(name.split("-")[:2])
    return files.Radiograph(Path(name), int(positive), patient, "virus" if positive else "normal", name)


def collection(folder: Path) -> Path:
    """A folder in the collection's layout; the contents are no images, only names and bytes are read."""
    for split, n in (("train", 4), ("test", 2)):
        for label in files.LABELS:
            (folder / split / label).mkdir(parents=True)
        for i in range(n):
            (folder / split / "NORMAL" / f"NORMAL2-IM-{i:04}-0001.jpeg").write_text(f"{split} normal {i}")
            (folder / split / "PNEUMONIA" / f"person{i}_virus_{i}.jpeg").write_text(f"{split} positive {i}")
    return folder


def test_names_tell_patient_and_group(tmp_path):
    train, test = files.collection(collection(tmp_path))
    assert (len(train), len(test)) == (8, 4)
    assert {(image.patient, image.group, image.label) for image in test} == {
        ("IM-0000", "normal", 0), ("IM-0001", "normal", 0), ("person0", "virus", 1), ("person1", "virus", 1),
    }  # fmt: skip


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda f: (f / "train/PNEUMONIA").rename(f / "train/OTHER"), "both classes are needed"),
        (lambda f: (f / "train/NORMAL/x.png").write_text("x"), "tells no patient"),
        (lambda f: (f / "train/NORMAL/person9_virus_1.jpeg").write_text("x"), "mixed up"),
        (lambda f: (f / "train/NORMAL/IM-0009-1.jpeg").write_text("test normal 0"), "are training images too"),
        (lambda f: (f / "train").rename(f / "elsewhere"), "no such folder"),
    ],
)
def test_a_wrong_folder_is_told(tmp_path, spoil, message):
    spoil(collection(tmp_path))
    with pytest.raises(TrainingError, match=message):
        files.collection(tmp_path)


def test_train_and_test_folder_mixed_up(tmp_path):
    folder = collection(tmp_path)
    (folder / "train").rename(folder / "aside")
    (folder / "test").rename(folder / "train")
    (folder / "aside").rename(folder / "test")
    with pytest.raises(TrainingError, match="are the folders mixed up"):
        files.collection(folder)


def test_every_patient_is_in_one_part_and_every_image_is_used():
    images = radiographs(200)
    parts = patients.split(images)
    assert sorted(image.sha256 for part in parts.values() for image in part) == sorted(i.sha256 for i in images)
    for name, share in patients.SHARES.items():
        for label in (0, 1):
            of = {image.patient for image in parts[name] if image.label == label}
            assert len(of) == pytest.approx(share * 200, abs=1)
    of = [{image.patient for image in part} for part in parts.values()]
    assert sum(map(len, of)) == len(set.union(*of))


def test_a_split_depends_on_names_alone():
    images = radiographs(50)
    shuffled = [images[i] for i in np.random.default_rng(0).permutation(len(images))]
    before, after = patients.split(images), patients.split(shuffled)
    for name in patients.SHARES:
        assert {image.path for image in before[name]} == {image.path for image in after[name]}


def test_a_planted_leak_is_found():
    parts = patients.split(radiographs(50))
    leaked = parts["training"][0]
    sibling = dataclasses.replace(leaked, path=Path("sibling.png"), sha256="another")
    with pytest.raises(TrainingError, match=f"patient {leaked.patient} is in training .*{leaked.path}.*sibling.png"):
        patients.assert_disjoint(parts | {"held_out": [*parts["held_out"], sibling]})
    # The same file under another patient's name is a leak too.
    renamed = dataclasses.replace(leaked, path=Path("IM-9999-1.png"), patient="IM-9999")
    with pytest.raises(TrainingError, match=f"{leaked.path} is in training and, as IM-9999-1.png, in held_out"):
        patients.assert_disjoint(parts | {"held_out": [*parts["held_out"], renamed]})


def test_too_few_patients_for_a_part_are_told():
    with pytest.raises(TrainingError, match="too few"):
        patients.split(radiographs(3))


def test_folds_are_disjoint_and_even():
    folds = patients.folds(radiographs(50), 5)
    assert [len(fold) for fold in folds] == [40] * 5


def test_no_jitter_changes_nothing_and_a_flip_is_the_mirror_image():
    images = torch.rand(3, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    same = Jitter(flip=0)(images, torch.Generator())
    torch.testing.assert_close(same, images, atol=1e-5, rtol=0)
    flipped = Jitter(flip=1)(images, torch.Generator())
    torch.testing.assert_close(flipped, images.flip(3), atol=1e-5, rtol=0)


def test_jitter_follows_its_generator_and_stays_in_range():
    images = torch.rand(4, 1, 32, 32)
    jitter = Jitter(10, 0.1, 0.2, 0.2, 0.2, 0.4, 0.8, 0.5, cutout=8)
    first, again = (jitter(images, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.min() >= 0 and first.max() <= 1
    # Each image has its own draws.
    alike = jitter(images[:1].expand(4, -1, -1, -1), torch.Generator().manual_seed(3))
    assert not torch.allclose(alike[0], alike[1], atol=0.05)


def test_a_mask_moves_with_its_image():
    image = torch.zeros(8, 1, 64, 64)
    image[:, :, 20:40, 10:30] = 1
    jitter = Jitter(degrees=15, shift=0.1, scale=0.2, aspect=0.2)
    grid = jitter.grid(image, torch.Generator().manual_seed(1))
    torch.testing.assert_close(warped(image, grid), warped(image.clone(), grid))
    assert not torch.allclose(warped(image, grid), image)


def chest(lungs: tuple[tuple[int, int], ...] = ((42, 64), (86, 64))) -> np.ndarray:
    """A grey body on black with dark ellipses at the given (column, row)."""
    y, x = np.mgrid[:128, :128]
    image = np.where(np.abs(x - 64) < 56, 170, 5).astype(np.float64)
    for column, row in lungs:
        image[((x - column) / 14) ** 2 + ((y - row) / 34) ** 2 < 1] = 60
    noise = np.random.default_rng(0).normal(0, 3, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def test_both_lungs_of_a_drawn_chest_are_found():
    y, x = np.mgrid[:128, :128]
    truth = np.zeros((128, 128), bool)
    for column in (42, 86):
        truth |= ((x - column) / 14) ** 2 + ((y - 64) / 34) ** 2 < 1
    mask = lung_masks.lungs(chest())
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.9


@pytest.mark.parametrize("lungs", [((42, 64),), ()], ids=["one lung", "no lung"])
def test_what_is_not_plausible_gives_no_mask(lungs):
    assert lung_masks.lungs(chest(lungs)) is None


def test_images_without_contrast_give_no_mask():
    for level in (0, 90, 255):
        assert lung_masks.lungs(np.full((128, 128), level, np.uint8)) is None


def test_otsu_separates_two_levels():
    values = np.array([20] * 30 + [22] * 30 + [180] * 20 + [184] * 20, np.uint8)
    assert 22 <= lung_masks.otsu(values) < 180
