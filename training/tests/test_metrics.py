"""Metrics against values worked out by hand."""

import numpy as np
import pytest

from training import metrics

SCORES = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.3, 0.2]], np.float32)
LABELS = np.array([0, 1, 2])


def test_rows_of_three_classes():
    assert metrics.correct(SCORES, LABELS).tolist() == [1, 1, 0]
    assert metrics.log_losses(SCORES, LABELS) == pytest.approx(-np.log([0.7, 0.6, 0.2]), rel=1e-6)
    assert metrics.brier_scores(SCORES, LABELS) == pytest.approx([0.14, 0.26, 0.98], rel=1e-6)
    assert metrics.confusion_matrix(SCORES, LABELS).tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]


def test_calibration_error_is_the_mean_gap_of_bins_of_equal_mass():
    # 30 rows in 15 bins of two: confidence 0.75, one hit in each pair.
    assert metrics.expected_calibration_error(np.full(30, 0.75), np.tile([0.0, 1.0], 15)) == pytest.approx(0.25)


def test_calibration_error_stands_fewer_rows_than_bins():
    assert metrics.expected_calibration_error(np.array([0.5, 1.0]), np.array([1.0, 1.0])) == pytest.approx(0.25)


def test_intervals_enclose_their_values_and_repeat():
    generator = np.random.default_rng(0)
    scores = generator.dirichlet([1, 1, 1], 200)
    labels = generator.integers(0, 3, 200)
    measured = metrics.measure(scores, labels)
    assert [metric["name"] for metric in measured] == ["accuracy", "log_loss", "brier", "ece"]
    for metric in measured[:3]:
        assert metric["interval"][0] < metric["value"] < metric["interval"][1]
    assert metrics.measure(scores, labels) == measured
