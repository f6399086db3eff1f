"""Calibration, baseline, maps, distance: against closed forms and independent implementations."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.covariance import EmpiricalCovariance

from training import baseline, calibration, curves, explain, heads, metrics, model_file, prepared, strangers
from training.data import Split, assert_disjoint, check_rows
from training.errors import TrainingError
from training.evaluation import Rule
from training.graphs import answers, graph_of
from training.networks.gap import GapNetwork, Whitening, conv
from training.recipes import recipe
from training.recipes.steps import DIGIT, PHOTOGRAPH


def test_the_temperature_that_spoilt_the_logits_is_found():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (20_000, 4))
    scores = softmax(logits, axis=1)
    labels = (generator.random(20_000)[:, None] > scores.cumsum(axis=1)).sum(axis=1)
    assert calibration.fit_temperature(3 * logits, labels)["temperature"] == pytest.approx(3, rel=0.05)
    found = calibration.calibrated(softmax(3 * logits, axis=1), 3 * logits, {"temperature": 3.0}, binary=False)
    np.testing.assert_allclose(found, scores, atol=1e-9)


def test_platt_finds_slope_and_intercept():
    generator = np.random.default_rng(0)
    z = generator.normal(0, 3, 40_000)
    labels = (generator.random(40_000) < expit(0.5 * z - 1)).astype(int)
    found = calibration.fit_platt(z[:, None], labels)
    assert (found["a"], found["b"]) == (pytest.approx(0.5, rel=0.05), pytest.approx(-1, rel=0.05))
    one, two = z[:5, None], np.stack([z[:5] * 0, z[:5]], axis=1)
    raw = np.stack([expit(-z[:5]), expit(z[:5])], axis=1)
    for logits in (one, two, None):
        scores = calibration.calibrated(raw, logits, found, binary=True)
        np.testing.assert_allclose(scores[:, 1], expit(found["a"] * z[:5] + found["b"]), atol=1e-6)


def test_thresholds():
    scores, labels = np.array([0.1, 0.2, 0.3, 0.6, 0.7, 0.9]), np.array([0, 0, 1, 0, 1, 1])
    assert calibration.youden(scores, labels) in (0.3, 0.7)
    low, high = calibration.abstain_band(np.linspace(0, 1, 101), 0.5, 0.1)
    assert low < 0.5 <= high and high - low == pytest.approx(0.09, abs=0.011)


def test_a_decision_is_left_open_within_the_band_and_where_no_class_is_sure():
    pair = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    of_two = np.stack([1 - pair, pair], axis=1)
    assert Rule(True, abstain=(0.2, 0.4)).abstains(of_two).tolist() == [False, True, True, True, False]
    assert not Rule(True).abstains(of_two).any()
    of_three = np.array([[0.6, 0.3, 0.1], [0.4, 0.3, 0.3], [0.5, 0.5, 0.0]])
    assert Rule(False).abstains(of_three).tolist() == [False, True, False]
    assert Rule(False, threshold=0.0, abstain=(0.45, 0.55)).abstains(of_three).tolist() == [False, False, True]


def test_a_baselines_bins_hold_every_row_once():
    values = np.append(np.repeat(np.arange(8.0), 30), [np.nan, np.nan])
    found = baseline.continuous("mean", "every", values)
    assert found["edges"] == sorted(set(found["edges"])) and found["missing"] == 2
    assert sum(found["counts"]) == 240 and len(found["counts"]) == len(found["edges"]) + 1
    # [eᵢ, eᵢ₊₁): a value on an edge lies above it.
    assert found["counts"][0] == (values < found["edges"][0]).sum()


def test_a_baseline_counts_each_patient_once_and_no_score_of_a_refused_row():
    answered = baseline.Answered(
        np.array([0.1, 0.9, 0.5, 0.7]), np.array([0, 1, 1, 1]), np.arange(4.0), np.array([False, False, False, True])
    )
    statistics = [dict.fromkeys(baseline.STATISTICS, float(row)) for row in range(4)]
    document = baseline.baseline(answered, statistics, ("a", "b"), np.array([0, 0, 1, 2]))
    counts = {feature["name"]: sum(feature["counts"]) for feature in document["features"]}
    assert document["n"] == 3 and counts["mean"] == counts["ood"] == 3 and counts["score"] == counts["label"] == 2


def grad_cam_pp_by_derivatives(maps: torch.Tensor, head: torch.nn.Linear, label: int) -> torch.Tensor:
    """The paper's equations word for word: first, second and third derivatives of Y = exp(S) at each place."""

    def y(place: torch.Tensor, at: tuple[int, int, int]) -> torch.Tensor:
        changed = maps.clone()
        changed[(0, *at)] = place
        return head(changed.mean(dim=(2, 3)))[0, label].exp()

    _, channels, height, width = maps.shape
    result = torch.zeros(height, width, dtype=torch.float64)
    for k in range(channels):
        first, alpha = [], []
        for i in range(height):
            for j in range(width):
                place = maps[0, k, i, j].clone().requires_grad_()
                one = torch.autograd.grad(y(place, (k, i, j)), place, create_graph=True)[0]
                two = torch.autograd.grad(one, place, create_graph=True)[0]
                three = torch.autograd.grad(two, place)[0]
                first.append(one.relu().item())
                alpha.append((two / (2 * two + maps[0, k].sum() * three)).item())
        result += float(np.dot(alpha, first)) * maps[0, k]
    return result.relu()


def test_the_map_is_grad_cam_pp_by_full_derivatives():
    torch.manual_seed(0)
    head = torch.nn.Linear(5, 3).double()
    maps = torch.rand(1, 5, 4, 3).double()
    graph = heads.ServedGraph(torch.nn.Identity(), head.weight, head.bias)
    graph.double()
    closed = graph.maps(maps, maps.mean(dim=(2, 3)))[0]
    for label in range(3):
        exact = grad_cam_pp_by_derivatives(maps, head, label)
        short = explain.grad_cam_pp(maps, lambda a: head(a.mean(dim=(2, 3))), label)
        for found in (closed[label], short):
            np.testing.assert_allclose(found / found.max(), exact / exact.max(), atol=1e-7)


@pytest.mark.parametrize("classes", [1, 3])
def test_every_role_is_exported_and_the_map_proven(tmp_path, classes):
    torch.manual_seed(1)
    network = GapNetwork(torch.nn.Sequential(*conv(1, 4, pool=True), *conv(4, 6)), 6, classes, flip=True).eval()

    def features(image):
        maps = network.maps(image)
        return maps, maps.mean(dim=(2, 3))

    class Features(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, image):
            return features(image)

    graph = heads.ServedGraph(Features(), network.head.weight, network.head.bias)
    images = np.random.default_rng(0).random((12, 1, 16, 16), np.float32)
    heads.attach_distance(graph, images, np.arange(12) % 2)
    path = tmp_path / "model.onnx"
    model_file.export(graph, model_file.Interface((1, 16, 16), max(2, classes)), path, tuple(heads.ROLES))
    shapes = model_file.output_shapes(path)
    labels = max(2, classes)
    assert shapes["cam"] == [-1, labels, 8, 8] and shapes["ood"] == [-1] and shapes["embedding"] == [-1, 6]
    outputs = model_file.run_all(path, images)
    np.testing.assert_allclose(outputs["probabilities"].sum(axis=1), 1, atol=1e-6)
    assert explain.largest_difference(graph, path, images[: explain.PROVEN]) < 1e-5
    # Both mirror images are one: the answer does not change, the map is mirrored.
    mirrored = model_file.run_all(path, np.ascontiguousarray(images[..., ::-1]))
    np.testing.assert_allclose(mirrored["logits"], outputs["logits"], atol=1e-5)
    np.testing.assert_allclose(mirrored["cam"], outputs["cam"][..., ::-1], atol=1e-5)


def test_six_views_of_an_image_are_averaged_in_its_graph():
    torch.manual_seed(1)
    plain = GapNetwork(torch.nn.Sequential(*conv(1, 4), *conv(4, 6)), 6, 3).eval()
    network = GapNetwork(plain.features, 6, 3, flip=True, shift=2).eval()
    network.head = plain.head
    images = np.random.default_rng(0).random((5, 1, 12, 12), np.float32)
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect")
    views = [images, padded[:, :, :12, :12], padded[:, :, 4:, 4:]]
    views += [np.ascontiguousarray(view[..., ::-1]) for view in views]
    wanted = sum(plain(torch.from_numpy(view)) for view in views) / 6
    torch.testing.assert_close(network(torch.from_numpy(images)), wanted, atol=1e-6, rtol=1e-5)


def test_the_distance_is_mahalanobis_to_the_nearest_class():
    generator = np.random.default_rng(0)
    labels = np.arange(4000) % 2
    features = generator.normal(size=(4000, 3)) @ np.diag([1, 2, 0.5]) + 5 * labels[:, None]
    distance = heads.fit_distance(features, labels)
    means = np.stack([features[labels == c].mean(axis=0) for c in (0, 1)])
    model = EmpiricalCovariance(assume_centered=True).fit(features - means[labels])
    wanted = np.sqrt(np.minimum(*[model.mahalanobis(features[:50] - mean) for mean in means]))
    found = distance(torch.from_numpy(features[:50]).float()).numpy()
    np.testing.assert_allclose(found, wanted, rtol=5e-3)


@pytest.mark.parametrize(
    ("command", "filters"), [("cifar10-1", 224), ("cifar10-3", 224), ("mnist-3", 22), ("cifar10-2", 152)]
)
def test_the_distance_is_taken_in_every_stage_and_tells_noise(command, filters):
    made = recipe(command)
    graph = graph_of(made.learner())
    # Of cifar10-2's 1,176 filters those of the first three stages, which the distance has directions for.
    small = np.random.default_rng(0).random((600, made.image_shape[0], 4, 4), np.float32)
    smooth = torch.nn.functional.interpolate(torch.from_numpy(small), made.image_shape[1:], mode="bicubic").clip(0, 1)
    fitted = heads.attach_distance(graph, smooth[:500].numpy(), np.arange(500) % 10)
    assert fitted.features == 2 * filters
    with torch.no_grad():
        own, noise = (graph(rows)["ood"] for rows in (smooth[500:], torch.rand(100, *made.image_shape)))
    bound = own.quantile(0.99)
    assert (noise > bound).all()


def test_the_stages_answers_are_their_means_and_how_often_they_are_above_zero():
    maps = torch.tensor([[[[0.0, 2.0]], [[3.0, 1.0]]]])
    np.testing.assert_allclose(answers([maps, maps[:, :1]]), [[1, 2, 0.5, 1, 1, 0.5]])


def test_whitened_patches_have_unit_variance():
    images = torch.rand(50, 3, 12, 12)
    layer = Whitening()
    layer.fit(images)
    out = layer(images)[:, :12].transpose(0, 1).flatten(1)
    np.testing.assert_allclose((out @ out.T / out.shape[1]).detach(), np.eye(12), atol=0.05)


def test_curves_are_well_formed_and_end_in_the_corner():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 200)
    scores = generator.dirichlet([1, 1, 1], 200)
    sharper = scores**2 / (scores**2).sum(1, keepdims=True)
    parts = {"test": metrics.Scored(scores, sharper, sharper.argmax(1), labels, np.arange(200))}
    for text in (curves.roc(parts, "abc"), curves.precision_recall(parts, "abc"), curves.calibration(parts)):
        root = ElementTree.fromstring(text)
        lines = [node for node in root.iter() if node.tag.endswith("polyline")]
        assert len(lines) in (2, 3)
        assert all(re.fullmatch("#[0-9a-f]{6}", node.get("stroke")) for node in lines)
        assert root[0].text.endswith(", test")
    roc = ElementTree.fromstring(curves.roc(parts, "abc"))
    for node in roc.iter():
        if node.tag.endswith("polyline"):
            assert node.get("points").split()[-1] == "276.0,44.0"


def test_curves_of_several_parts_name_each():
    generator = np.random.default_rng(0)
    positive, labels = generator.random(100), generator.integers(0, 2, 100)
    pair = np.stack([1 - positive, positive], axis=1)
    scored = metrics.Scored(pair, pair**2, pair.argmax(1), labels, np.arange(100))
    parts = {"held out": scored, "test folder": scored.take(np.arange(50))}
    for text in (curves.roc(parts, "ab"), curves.precision_recall(parts, "ab")):
        names = [node.text for node in ElementTree.fromstring(text).iter() if node.tag.endswith("text")]
        assert names[-2:] == ["held out", "test folder"]
    assert curves.calibration(parts).count("<polyline") == 4


def split(n: int, labels=None, units=None) -> Split:
    labels = np.arange(n) % 2 if labels is None else labels
    return Split(np.zeros((n, 1, 2, 2), np.float32), labels, units)


def test_rows_that_cannot_be_learned_from_are_named():
    with pytest.raises(TrainingError, match="less than a batch of 16"):
        check_rows({"training": split(8)}, 16, 2)
    with pytest.raises(TrainingError, match="none of class 1"):
        check_rows({"training": split(8, np.zeros(8, int))}, 4, 2)
    with pytest.raises(TrainingError, match="no images are left for validation"):
        check_rows({"training": split(8), "validation": split(0)}, 4, 2)
    leak = {"training": split(2, units=np.array(["p1", "p2"])), "validation": split(2, units=np.array(["p3", "p2"]))}
    with pytest.raises(TrainingError, match="p2 is in training and in validation"):
        check_rows(leak, 2, 2)
    assert_disjoint({"a": np.array(["p1"]), "b": np.array(["p2"])})


def test_units_are_numbered_by_first_appearance():
    assert split(5, units=np.array(["z", "a", "z", "b", "a"])).unit_numbers().tolist() == [0, 1, 0, 2, 1]


def test_strangers_come_in_the_networks_own_form(tmp_path):
    sets = strangers.strangers("mnist", np.random.default_rng(0).random((5, 1, 28, 28), np.float32), tmp_path)
    assert "own test images, inverted" in sets and "CIFAR-10" not in sets
    for name, images in sets.items():
        assert images.shape[1:] == (1, 28, 28) and images.dtype == np.float32, name
        assert images.min() >= 0 and images.max() <= 1


@pytest.mark.parametrize(("shape", "steps"), [((1, 28, 28), DIGIT), ((3, 32, 32), PHOTOGRAPH)])
def test_images_come_out_of_hilum_prepare_in_their_order_and_unchanged(shape, steps):
    try:
        prepared.binary()
    except TrainingError:
        pytest.skip("no hilum program: build it or name it in HILUM_BIN")
    images = np.random.default_rng(0).integers(0, 256, (6, *shape)).astype(np.float32) / np.float32(255)
    seen, statistics = prepared.through_recipe(images, steps)
    np.testing.assert_array_equal(seen, images)
    if shape[0] == 1:
        for image, found in zip(images, statistics):
            assert found["mean"] == pytest.approx(float(image.mean()) * 255, abs=1e-3)


def test_a_missing_program_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("HILUM_BIN", str(tmp_path / "nothing"))
    with pytest.raises(TrainingError, match="HILUM_BIN"):
        prepared.binary()


def test_a_damaged_file_is_named_by_hilum_prepare(tmp_path):
    try:
        prepared.binary()
    except TrainingError:
        pytest.skip("no hilum program: build it or name it in HILUM_BIN")
    source = tmp_path / "source"
    for name in "ab":
        (source / name).mkdir(parents=True)
        (source / name / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\ncut off")
    (recipe := tmp_path / "steps.toml").write_text(prepared.steps_toml(DIGIT))
    with pytest.raises(TrainingError, match="1.png|no image could be prepared"):
        prepared.prepare(source, tmp_path / "made", recipe, ["a", "b"])
