"""Reading IDX files and refusing what is not one."""

import gzip

import numpy as np
import pytest

from training.data import Split, hold_out_last
from training.data.idx import parse_idx, read_bytes
from training.data.mnist import load_mnist
from training.errors import TrainingError

from .conftest import idx


def test_an_idx_file_is_read_with_its_shape(tmp_path):
    values = np.arange(24).reshape(2, 3, 4)
    assert (parse_idx(idx(values), tmp_path) == values).all()


def test_gzip_is_told_by_contents_and_changes_nothing(tmp_path):
    plain, packed = tmp_path / "plain.gz", tmp_path / "packed"
    plain.write_bytes(idx(np.arange(5)))
    packed.write_bytes(gzip.compress(idx(np.arange(5))))
    assert read_bytes(plain) == read_bytes(packed)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "not an IDX file"),
        (b"PK\3\4....", "not an IDX file"),
        (b"\0\0\x0d\1\0\0\0\0", "type 0x0d"),
        (b"\0\0\x08\3\0\0", "header is cut off"),
        (idx(np.arange(5))[:-1], "announces shape"),
        (idx(np.arange(5)) + b"!", "announces shape"),
    ],
)
def test_a_corrupt_file_is_refused(tmp_path, contents, message):
    with pytest.raises(TrainingError, match=message):
        parse_idx(contents, tmp_path / "file")


def test_a_cut_off_gzip_file_is_refused(tmp_path):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(idx(np.arange(500)))[:-12])
    with pytest.raises(TrainingError, match="damaged gzip"):
        read_bytes(path)


def test_mnist_is_loaded_as_unit_range_nchw(mnist_folder):
    dataset = load_mnist(mnist_folder)
    assert dataset.train.images.shape == (80, 1, 28, 28)
    assert dataset.train.images.dtype == np.float32
    assert dataset.train.images.max() == np.float32(220) / np.float32(255)
    assert dataset.test.labels.tolist() == [n % 10 for n in range(40)]


def test_the_digest_does_not_depend_on_compression(mnist_folder):
    before = load_mnist(mnist_folder).digest
    for packed in list(mnist_folder.glob("*.gz")):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    assert load_mnist(mnist_folder).digest == before


def test_a_missing_folder_and_a_missing_file_are_named(mnist_folder):
    with pytest.raises(TrainingError, match="no such folder"):
        load_mnist(mnist_folder / "elsewhere")
    (mnist_folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(TrainingError, match="missing t10k-labels-idx1-ubyte"):
        load_mnist(mnist_folder)


def _swap(folder, one, other):
    first, second = (folder / one).read_bytes(), (folder / other).read_bytes()
    (folder / one).write_bytes(second)
    (folder / other).write_bytes(first)


@pytest.mark.parametrize(
    ("swaps", "message"),
    [
        ([("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte")], "expected .n, 28, 28. images"),
        ([("train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte")], "do not belong together"),
        (
            [
                ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"),
                ("train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"),
            ],
            "mixed up",
        ),
    ],
)
def test_files_under_each_others_names_are_noticed(mnist_folder, swaps, message):
    for pair in swaps:
        _swap(mnist_folder, *pair)
    with pytest.raises(TrainingError, match=message):
        load_mnist(mnist_folder)


def test_the_last_rows_are_held_out():
    rows = Split(np.zeros((10, 1, 2, 2), np.float32), np.arange(10))
    kept, held = hold_out_last(rows, 0.2)
    assert kept.labels.tolist() == list(range(8))
    assert held.labels.tolist() == [8, 9]
