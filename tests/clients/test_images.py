"""Images by every path against a pipeline of Pillow, NumPy and onnxruntime, on real X-rays.

The model is `pneumonia` where the repository has it, else the tests' own `spots`. The X-rays are read from
HILUM_DATA, by default ../shared/data; without them the test is skipped.
"""

import base64
import csv
import io
import json
import os
import subprocess
import tomllib
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
import pytest
import tritonclient.grpc as triton
from PIL import Image
from server_process import ROOT, ServerProcess, binary
from wire import Wire

DATA = Path(os.environ.get("HILUM_DATA") or ROOT / ".." / "shared" / "data") / "chest_xray" / "test"
COUNT = 200
# Rows of one request to `.image`.
BATCH = 8


def model_folder() -> tuple[Path, str]:
    """The folder with the models and the model's name."""
    if (ROOT / "models" / "pneumonia" / "model.toml").is_file():
        return ROOT / "models", "pneumonia"
    return ROOT / "tests" / "models", "spots"


MODELS, NAME = model_folder()


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """X-rays of both classes in turn."""
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is not there (set HILUM_DATA)")
    classes = [sorted(folder.glob("*.*")) for folder in sorted(DATA.iterdir()) if folder.is_dir()]
    files = [file for pair in zip(*classes, strict=False) for file in pair][:COUNT]
    assert len(files) == COUNT
    return files


@pytest.fixture(scope="module")
def images_server():
    server = ServerProcess(models=MODELS, load=[NAME])
    yield server
    code = server.stop()
    assert code == 0, server.story(f"exit code {code}")


class Peer:
    """The recipe's steps by Pillow and NumPy, the network by onnxruntime; only what the two bundles use."""

    def __init__(self) -> None:
        version = tomllib.loads((MODELS / NAME / "model.toml").read_text())["default_version"]
        folder = MODELS / NAME / version
        self.manifest = tomllib.loads((folder / "bundle.toml").read_text())
        path = folder / self.manifest["model"]["file"]
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def tensor(self, file: Path | Image.Image) -> np.ndarray:
        image = file if isinstance(file, Image.Image) else Image.open(file)
        values = None
        for step in self.manifest["preprocess"]["step"]:
            match step["op"]:
                case "decode":
                    image = image.convert({"gray": "L", "rgb": "RGB"}[step["color"]])
                case "voi":
                    pass
                case "crop":
                    assert step["region"] == {"kind": "center_square"}
                    side = min(image.size)
                    left, top = (image.width - side) // 2, (image.height - side) // 2
                    image = image.crop((left, top, left + side, top + side))
                case "resize":
                    size = (step["width"], step["height"])
                    image = image.resize(size, Image.Resampling.BILINEAR)
                case "quantise8":
                    values = np.asarray(image, np.float32)
                case "scale":
                    values = values * np.float32(step["factor"])
                case "replicate":
                    values = np.repeat(values[..., None], step["channels"], axis=2)
                case "normalise":
                    values = (values - np.float32(step["mean"])) / np.float32(step["std"])
                case other:
                    raise AssertionError(f"the peer knows no step {other}")
        if values.ndim == 2:
            values = values[..., None]
        if self.manifest["model"]["layout"] == "NCHW":
            values = values.transpose(2, 0, 1)
        return values[None].astype(np.float32)

    def scores(self, file: Path) -> np.ndarray:
        outputs = self.manifest["model"]["output"]
        name = next(output["name"] for output in outputs if output["role"] == "scores")
        entry = self.manifest["model"]["input"][0]["name"]
        (scores,) = self.session.run([name], {entry: self.tensor(file)})
        return scores[0]


def by_predict(server, file: Path) -> list[float]:
    url = f"http://{server.http}/api/v1/predict?model={NAME}&include_rejected_scores=true"
    kind = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(url, file.read_bytes(), kind)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return [score["raw"] for score in json.load(answer)["scores"]]


def by_rest(server, file: Path) -> list[float | None]:
    data = base64.b64encode(file.read_bytes()).decode()
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1, 1], "data": [data]}
    body = json.dumps({"inputs": [tensor], "outputs": [{"name": "probabilities"}]}).encode()
    url = f"http://{server.http}/v2/models/{NAME}.image/infer"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["outputs"][0]["data"]


def by_triton(server, files: list[Path]) -> np.ndarray:
    """The rows of `.image` over gRPC by tritonclient, in batches; NaN where rejected."""
    rows = []
    with triton.InferenceServerClient(server.grpc) as client:
        for at in range(0, len(files), BATCH):
            batch = np.array([[file.read_bytes()] for file in files[at : at + BATCH]], object)
            tensor = triton.InferInput("image", batch.shape, "BYTES")
            tensor.set_data_from_numpy(batch)
            answer = client.infer(f"{NAME}.image", [tensor], client_timeout=60)
            rows.append(answer.as_numpy("probabilities"))
    return np.concatenate(rows)


def by_stream(wire: Wire, channel: grpc.Channel, files: list[Path]) -> dict[str, list[float]]:
    """The answers of one ClassifyStream, by place."""
    item, request = (wire.message(f"hilum.v1.{name}") for name in ("ClassifyStreamRequest", "ClassifyRequest"))
    call = channel.stream_stream(
        "/hilum.v1.Vision/ClassifyStream",
        request_serializer=item.SerializeToString,
        response_deserializer=wire.message("hilum.v1.ClassifyStreamResponse").FromString,
    )

    def items():
        for at, file in enumerate(files):
            ask = request(model=NAME, image=file.read_bytes(), include_rejected_scores=True)
            yield item(id=str(at), request=ask)

    return {answer.id: [score.raw for score in answer.response.scores] for answer in call(items(), timeout=300)}


def raw_scores(classify, message, image: Image.Image) -> np.ndarray:
    """What Vision says of an image that is sent without loss."""
    lossless = io.BytesIO()
    image.save(lossless, "PNG", compress_level=1)
    request = message(model=NAME, image=lossless.getvalue(), include_rejected_scores=True)
    return np.array([score.raw for score in classify(request, timeout=60).scores])


def test_every_path_agrees_with_the_others_and_with_pillow(
    images_server, wire: Wire, files: list[Path], figures: list[str]
) -> None:
    message = wire.message("hilum.v1.ClassifyRequest")
    peer = Peer()
    channel = grpc.insecure_channel(images_server.grpc)
    classify = wire.unary(channel, "hilum.v1.Vision", "Classify")
    table = subprocess.run(
        [binary(), "predict", "--models", MODELS, "--model", NAME, "--output", "csv",
         "--include-rejected-scores", *files],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=300,
    )
    rows = list(csv.DictReader(io.StringIO(table.stdout)))
    labels = peer.manifest["labels"]
    batched, streamed = by_triton(images_server, files), by_stream(wire, channel, files)
    assert len(batched) == len(streamed) == len(files)
    among, beside, by_resize, by_jpeg, refused = 0.0, 0.0, 0.0, 0.0, 0
    for at, (file, row) in enumerate(zip(files, rows, strict=True)):
        request = message(model=NAME, image=file.read_bytes(), include_rejected_scores=True)
        answer = classify(request, timeout=60)
        ours = [
            [score.raw for score in answer.scores],
            by_predict(images_server, file),
            [float(row[f"raw {label}"]) for label in labels],
            streamed[str(at)],
        ]
        if answer.decision == "rejected":
            # `.image` has no word for asking all the same: the row stays without numbers.
            refused += 1
            assert np.isnan(batched[at]).all() and by_rest(images_server, file) == [None] * len(labels)
        else:
            ours += [by_rest(images_server, file), batched[at].tolist()]
        ours = np.array(ours)
        among = max(among, float(np.abs(ours - ours[0]).max()))
        expected = peer.scores(file)
        if expected.size == 1:
            expected = np.array([1 - expected[0], expected[0]])
        by_jpeg = max(by_jpeg, float(np.abs(ours[0] - expected).max()))
        # Pillow's own pixels, before and after its resizing: after it, recipe and network alone are compared.
        pixels = Image.open(file).convert("L")
        step = next(step for step in peer.manifest["preprocess"]["step"] if step["op"] == "resize")
        fitted = pixels.resize((step["width"], step["height"]), Image.Resampling.BILINEAR)
        decoded, prepared = (
            float(np.abs(raw_scores(classify, message, image) - expected).max()) for image in (pixels, fitted)
        )
        by_resize, beside = max(by_resize, decoded), max(beside, prepared)
    figures.append(
        f"{NAME}, {len(files)} X-rays by Vision (one and stream), .image (gRPC and REST), predict and the terminal: at "
        f"most {among:.1e} apart; from Pillow + onnxruntime at most {beside:.1e} on the same resized pixels, "
        f"{by_resize:.1e} on the same decoded ones, {by_jpeg:.1e} with each side's own JPEG decoder; {refused} rejected"
    )
    assert among <= 1e-3
    assert beside <= 1e-3
    assert by_resize <= 1e-3
    assert by_jpeg <= 5e-3
