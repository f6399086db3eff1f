"""The 10,000 MNIST test images, one by one by 16 callers at once and in batches: always the same labels.

The labels are those of onnxruntime in Python over the same file, the accuracy that of evaluation.json.
"""

import asyncio
import gzip
import json
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from server_process import ROOT

CALLERS = 16
TOLERANCE = 1e-5


def idx(path: Path) -> np.ndarray:
    """An IDX file of bytes, compressed or not."""
    packed = path.with_name(path.name + ".gz")
    data = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
    zero, kind, rank = struct.unpack_from(">HBB", data)
    assert (zero, kind) == (0, 8), f"{path} is no IDX file of bytes"
    shape = struct.unpack_from(f">{rank}I", data, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


@pytest.fixture(scope="module")
def test_set() -> tuple[np.ndarray, np.ndarray]:
    """Images, float32 [10000, 1, 28, 28] in [0, 1], and labels, [10000]."""
    folder = Path(os.environ.get("HILUM_DATA", ROOT / ".." / "shared" / "data")) / "mnist"
    names = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    for name in names:
        if not (folder / name).exists() and not (folder / f"{name}.gz").exists():
            pytest.skip(f"{folder} has no {name}: HILUM_DATA names the folder that holds mnist/")
    images, labels = (idx(folder / name) for name in names)
    assert images.shape == (10_000, 28, 28) and labels.shape == (10_000,)
    return (images.astype(np.float32) / np.float32(255)).reshape(-1, 1, 28, 28), labels


@pytest.fixture(scope="module", params=["1", "2"])
def case(request, test_set, sessions):
    """A version, the images, their labels and onnxruntime's scores, one image a run."""
    images, labels = test_set
    run = sessions[request.param].run
    alone = [run(["probabilities"], {"image": images[i : i + 1]})[0] for i in range(len(images))]
    return request.param, images, labels, np.concatenate(alone)


async def ask_all(address: str, version: str, images: np.ndarray, rows: int) -> np.ndarray:
    """The scores of all images, asked in requests of `rows` rows by 16 callers on a connection each."""
    answers: list[np.ndarray | None] = [None] * -(-len(images) // rows)
    todo = iter(range(len(answers)))

    async def caller() -> None:
        # Without a pool of its own, every channel of the process would share one connection.
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with triton.InferenceServerClient(address, channel_args=options) as client:
            for i in todo:
                part = images[i * rows : (i + 1) * rows]
                image = triton.InferInput("image", list(part.shape), "FP32")
                image.set_data_from_numpy(part)
                result = await client.infer("mnist", [image], version, request_id=str(i))
                response = result.get_response()
                assert (response.model_version, response.id) == (version, str(i))
                answers[i] = result.as_numpy("probabilities")
                assert answers[i].shape == (len(part), 10)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return np.concatenate(answers)


@pytest.mark.parametrize("rows", [1, 7, 32, 100])
def test_the_labels_are_the_same_however_they_are_asked_for(server, case, figures, rows):
    version, images, labels, expected = case
    runs = f'hilum_batch_size_count{{model="mnist",version="{version}"}}'
    before, started = server.metric(runs), time.monotonic()
    scores = asyncio.run(ask_all(server.grpc, version, images, rows))
    took, runs = time.monotonic() - started, server.metric(runs) - before

    assert np.array_equal(scores.argmax(axis=1), expected.argmax(axis=1))
    difference = np.abs(scores - expected).max()
    assert difference <= TOLERANCE
    accuracy = np.mean(scores.argmax(axis=1) == labels)
    evaluation = json.loads((ROOT / "models" / "mnist" / version / "evaluation.json").read_text())
    (stated,) = (metric for metric in evaluation["datasets"][0]["metrics"] if metric["name"] == "accuracy")
    assert (accuracy, len(labels)) == (stated["value"], stated["n"])
    # Strangers' rows must have shared runs, or nothing above says that they do not touch each other.
    if rows == 1:
        assert 0 < runs < len(images)
    figures.append(
        f"mnist/{version}, requests of {rows} rows, {CALLERS} callers: accuracy {accuracy}, "
        f"largest score difference {difference:.2e}, {runs:.0f} runs, {took:.1f} s"
    )
