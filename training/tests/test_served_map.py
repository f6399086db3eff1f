"""pneumonia/3's map as the running server returns and paints it, against Grad-CAM++ by autograd, on real radiographs.

The network is built from the committed ONNX file, its input comes from `hilum prepare`, its map from automatic
differentiation (`explain.grad_cam_pp`, held to the paper's full derivatives in test_evidence.py): nothing of the
served map's closed form, grid, interpolation or painting is shared. Skipped without the radiographs (HILUM_DATA, by
default ../shared/data) or without a `hilum` program.
"""

import base64
import io
import json
import os
import shutil
import sys
import tomllib
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import torch
from PIL import Image

from training import bundle, explain, prepared
from training.chest import files, networks, served
from training.errors import TrainingError

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "clients"))
DATA = Path(os.environ.get("HILUM_DATA") or ROOT / ".." / "shared" / "data")
FOLDER = ROOT / "models" / "pneumonia" / "3"
MANIFEST = tomllib.loads((FOLDER / "bundle.toml").read_text(encoding="utf-8"))
LABELS = MANIFEST["labels"]
# Of each class: originals of many sizes and aspects, and images of the published test folder.
SOURCES = {"chest_xray_original": 5, "chest_xray/test": 5}
# How opaque the painting is where the map is 1.
OPACITY = 0.65


@dataclass(frozen=True)
class Radiograph:
    """A file, and the network's input that `hilum prepare` makes of it: float32 [1, 1, h, w]."""

    path: Path
    image: torch.Tensor


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory) -> list[Radiograph]:
    try:
        prepared.binary()
    except TrainingError:
        pytest.skip("no hilum program: build it or name it in HILUM_BIN")
    paths = []
    for source, count in SOURCES.items():
        for label in LABELS:
            if not (DATA / source / label).is_dir():
                pytest.skip(f"{DATA / source / label} is not there (set HILUM_DATA)")
            paths += sorted((DATA / source / label).iterdir())[:count]
    place = tmp_path_factory.mktemp("radiographs")
    for path in paths:
        (place / "source" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place / "source" / path.parent.name)
    steps = MANIFEST["preprocess"]["step"]
    kept = [step["op"] for step in steps].index("quantise8") + 1
    assert [step["op"] for step in steps[kept:]] == ["scale"]
    (recipe := place / "steps.toml").write_text(prepared.steps_toml(steps[:kept]), encoding="utf-8")
    arguments = ["--patient", files.PATIENT, "--folds", "2"]
    made = prepared.prepare(place / "source", place / "made", recipe, LABELS, arguments)
    by_source = dict(zip(made.sources, made.pixels, strict=True))
    pixels = [by_source[bundle.sha256(path)] for path in paths]
    return [
        Radiograph(path, torch.from_numpy(image.astype(np.float32) / np.float32(255))[None, None])
        for path, image in zip(paths, pixels, strict=True)
    ]


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """The network with the weights of the committed ONNX file, float64."""
    stored = {t.name: t for t in onnx.load(FOLDER / "model.onnx").graph.initializer}
    weights = {name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy()) for name, tensor in stored.items()}
    graph = served.graph(networks.lite0(pretrained=False), stages=(-1,))
    state = {name.removeprefix("inner."): value for name, value in weights.items()}
    # The exporter stored the head's weight the other way round.
    state["weight"] = weights["permute"].T
    wanted = {name for name in graph.state_dict() if not name.endswith("num_batches_tracked")}
    graph.load_state_dict({name: state[name] for name in wanted}, strict=False)
    return graph.double().eval()


@pytest.fixture(scope="module")
def server():
    from server_process import ServerProcess

    previous = os.environ.get("HILUM_BIN")
    os.environ["HILUM_BIN"] = str(prepared.binary().resolve())
    try:
        server = ServerProcess(models=ROOT / "models", load=["pneumonia"])
    finally:
        os.environ.pop("HILUM_BIN") if previous is None else os.environ.update(HILUM_BIN=previous)
    yield server
    assert server.stop() == 0


def exact(network: torch.nn.Module, image: torch.Tensor, label: int) -> torch.Tensor:
    """Grad-CAM++ of a label over its own largest value, float64 [1, 1, y, x]."""

    def score(maps: torch.Tensor) -> torch.Tensor:
        logit = torch.nn.functional.adaptive_avg_pool2d(maps, 1).flatten(1) @ network.weight.T + network.bias
        return torch.cat([-logit, logit], dim=1)

    with torch.no_grad():
        maps = network.split(image.double())[0]
    found = explain.grad_cam_pp(maps, score, label)
    assert found.max() > 0
    return (found / found.max())[None, None]


def at_size(grid: torch.Tensor, height: int, width: int) -> np.ndarray:
    """Between the centres of the grid's cells linearly, beyond them the nearest: float64 [height, width]."""
    return torch.nn.functional.interpolate(grid, (height, width), mode="bilinear", align_corners=False)[0, 0].numpy()


def answered(server, path: Path, label: str) -> dict:
    """What `POST /api/v1/predict` answers, map and overlay at the original's size included."""
    query = f"model=pneumonia&explain=true&overlay=true&overlay_max_side=4096&explain_class={label}"
    url = f"http://{server.http}/api/v1/predict?{query}&include_rejected_scores=true"
    request = urllib.request.Request(url, path.read_bytes(), {"Content-Type": "application/octet-stream"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_the_served_map_is_grad_cam_pp_by_autograd(server, network, radiographs):
    worst, apart = 0.0, 0.0
    for radiograph in radiographs:
        with torch.no_grad():
            logit = network.split(radiograph.image.double())[0].mean(dim=(2, 3)) @ network.weight.T + network.bias
        for label, name in enumerate(LABELS):
            answer = answered(server, radiograph.path, name)
            why = answer["explanation"]
            assert why["label"] == name and not why["is_zero"]
            # The network here is the one that was served: its score is.
            apart = max(apart, abs(torch.sigmoid(logit).item() - answer["scores"][1]["raw"]))
            found = np.array(why["heatmap"], np.float64).reshape(why["height"], why["width"])
            wanted = at_size(exact(network, radiograph.image, label), why["height"], why["width"])
            # Interpolation may miss the peak, so both go over their own largest value.
            worst = max(worst, float(np.abs(found / found.max() - wanted / wanted.max()).max()))
    print(f"{len(radiographs)} radiographs, {len(LABELS)} labels: maps {worst:.1e} apart, scores {apart:.1e}")
    assert apart <= 1e-4
    assert worst <= 1e-3


def legend(overlay: np.ndarray, height: int) -> np.ndarray:
    """The colours of 0 to 1 as the overlay's own colour bar shows them, float64 [n, 3]."""
    margin = overlay[height:].astype(np.int64)
    coloured = np.ptp(margin, axis=2) > 30
    row = int(coloured.sum(axis=1).argmax())
    columns = np.nonzero(coloured[row])[0]
    assert len(columns) > 100 and np.ptp(columns) == len(columns) - 1
    return margin[row, columns].astype(np.float64)


def painted(grey: np.ndarray, heat: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """`heat` [h, w] over `grey` [h, w], the more opaque the more relevant: float64 [h, w, 3]."""
    place = heat * len(colours)
    at = [np.interp(place, np.arange(len(colours)), channel) for channel in colours.T]
    return grey[..., None] + OPACITY * heat[..., None] * (np.stack(at, axis=-1) - grey[..., None])


def test_the_heat_is_painted_where_the_exact_map_says(server, network, radiographs):
    levels, shifts = [], []
    for radiograph in radiographs:
        grey = np.asarray(Image.open(radiograph.path).convert("L"), np.float64)
        height, width = grey.shape
        why = answered(server, radiograph.path, LABELS[1])["explanation"]
        overlay = np.asarray(Image.open(io.BytesIO(base64.b64decode(why["overlay_png"]))).convert("RGB"))
        assert overlay.shape[0] > height and overlay.shape[1] == max(width, 240)
        colours, picture = legend(overlay, height), overlay[:height, :width].astype(np.float64)
        heat = at_size(exact(network, radiograph.image, 1), height, width)
        expected = painted(grey, heat, colours)
        apart = picture - expected
        levels.append(float(np.quantile(np.abs(apart), 0.999)))
        # The shift of the map, in pixels down and across, that would explain what differs (least squares).
        slopes = [
            (painted(grey, np.roll(heat, 2, axis), colours) - painted(grey, np.roll(heat, -2, axis), colours)) / 4
            for axis in (0, 1)
        ]
        inner = (slice(4, -4), slice(4, -4))
        columns = np.stack([slope[inner].ravel() for slope in slopes], axis=1)
        shifts.append(np.linalg.lstsq(columns, apart[inner].ravel(), rcond=None)[0])
    shift = float(np.abs(shifts).max())
    print(f"{len(radiographs)} overlays: 99.9 % of levels at most {max(levels):.1f} off, shifted by {shift:.2f} pixels")
    # Two JPEG decoders, 8 bits, 256 colours.
    assert max(levels) <= 4
    assert shift <= 0.5
