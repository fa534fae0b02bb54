"""Calibration slope, intercept and expected calibration error: known cases, and scikit-learn as an oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from twelvelead.evaluation.reliability import reliability


def drawn(seed: int, recordings: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    """Labels that follow their probabilities exactly, and these probabilities."""
    rng = np.random.default_rng(seed)
    probability = rng.uniform(0.02, 0.98, recordings)
    return rng.random(recordings) < probability, probability


def test_scores_that_are_probabilities_are_found_to_be_so():
    found = reliability(*drawn(0))
    assert abs(found.slope - 1) < 0.05 and abs(found.intercept) < 0.05 and found.error < 0.01


@settings(deadline=None, max_examples=20)
@given(st.floats(0.3, 3), st.floats(-3, 3), st.integers(0, 100))
def test_a_change_of_the_scores_log_odds_is_found_again(slope, shift, seed):
    labels, probability = drawn(seed)
    stretched = reliability(labels, expit((logit(probability) - shift) / slope))
    assert stretched.slope == pytest.approx(slope, abs=0.1)
    assert reliability(labels, expit(logit(probability) - shift)).intercept == pytest.approx(shift, abs=0.1)


def test_the_slope_is_that_of_scikit_learn():
    labels, probability = drawn(3, 500)
    scores = probability**2
    oracle = LogisticRegression(penalty=None, tol=1e-10).fit(logit(scores)[:, None], labels)
    assert reliability(labels, scores).slope == pytest.approx(oracle.coef_[0, 0], rel=1e-4)


def test_the_expected_error_is_the_mean_distance_over_bins():
    # one bin with 0.05 and no positives, one with 0.95 of which half are positive
    labels = np.array([False] * 10 + [True, False] * 5)
    scores = np.array([0.05] * 10 + [0.95] * 10)
    assert reliability(labels, scores).error == pytest.approx((10 * 0.05 + 10 * 0.45) / 20)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=30))
def test_any_scores_have_figures_or_none_and_never_an_error(pairs):
    labels, scores = (np.array(column) for column in zip(*pairs))
    found = reliability(labels, scores)
    assert 0 <= found.error <= 1
    assert np.isnan(found.slope) == (labels.all() or not labels.any()) == np.isnan(found.intercept)


def test_separated_scores_have_a_large_but_finite_slope():
    assert 5 < reliability(np.array([False, False, True, True]), np.array([0.3, 0.4, 0.6, 0.7])).slope < 1000


@pytest.mark.parametrize("scores", [[], [1.5], [-0.1], [np.nan]])
def test_what_is_no_probability_is_refused(scores):
    with pytest.raises(ValueError, match="from 0 to 1"):
        reliability(np.zeros(len(scores), dtype=bool), np.array(scores))
