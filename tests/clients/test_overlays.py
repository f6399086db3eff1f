"""A bright square that was planted in a picture of odd sides is where the overlay's heat lies, after crop and resize.

The model is the tests' `spots`, which finds what is bright in the centre square of a picture.
"""

import io

import grpc
import numpy as np
import pytest
from PIL import Image
from server_process import ROOT, ServerProcess
from wire import Wire

# Width and height of the picture, left and top of the square, its side; the square lies in the centre square.
PLANTED = [(400, 300, 90, 60, 60), (400, 300, 250, 180, 60), (300, 520, 60, 150, 64), (301, 203, 130, 21, 47)]


@pytest.fixture(scope="module")
def classify(wire: Wire):
    server = ServerProcess(models=ROOT / "tests" / "models", load=["spots"])
    call = wire.unary(grpc.insecure_channel(server.grpc), "hilum.v1.Vision", "Classify")
    message = wire.message("hilum.v1.ClassifyRequest")
    yield lambda **fields: call(message(model="spots", include_rejected_scores=True, **fields), timeout=60)
    code = server.stop()
    assert code == 0, server.story(f"exit code {code}")


@pytest.mark.parametrize(("width", "height", "left", "top", "side"), PLANTED)
@pytest.mark.parametrize("shrunk", [1, 2])
def test_the_heat_lies_on_the_planted_square(
    classify, width: int, height: int, left: int, top: int, side: int, shrunk: int
) -> None:
    levels = np.full((height, width), 40, np.uint8)
    levels[top : top + side, left : left + side] = 255
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG")
    longer = max(width, height) // shrunk
    answer = classify(image=file.getvalue(), overlay=True, overlay_max_side=longer)
    overlay = np.asarray(Image.open(io.BytesIO(answer.explanation.overlay_png)).convert("RGB")).astype(int)
    # The picture stands at the top left, its margin below.
    scale = longer / max(width, height)
    drawn = overlay[: round(height * scale), : round(width * scale)]
    # A grey picture: what is coloured is heat.
    heat = np.ptp(drawn, axis=2)
    edge = int(abs(width - height) / 2 * scale)
    across = heat if width > height else heat.T
    assert max(across[:, :edge].max(), across[:, -edge:].max()) <= 1, "heat where the network did not look"
    rows, columns = np.mgrid[0 : heat.shape[0], 0 : heat.shape[1]]
    found = [float(np.average(place, weights=heat) + 0.5) / scale for place in (columns, rows)]
    # A cell of the map in pixels of the picture: an eighth of the centre square. Half a cell off would be a fault.
    cell = min(width, height) / 8
    assert found == pytest.approx([left + side / 2, top + side / 2], abs=0.25 * cell)
