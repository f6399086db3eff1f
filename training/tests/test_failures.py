"""The sheets of mistakes: which cases are on them, and what is painted over them."""

import json

import numpy as np
import onnx
import pytest
from PIL import Image

from training import failures, publish, recipes
from training.__main__ import main
from training.data import Dataset
from training.tests.test_publish import publication, radiographs


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A published bundle and the data set it is measured on, some of whose labels are turned."""
    out = tmp_path_factory.mktemp("made") / "pneumonia" / "9"
    publish.publish(publication(), out)
    split = radiographs(80, 3)
    split.labels[:12] = 1 - split.labels[:12]
    return out, Dataset("chest", split, split, "digest", more={"held out": split})


def test_the_surest_mistakes_come_first_and_no_right_answer_is_among_them(made, tmp_path, monkeypatch, capsys):
    out, dataset = made
    monkeypatch.setattr(recipes, "dataset", lambda *_: dataset)
    assert main(["failures", str(out), "--data", str(tmp_path), "--to", str(tmp_path / "sheets"), "--count", "3"]) == 0
    listed = json.loads((tmp_path / "sheets" / "failures.json").read_text())["cases"]
    session = onnx.load(out / "model.onnx")
    assert {output.name for output in session.graph.output} >= {"cam"}
    for kind, predicted in (("false positives", "PNEUMONIA"), ("false negatives", "NORMAL")):
        cases = [case for case in listed if case["kind"] == kind and case["data"] == "chest test"]
        assert len(cases) == 3
        assert all(case["predicted"] == predicted != case["truth"] for case in cases)
        scores = [case["score"] for case in cases]
        assert scores == sorted(scores, reverse=True)
        sheet = Image.open(tmp_path / "sheets" / f"chest-test-{kind.replace(' ', '-')}.png")
        # Three cases beside each other, each as a picture and under its map.
        assert sheet.size == (3 * (2 * 224 + 6), 224 + 30)
    assert "failures.json" in capsys.readouterr().out


def test_an_overlay_colours_where_the_map_is_large_and_nothing_where_it_is_zero():
    pixels = failures.plain(np.full((1, 32, 32), 0.5, np.float32))
    heat = np.zeros((8, 8), np.float32)
    np.testing.assert_array_equal(failures.overlay(pixels, heat), pixels)
    heat[1:3, 5:7] = 3.0
    painted = failures.overlay(pixels, heat)
    changed = (painted != pixels).any(axis=-1)
    # Four pixels a place of the map, and what is interpolated about it.
    assert changed[6:10, 22:26].all() and not changed[:, :16].any() and not changed[20:].any()
    brightest = painted[8, 24].astype(int)
    # The top of plasma, yellow, at 0.65 over grey.
    np.testing.assert_allclose(brightest, 0.35 * 128 + 0.65 * np.array([240, 249, 33]), atol=1)


def test_a_bundle_that_is_no_classifier_is_refused(made, tmp_path, monkeypatch, capsys):
    out, _ = made
    read = failures.evaluation.read_bundle
    monkeypatch.setattr(
        failures.evaluation, "read_bundle", lambda folder: (read(folder)[0] | {"task": "regression"}, {})
    )
    assert main(["failures", str(out), "--data", str(tmp_path), "--to", str(tmp_path / "sheets")]) == 1
    assert "only a classifier's answers" in capsys.readouterr().err
