"""evaluation/curves.py against scikit-learn, and against the areas that the metrics give."""

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve

from twelvelead.evaluation import curves, metrics

FEW = settings(max_examples=60, deadline=None)
SOME_SCORES = st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.7, 0.95, 1.0])


@st.composite
def one_class(draw):
    """Labels, both kinds among them, and scores with many ties, of 2 to 30 recordings."""
    size = draw(st.integers(2, 30))
    labels = draw(hnp.arrays(bool, size))
    labels[:2] = True, False
    return labels, draw(hnp.arrays(float, size, elements=SOME_SCORES))


@FEW
@given(one_class())
def test_the_roc_curve_is_scikit_learns_and_has_the_area_of_the_metric(case):
    labels, scores = case
    fpr, tpr = curves.roc_curve(labels, scores)
    expected_fpr, expected_tpr, _ = sklearn_metrics.roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(fpr, expected_fpr)
    np.testing.assert_allclose(tpr, expected_tpr)
    area = sklearn_metrics.auc(fpr, tpr)
    assert area == pytest.approx(metrics.auroc(labels[:, None], scores[:, None])[0])


@FEW
@given(one_class())
def test_precision_and_recall_are_scikit_learns(case):
    labels, scores = case
    recall, precision = curves.precision_recall_curve(labels, scores)
    expected_precision, expected_recall, _ = sklearn_metrics.precision_recall_curve(labels, scores)
    np.testing.assert_allclose(precision[::-1], expected_precision[:-1])
    np.testing.assert_allclose(recall[::-1], expected_recall[:-1])
    area = np.sum(np.diff(recall, prepend=0.0) * precision)
    assert area == pytest.approx(metrics.auprc(labels[:, None], scores[:, None])[0])


@FEW
@given(one_class())
def test_calibration_is_scikit_learns(case):
    labels, scores = case
    scores = np.where(np.isin(scores, (0.1, 0.3, 0.5, 0.7)), scores + 0.01, scores)  # borders of bins belong elsewhere
    ours = curves.calibration(labels, scores)
    observed, score = calibration_curve(labels, scores, n_bins=10)
    np.testing.assert_allclose(ours.observed, observed)
    np.testing.assert_allclose(ours.score, score)
    assert ours.recordings.sum() == len(labels)
    assert ours.brier == pytest.approx(sklearn_metrics.brier_score_loss(labels, scores))
    assert (ours.low <= ours.observed + 1e-12).all() and (ours.observed <= ours.high + 1e-12).all()


def test_wilsons_interval_covers_a_share_in_95_of_100_samples():
    positives = np.random.default_rng(0).binomial(40, 0.3, 20000)
    low, high = curves.wilson_interval(positives, np.full(20000, 40))
    assert np.mean((low <= 0.3) & (high >= 0.3)) == pytest.approx(0.95, abs=0.015)


def test_scores_that_are_no_probabilities_have_no_calibration():
    with pytest.raises(ValueError, match="not from 0 to 1"):
        curves.calibration(np.array([True, False]), np.array([0.5, 1.5]))


@FEW
@given(one_class())
def test_a_histogram_counts_each_recording_once_in_its_bin(case):
    labels, scores = case
    edges, positive, negative = curves.log_odds_histogram(labels, scores)
    assert positive.sum() == pytest.approx(1) and negative.sum() == pytest.approx(1)
    inside = np.histogram(curves.log_odds(scores[labels]), np.append(edges[:-1] - 1e-9, edges[-1] + 1e-9))[0]
    np.testing.assert_allclose(positive * labels.sum(), inside)


def test_a_class_without_positives_has_an_empty_histogram():
    _, positive, negative = curves.log_odds_histogram(np.array([False, False]), np.array([0.2, 0.9]))
    assert not positive.any() and negative.sum() == pytest.approx(1)


def test_the_curves_examples_run():
    assert doctest.testmod(curves).failed == 0
