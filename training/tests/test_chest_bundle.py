"""What a chest bundle adds to the shared evidence: rule, gates, distance, mirror image, shortcut, lung figures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from training.chest import files, lung_recipe, networks, recipe, served, shortcut, strangers
from training.chest.collection import Part


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(1, 3, 3, stride=2, padding=1), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.ReLU())

    def stages(self, image):
        first = self.one(image)
        return [first, self.two(first)]


def network() -> networks.Classifier:
    torch.manual_seed(0)
    return networks.Classifier(Body(), 5, dropout=0.5).eval()


def test_the_graph_gives_the_mean_of_an_image_and_its_mirror_image():
    plain, image = network(), torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    graph = served.graph(plain, stages=(0, -1))
    with torch.no_grad():
        found, mirrored = graph(image), graph(image.flip(3))
        wanted = (plain(image) + plain(image.flip(3))) / 2
    torch.testing.assert_close(found["logits"], wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found["probabilities"].sum(dim=1), torch.ones(3))
    # The map of the mirror image is the mirror image of the map.
    torch.testing.assert_close(found["cam"], mirrored["cam"].flip(3), atol=1e-5, rtol=1e-4)
    assert served.near(graph, image.numpy()).shape == (3, 3 + 5)


def test_the_distance_is_that_of_the_formula_and_larger_for_strangers():
    generator = np.random.default_rng(0)
    labels = np.arange(400) % 2
    features = generator.normal(0, [1, 5, 0.1], (400, 3)) + labels[:, None] * [0, 0, 1]
    distance = served.fit_distance(features, labels, shrink=0.0)
    rows = generator.normal(0, 1, (5, 3))
    found = distance(torch.from_numpy(rows.astype(np.float32))).numpy()
    means = np.stack([features[labels == label].mean(axis=0) for label in (0, 1)])
    inverse = np.linalg.inv(np.cov((features - means[labels]).T, bias=True))
    wanted = [min(np.sqrt((row - mean) @ inverse @ (row - mean)) for mean in means) for row in rows]
    np.testing.assert_allclose(found, wanted, rtol=1e-3)
    shrunk = served.fit_distance(features, labels, shrink=0.2)
    near, far = (torch.tensor([[0.0, 0.0, place]]) for place in (0.0, 9.0))
    assert shrunk(far) > 5 * shrunk(near)


def test_the_threshold_keeps_the_sensitivity_that_the_rule_names():
    generator = np.random.default_rng(0)
    labels = (generator.random(500) < 0.7).astype(int)
    scores = np.clip(generator.normal(0.3 + 0.4 * labels, 0.15), 0, 1)
    post = recipe.decide(scores, labels, labels)
    hit = lambda threshold: (scores[labels == 1] >= threshold).mean()  # noqa: E731
    assert hit(post["threshold"] - 1e-6) >= recipe.SENSITIVITY
    # The next higher score among positives would not.
    higher = np.sort(scores[(labels == 1) & (scores > post["threshold"] + 1e-5)])[0]
    assert hit(higher + 1e-6) < recipe.SENSITIVITY
    low, high = post["abstain"]
    assert low < post["threshold"] <= high
    assert ((scores >= low) & (scores <= high)).mean() == pytest.approx(0.05, abs=0.01)
    assert post["training_prevalence"] == pytest.approx(labels.mean(), abs=1e-6)


def test_no_validation_image_fails_its_own_quality_gates():
    rows = [{"mean": 60.0 + i, "std": 30.0 + i, "p99": 200.0 + i} for i in range(5)]
    gates = {gate["statistic"]: gate for gate in recipe.quality(rows)}
    for name in ("mean", "std", "p99"):
        assert all(row[name] >= gates[name]["min"] for row in rows)
    assert set(gates) == {"mean", "std", "p99", "width", "height", "aspect", "color"}


def test_strangers_are_made_of_both_classes(tmp_path):
    """Test images stand by class, 198 of one and then 338 of the other."""
    own = np.concatenate([np.full((198, 1, 8, 8), 0.25, np.float32), np.full((338, 1, 8, 8), 0.75, np.float32)])
    sets = strangers.sets(own, tmp_path, (), tmp_path / "work")
    made = [images for name, images in sets.items() if name.startswith("own ")]
    assert len(made) == 4
    for images in made:
        _, counts = np.unique(images.mean(axis=(1, 2, 3)), return_counts=True)
        assert sorted(counts) == [198, 338]
    assert len(sets["uniform noise"]) == strangers.ROWS


def part(n: int, seed: int, leak: float) -> Part:
    """Images whose brightness tells the class by `leak`."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    images = [
        files.Radiograph(Path("x"), int(label), f"p{at}", "virus" if label else "normal", str(at))
        for at, label in enumerate(labels)
    ]
    statistics = [
        {name: float(generator.normal()) for name in shortcut.STATISTICS}
        | {"mean": float(generator.normal(leak * label))}
        for label in labels
    ]
    return Part(np.zeros((n, 8, 8), np.uint8), images, statistics)


def test_a_planted_shortcut_is_found_and_none_is_not():
    told = shortcut.statistics(part(300, 0, 4.0), {"held": part(200, 1, 4.0)})["roc_auc"][0]
    assert told["value"] > 0.97 and told["interval"][0] < told["value"] < told["interval"][1]
    none = shortcut.statistics(part(300, 0, 0.0), {"held": part(200, 1, 0.0)})["roc_auc"][0]
    assert none["interval"][0] < 0.5 < none["interval"][1]


def test_sizes_of_originals_tell_the_class(tmp_path):
    from PIL import Image

    for at in range(6):
        for name, width, file in (("NORMAL", 90, f"IM-{at}-1.png"), ("PNEUMONIA", 40, f"person{at}_virus_1.png")):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("L", (width + at, 40)).save(tmp_path / name / file)
    width, aspect = shortcut.sizes(tmp_path)["roc_auc"]
    assert width["value"] == 1.0 and aspect["value"] == 0.0
    assert shortcut.sizes(tmp_path / "NORMAL") is None


@pytest.mark.parametrize(
    "boxes, found",
    [
        ([(3, 4, 8, 16), (12, 4, 17, 16)], True),
        ([(3, 4, 8, 16), (15, 9, 16, 10)], False),
        ([(3, 4, 17, 16)], True),
        ([(3, 4, 8, 16)], False),
        ([], False),
    ],
)
def test_both_lungs_by_the_rule_of_the_service(boxes, found):
    """The boxes of `src/imaging/lung_field.rs`'s own tests, left, top, right, bottom on a grid of 20 × 20."""
    mask = np.zeros((20, 20), bool)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    assert lung_recipe.both(mask) == found


def test_the_sheets_show_every_image_without_both_lungs_and_some_of_each_class(tmp_path, monkeypatch):
    side, lungs = 20, np.zeros((20, 20), bool)
    lungs[4:16, 3:8] = lungs[4:16, 12:17] = True
    masks = np.repeat(lungs[None].astype(np.float32), 12, axis=0)
    # Of two images the left half alone is found.
    masks[[3, 8], :, 10:] = 0
    # An image is as bright as its row: what a sheet shows can be read from it, mask or not.
    pixels = np.repeat(np.arange(12, dtype=np.uint8) * 10, side * side).reshape(12, side, side)
    rows = Part(pixels, (known := part(12, 1, 0)).images, known.statistics)
    found = lung_recipe.collection.Collection({"held_out": rows, "test": rows}, "")
    monkeypatch.setattr(lung_recipe.collection, "load", lambda *_: found)
    monkeypatch.setattr(lung_recipe, "masked", lambda _, pixels: masks[pixels[:, 0, 0] // 10])
    manifest = {"model": {"file": "model.onnx", "input": [{"shape": [-1, 1, side, side]}]}}
    written = lung_recipe.sheets(tmp_path, manifest, tmp_path, tmp_path / "sheets", tmp_path, count=4)
    assert len(written) == 6 and all(path.is_file() for path in written)

    def shown(name: str) -> list[int]:
        """The rows on the sheet, by the blue of each tile's corner."""
        sheet = np.asarray(Image.open(tmp_path / "sheets" / f"{name}.png"))
        return [int(level) // 10 for level in sheet[0, ::side, 2]]

    assert shown("published-test-folder-not-both-found") == [3, 8]
    assert len(set(shown("published-test-folder-NORMAL"))) == 4
    assert all(rows.labels[row] == 0 for row in shown("published-test-folder-NORMAL"))
    assert all(rows.labels[row] == 1 for row in shown("train-folder-patients-held-out-PNEUMONIA"))
    red = np.asarray(Image.open(written[0]))[:side, :side, 0] - 30
    assert ((red == 90) == (masks[3] > 0)).all()
