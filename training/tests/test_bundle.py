"""Writing bundle folders, and the bundles that are committed."""

import hashlib
import json
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest

from training import bundle, goldens, model_file
from training.errors import TrainingError

BUNDLES = sorted((Path(__file__).parents[2] / "models" / "mnist").glob("[0-9]*"))


def test_a_finished_bundle_appears_under_its_name(tmp_path):
    out = tmp_path / "mnist" / "1"
    with bundle.staged(out) as folder:
        (folder / "a").write_text("new")
        assert not out.exists()
    assert [path.name for path in out.parent.iterdir()] == ["1"]
    assert (out / "a").read_text() == "new"


def test_a_failure_leaves_what_was_there(tmp_path):
    out = tmp_path / "mnist" / "1"
    with bundle.staged(out) as folder:
        (folder / "a").write_text("old")
    with pytest.raises(RuntimeError), bundle.staged(out) as folder:
        (folder / "a").write_text("half")
        raise RuntimeError
    assert [path.name for path in out.parent.iterdir()] == ["1"]
    assert (out / "a").read_text() == "old"


def test_a_bundle_is_replaced_whole(tmp_path):
    out = tmp_path / "mnist" / "1"
    for name in ("a", "b"):
        with bundle.staged(out) as folder:
            (folder / name).write_text(name)
    assert [path.name for path in out.iterdir()] == ["b"]


@pytest.mark.parametrize("out", ["mnist/one", "mnist/01", "digits/1", "1"])
def test_a_target_that_is_no_version_of_the_model_is_refused(tmp_path, out):
    with pytest.raises(TrainingError, match="must end in mnist/<number>"):
        bundle.target(tmp_path / out, "mnist", replace=False)


def test_an_existing_bundle_is_replaced_only_when_asked(tmp_path):
    out = tmp_path / "mnist" / "3"
    out.mkdir(parents=True)
    with pytest.raises(TrainingError, match="exists already"):
        bundle.target(out, "mnist", replace=False)
    assert bundle.target(out, "mnist", replace=True) == "3"


def test_toml_reads_back_as_it_was_written():
    contents = {
        "schema": 1,
        "text": 'quotes " \\ and × lines\n',
        "model": {
            "flag": False,
            "views": [],
            "input": [{"name": "a", "shape": [-1, 2]}, {"name": "b", "x": {"y": 0.5}}],
        },
        "empty": {},
    }
    assert tomllib.loads(bundle.to_toml(contents)) == contents


def test_json_reads_back_and_keeps_number_lists_on_a_line():
    contents = {"matrix": [[1, 2], [3, 4]], "of": [{"text": "a  [b,  c]"}], "none": []}
    text = bundle.to_json(contents)
    assert json.loads(text) == contents
    assert "[1, 2]" in text


def test_a_manifest_is_held_against_the_schema(tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text(
        '{"type": "object", "required": ["name"], "additionalProperties": false, "properties": {"name": {}}}'
    )
    bundle.validate({"name": "mnist"}, schema)
    with pytest.raises(TrainingError, match="nmae"):
        bundle.validate({"nmae": "mnist"}, schema)


def test_sums_are_what_sha256sum_checks(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).write_text(name)
    bundle.write_sums(tmp_path)
    lines = (tmp_path / "SHA256SUMS").read_text().splitlines()
    assert lines[0] == f"{hashlib.sha256(b'a').hexdigest()}  a"
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path, check=True)


def test_golden_inputs_are_plausible_and_repeat():
    cases = goldens.inputs((1, 28, 28))
    assert max(len(images) for images in cases.values()) > 1
    for name, images in goldens.inputs((1, 28, 28)).items():
        assert images.dtype == np.float32
        assert images.min() >= 0 and images.max() <= 1
        assert (images == cases[name]).all()


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_a_committed_bundle_is_whole_and_gives_its_goldens(folder):
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert bundle.sha256(folder / name) == digest, name
    manifest = tomllib.loads((folder / "bundle.toml").read_text(encoding="utf-8"))
    bundle.validate(manifest)
    assert (manifest["name"], manifest["version"]) == (folder.parent.name, folder.name)
    for case in json.loads((folder / "goldens.json").read_text())["cases"]:
        given, wanted = case["inputs"][0], case["outputs"][0]
        images = np.array(given["data"], np.float32).reshape(given["shape"])
        scores = model_file.run(folder / manifest["model"]["file"], images)
        tolerance = case["tolerance"]
        np.testing.assert_allclose(
            scores.ravel(), wanted["data"], rtol=tolerance["relative"], atol=tolerance["absolute"], err_msg=case["name"]
        )
