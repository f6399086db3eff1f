"""What pneumonia/3 refuses, file by file through Vision, against the shares that its card states.

The card's shares are of the network's own input, by the distance alone. Here the same images come as files: in
their own size, where the gates of quality see them too, and enlarged, where little but the distance can refuse them.
Images are read from HILUM_DATA, by default ../shared/data; without them the test is skipped.
"""

import gzip
import io
import json
import os
import struct
import tarfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image
from server_process import ROOT, ServerProcess
from sklearn.datasets import load_sample_images
from wire import Wire

DATA = Path(os.environ.get("HILUM_DATA") or ROOT / ".." / "shared" / "data")
BUNDLE = ROOT / "models" / "pneumonia" / "3"
# Of each set and of each class; the pixels of a side that small pictures are enlarged to.
COUNT, SIDE = 100, 224
# What may lie between a share of the card and the one served: the two files that stand under two patients, pixels
# that are enlarged before they are resized.
TOLERANCE = 0.03
GOOD = "good: radiographs in their original size"


def png(image: Image.Image | np.ndarray) -> bytes:
    """A file without loss."""
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def enlarged(image: Image.Image) -> Image.Image:
    return image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def radiographs(folder: str, count: int | None = None) -> list[Path]:
    """`count` of each class of a folder, or all."""
    classes = [sorted((DATA / folder / name).iterdir()) for name in ("NORMAL", "PNEUMONIA")]
    return [path for paths in classes for path in paths[:count]]


def digits() -> list[Image.Image]:
    packed = DATA / "mnist" / "t10k-images-idx3-ubyte.gz"
    data = gzip.decompress(packed.read_bytes())
    _, n, height, width = struct.unpack_from(">IIII", data)
    images = np.frombuffer(data, np.uint8, offset=16).reshape(n, height, width)[:COUNT]
    return [Image.fromarray(image) for image in images]


def photographs_of_things() -> Iterator[Image.Image]:
    """CIFAR-10's test images, the first of each class."""
    with tarfile.open(DATA / "cifar10" / "test.tar") as tar:
        names = sorted(member.name for member in tar if member.isfile())
        by_class = Counter()
        for name in names:
            of = name.split("/")[-2]
            by_class[of] += 1
            if by_class[of] <= COUNT // 10:
                yield Image.open(io.BytesIO(tar.extractfile(name).read())).convert("RGB")


def crops() -> Iterator[Image.Image]:
    """Squares of scikit-learn's two sample photographs."""
    generator = np.random.default_rng(0)
    for image in load_sample_images().images:
        for _ in range(COUNT // 2):
            side = generator.integers(max(160, SIDE // 2), min(image.shape[:2]))
            top, left = (generator.integers(0, size - side + 1) for size in image.shape[:2])
            yield Image.fromarray(image[top : top + side, left : left + side])


def sets() -> Iterator[tuple[str, str | None, list[bytes]]]:
    """What the files are, the card's name for them where it has one, and the files."""
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (COUNT, SIDE, SIDE), np.uint8)
    yield "uniform noise", "uniform noise", [png(image) for image in noise]
    levels = np.linspace(0, 255, 11).round().astype(np.uint8)
    yield "blank, 11 grey levels", "blank, 11 grey levels", [png(np.full((SIDE, SIDE), x, np.uint8)) for x in levels]
    small, coloured = digits(), list(photographs_of_things())
    yield "MNIST digits, 28 × 28", None, [png(image) for image in small]
    yield "MNIST digits, enlarged", "MNIST", [png(enlarged(image)) for image in small]
    yield "CIFAR-10, 32 × 32, colour", None, [png(image) for image in coloured]
    yield "CIFAR-10, enlarged, grey", "CIFAR-10", [png(enlarged(image.convert("L"))) for image in coloured]
    pieces = list(crops())
    yield "crops of two photographs, colour", None, [png(image) for image in pieces]
    yield "crops of two photographs, grey", "crops of two colour photographs", [
        png(image.convert("L")) for image in pieces
    ]
    yield "test radiographs, inverted", "own test images, inverted", [
        png(255 - np.asarray(Image.open(path).convert("L"))) for path in radiographs("chest_xray/test")
    ]
    own = [Image.open(path).convert("L") for path in radiographs("chest_xray/test", COUNT)]
    yield "test radiographs, turned by 90°", "own test images, turned by 90°", [
        png(image.transpose(Image.Transpose.ROTATE_90)) for image in own
    ]
    yield "test radiographs, turned by 180°", "own test images, turned by 180°", [
        png(image.transpose(Image.Transpose.ROTATE_180)) for image in own
    ]
    yield "originals, inverted", None, [
        png(255 - np.asarray(Image.open(path).convert("L"))) for path in radiographs("chest_xray_original")
    ]
    yield "originals, turned by 90°", None, [
        png(Image.open(path).convert("L").transpose(Image.Transpose.ROTATE_90))
        for path in radiographs("chest_xray_original")
    ]
    yield "good: originals", GOOD, [path.read_bytes() for path in radiographs("chest_xray_original")]
    yield "good: published test folder", "published test folder", [
        path.read_bytes() for path in radiographs("chest_xray/test")
    ]


def stated() -> dict[str, float]:
    """The card's shares by name: of strangers, and of the measured data sets."""
    figures = json.loads((BUNDLE / "evaluation.json").read_text(encoding="utf-8"))
    shares = {entry["name"]: entry["refused"] for entry in figures["out_of_distribution"]["tried"]}
    return shares | {entry["name"]: entry["refused"]["share"] for entry in figures["datasets"]}


def test_what_the_card_says_is_refused_is_refused(wire: Wire, figures: list[str]) -> None:
    for folder in ("mnist", "cifar10", "chest_xray", "chest_xray_original"):
        if not (DATA / folder).is_dir():
            pytest.skip(f"{DATA / folder} is not there (set HILUM_DATA)")
    server = ServerProcess(models=ROOT / "models", load=["pneumonia"])
    try:
        message, channel = wire.message("hilum.v1.ClassifyRequest"), grpc.insecure_channel(server.grpc)
        classify = wire.unary(channel, "hilum.v1.Vision", "Classify")

        def ask(file: bytes) -> tuple[bool, list[str]]:
            answer = classify(message(model="pneumonia", version="3", image=file), timeout=60)
            return answer.decision == "rejected", [warning.code for warning in answer.warnings]

        card, differing = stated(), []
        figures.append(f"{'pneumonia/3, files by Vision':34} {'n':>4} {'refused':>8} {'by distance':>12} {'card':>6}")
        with ThreadPoolExecutor(4) as pool:
            for what, name, files in sets():
                answers = list(pool.map(ask, files))
                refused = np.mean([rejected for rejected, _ in answers])
                distant = np.mean(["out_of_distribution" in codes for _, codes in answers])
                warned = np.mean([bool(codes) for _, codes in answers])
                assert warned >= refused, "a refusal names its reason"
                codes = Counter(code for _, found in answers for code in set(found))
                said = "" if name is None else f"{card[name]:.3f}"
                figures.append(
                    f"{what:34} {len(files):4} {refused:8.3f} {distant:12.3f} {said:>6}  "
                    + ", ".join(f"{code} {count}" for code, count in codes.most_common())
                )
                # Strangers at least as often as stated, good ones at most.
                if name is not None and name.startswith(("good", "published")):
                    differing += [what] if refused > card[name] + TOLERANCE else []
                elif name is not None and refused < card[name] - TOLERANCE:
                    differing.append(what)
        assert not differing, "\n".join([f"other than the card says: {differing}", *figures])
    finally:
        code = server.stop()
    assert code == 0, server.story(f"exit code {code}")
