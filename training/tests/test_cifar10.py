"""CIFAR-10 in each layout it circulates in: the same rows, and what is wrong is named."""

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.cifar10 import LABELS, load_cifar10
from training.errors import TrainingError


def rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 3, 32, 32)).astype(np.uint8)
    return pixels, (np.arange(n) % 10).astype(np.uint8)


TRAIN, TEST = rows(50, 0), rows(20, 1)


def pickled(folder: Path) -> None:
    place = folder / "cifar-10-batches-py"
    place.mkdir(parents=True)
    for at in range(5):
        part = slice(at * 10, at * 10 + 10)
        batch = {b"data": TRAIN[0][part].reshape(10, -1), b"labels": TRAIN[1][part].tolist()}
        (place / f"data_batch_{at + 1}").write_bytes(pickle.dumps(batch))
    (place / "test_batch").write_bytes(pickle.dumps({b"data": TEST[0].reshape(20, -1), b"labels": TEST[1].tolist()}))


def binary(folder: Path) -> None:
    place = folder / "cifar-10-batches-bin"
    place.mkdir(parents=True)
    for at in range(5):
        part = slice(at * 10, at * 10 + 10)
        table = np.concatenate([TRAIN[1][part, None], TRAIN[0][part].reshape(10, -1)], axis=1)
        (place / f"data_batch_{at + 1}.bin").write_bytes(table.tobytes())
    table = np.concatenate([TEST[1][:, None], TEST[0].reshape(20, -1)], axis=1)
    (place / "test_batch.bin").write_bytes(table.tobytes())


def images(folder: Path) -> None:
    for split, (pixels, labels) in (("train", TRAIN), ("test", TEST)):
        for at, (image, label) in enumerate(zip(pixels, labels)):
            place = folder / split / LABELS[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.transpose(1, 2, 0)).save(place / f"{at // 10:04d}.png")


def tars(folder: Path) -> None:
    images(folder / "loose")
    for split in ("train", "test"):
        with tarfile.open(folder / f"{split}.tar", "w") as tar:
            tar.add(folder / "loose" / split, split)


@pytest.mark.parametrize("write", [pickled, binary, images, tars])
def test_every_layout_gives_the_same_rows(tmp_path, write):
    write(tmp_path)
    dataset = load_cifar10(tmp_path)
    assert (dataset.train.images == TRAIN[0].astype(np.float32) / np.float32(255)).all()
    assert (dataset.train.labels == TRAIN[1]).all()
    assert (dataset.test.images == TEST[0].astype(np.float32) / np.float32(255)).all()
    # The last rows, which are held out, hold every class.
    assert set(dataset.train.labels[-10:]) == set(range(10))


def test_the_digest_is_of_the_pixels_and_not_of_their_files(tmp_path):
    for write in (pickled, images):
        write(tmp_path / write.__name__)
    assert load_cifar10(tmp_path / "pickled").digest == load_cifar10(tmp_path / "images").digest


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(TrainingError, match="no such folder"):
        load_cifar10(tmp_path / "nowhere")
    with pytest.raises(TrainingError, match="no CIFAR-10 there"):
        load_cifar10(tmp_path)
    images(tmp_path / "a")
    (tmp_path / "a" / "train" / "ship" / "x.png").write_bytes(b"no image")
    with pytest.raises(TrainingError, match="ship/x.png is not an image"):
        load_cifar10(tmp_path / "a")
    images(tmp_path / "b")
    (tmp_path / "b" / "test" / "NORMAL").mkdir()
    (tmp_path / "b" / "test" / "NORMAL" / "1.png").write_bytes(b"")
    with pytest.raises(TrainingError, match="no folder of a class"):
        load_cifar10(tmp_path / "b")
    images(tmp_path / "c")
    (tmp_path / "c" / "train").rename(tmp_path / "c" / "x")
    (tmp_path / "c" / "test").rename(tmp_path / "c" / "train")
    (tmp_path / "c" / "x").rename(tmp_path / "c" / "test")
    with pytest.raises(TrainingError, match="mixed up"):
        load_cifar10(tmp_path / "c")
    (tmp_path / "train.tar").write_bytes(b"x" * 600)
    with pytest.raises(TrainingError, match="damaged tar"):
        load_cifar10(tmp_path)


def test_a_class_that_is_missing_is_named(tmp_path):
    images(tmp_path)
    for file in (tmp_path / "test" / "frog").iterdir():
        file.unlink()
    with pytest.raises(TrainingError, match="no image of frog"):
        load_cifar10(tmp_path)


def test_a_pickle_cannot_run_code(tmp_path):
    pickled(tmp_path)

    class Evil:
        def __reduce__(self):
            return print, ("ran",)

    stream = io.BytesIO()
    pickle.dump({b"data": Evil(), b"labels": []}, stream)
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(stream.getvalue())
    with pytest.raises(TrainingError, match="no place in a batch"):
        load_cifar10(tmp_path)
