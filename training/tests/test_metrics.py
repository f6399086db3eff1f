"""Metrics against values worked out by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as reference

from training import metrics

SCORES = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.3, 0.2]], np.float32)
LABELS = np.array([0, 1, 2])


def scored(k: int, n: int = 300, calibrated: bool = False, units: int | None = None) -> metrics.Scored:
    """Random scores with ties that lean to the label."""
    generator = np.random.default_rng(k)
    labels = generator.integers(0, k, n)
    raw = generator.random((n, k)).round(2) + 0.4 * np.eye(k)[labels] + 0.01
    raw /= raw.sum(axis=1, keepdims=True)
    numbers = np.arange(n) if units is None else generator.permutation(np.arange(n) % units)
    return metrics.Scored(
        raw, raw**2 / (raw**2).sum(1, keepdims=True) if calibrated else raw, raw.argmax(1), labels, numbers
    )


def by_name(found: list[dict]) -> dict[str, dict]:
    return {metric["name"]: metric for metric in found}


def test_rows_of_three_classes():
    assert metrics.correct(SCORES, LABELS).tolist() == [1, 1, 0]
    assert metrics.log_losses(SCORES, LABELS) == pytest.approx(-np.log([0.7, 0.6, 0.2]), rel=1e-6)
    assert metrics.brier_scores(SCORES, LABELS) == pytest.approx([0.14, 0.26, 0.98], rel=1e-6)
    counts = metrics.confusion_matrix(SCORES.argmax(axis=1), LABELS, 3)
    assert counts.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]


def test_calibration_error_is_the_mean_gap_of_bins_of_equal_mass():
    # 30 rows in 15 bins of two: confidence 0.75, one hit in each pair.
    assert metrics.expected_calibration_error(np.full(30, 0.75), np.tile([0.0, 1.0], 15)) == pytest.approx(0.25)


def test_calibration_error_stands_fewer_rows_than_bins():
    assert metrics.expected_calibration_error(np.array([0.5, 1.0]), np.array([1.0, 1.0])) == pytest.approx(0.25)


@pytest.mark.parametrize("k", [2, 3, 10])
def test_figures_are_scikit_learns(k):
    rows = scored(k)
    found = by_name(metrics.measure(rows))
    value = {name: metric["value"] for name, metric in found.items()}
    classes = [1] if k == 2 else range(k)

    def mean(figure) -> float:
        return float(np.mean([figure(rows.labels == c, rows.raw[:, c]) for c in classes]))

    def sensitivity(truth, scores) -> float:
        misses, hits, _ = reference.roc_curve(truth, scores, drop_intermediate=False)
        return hits[misses <= 0.05 + 1e-12].max()

    assert value["accuracy"] == pytest.approx(reference.accuracy_score(rows.labels, rows.predicted))
    assert value["roc_auc"] == pytest.approx(mean(reference.roc_auc_score))
    assert value["pr_auc"] == pytest.approx(mean(reference.average_precision_score))
    assert value["sensitivity_at_95_specificity"] == pytest.approx(mean(sensitivity))
    average = "binary" if k == 2 else "macro"
    assert value["f1"] == pytest.approx(reference.f1_score(rows.labels, rows.predicted, average=average))
    assert value["log_loss"] == pytest.approx(reference.log_loss(rows.labels, rows.raw))
    if k == 2:
        assert value["brier"] == pytest.approx(reference.brier_score_loss(rows.labels, rows.raw[:, 1]))


def test_intervals_enclose_their_values_and_repeat():
    rows = scored(3, calibrated=True)
    measured = metrics.measure(rows)
    found = by_name(measured)
    assert {"ece", "ece_calibrated", "brier_calibrated", "log_loss_calibrated"} <= set(found)
    for name, metric in found.items():
        if not name.startswith("ece"):
            assert metric["interval"][0] < metric["value"] < metric["interval"][1], name
    assert metrics.measure(rows) == measured


@pytest.mark.filterwarnings("error")
def test_rows_of_one_class_have_no_area_and_say_so_quietly():
    rows = scored(2)
    found = by_name(metrics.measure(rows.take(rows.labels == 0)))
    assert np.isnan([found["roc_auc"]["value"], *found["roc_auc"]["interval"]]).all()
    low, high = found["accuracy"]["interval"]
    assert low < found["accuracy"]["value"] < high


def test_rows_of_one_patient_are_drawn_together():
    rows = scored(2, n=400)
    # Eight copies of 50 patients' rows tell no more than the 50 rows: only units know it.
    few = rows.take(np.arange(50))
    copied = rows.take(np.tile(np.arange(50), 8))
    alone = metrics.Scored(copied.raw, copied.raw, copied.predicted, copied.labels, np.arange(400))

    def width(of) -> float:
        low, high = by_name(metrics.measure(of))["accuracy"]["interval"]
        return high - low

    assert copied.units.max() == 49
    assert width(copied) == pytest.approx(width(few), abs=0.03)
    assert width(alone) < width(few) / 2
