"""From scores to probabilities: the map finds what was done to probabilities, keeps their order, and stays sensible."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from twelvelead.evaluation.reliability import reliability
from twelvelead.thresholds.probabilities import LogisticMap, draw_labels, fit_probabilities


def drawn(seed: int, recordings: int, shifts: np.ndarray, slope: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and scores whose log-odds are those of the true probabilities, divided by a slope and then shifted."""
    rng = np.random.default_rng(seed)
    probability = expit(rng.normal(-2, 2, size=(recordings, len(shifts))))
    labels = rng.random(probability.shape) < probability
    return labels, expit(logit(probability) / slope + shifts)


def test_scores_become_probabilities_on_other_recordings():
    shifts = np.array([0.5, 2.0, 3.5])
    line = fit_probabilities(*drawn(0, 4000, shifts, 0.8))
    labels, scores = drawn(1, 4000, shifts, 0.8)
    before = [reliability(labels[:, k], scores[:, k]) for k in range(3)]
    after = [reliability(labels[:, k], line(scores)[:, k]) for k in range(3)]
    assert all(each.error < 0.03 and abs(each.intercept) < 0.25 and abs(each.slope - 1) < 0.2 for each in after)
    assert sum(each.error for each in after) < 0.2 * sum(each.error for each in before)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.integers(1, 60))
def test_the_order_of_scores_stays_as_it_is(seed, recordings):
    rng = np.random.default_rng(seed)
    labels, scores = rng.random((recordings, 3)) < 0.3, rng.random((recordings, 3))
    line = fit_probabilities(labels, scores)
    rising = np.sort(scores, axis=0)
    assert (line.slopes > 0).all() and (np.diff(line(rising), axis=0) >= 0).all()
    assert ((line(scores) >= 0) & (line(scores) <= 1)).all()


def test_a_class_without_positives_follows_the_others_and_is_rarer():
    labels, scores = drawn(2, 2000, np.array([2.0, 2.0, 2.0]))
    labels[:, 1] = False
    line = fit_probabilities(labels, scores)
    assert -9 < line.intercepts[1] < line.intercepts[0] < 0


def test_unknown_labels_change_nothing():
    labels, scores = drawn(3, 500, np.array([1.0, 1.0]))
    known = np.random.default_rng(0).random(labels.shape) < 0.7
    line = fit_probabilities(labels, scores, known)
    other = fit_probabilities(labels ^ ~known, scores, known)
    assert np.array_equal(line.slopes, other.slopes) and np.array_equal(line.intercepts, other.intercepts)


def test_impossible_and_certain_scores_stay_so():
    line = LogisticMap(np.array([1.0, 1.0]), np.array([-3.0, 3.0]))
    assert line(np.array([[0.0, 0.0], [1.0, 1.0]])).tolist() == [[0.0, 0.0], [1.0, 1.0]]


def test_labels_stay_as_they_are_when_thresholds_are_mapped_too():
    rng = np.random.default_rng(4)
    scores, thresholds = rng.random((1000, 3)).astype(np.float32), rng.random(3)
    line = LogisticMap(np.array([0.3, 1.0, 2.0]), np.array([-4.0, 0.0, 2.0]))
    assert np.array_equal(scores >= thresholds, line(scores) >= line(thresholds))


def test_the_inverse_takes_probabilities_back_to_scores():
    scores = np.array([[0.0, 0.2, 0.9], [0.5, 1.0, 1e-6]])
    line = LogisticMap(np.array([0.3, 1.0, 2.0]), np.array([-4.0, 0.0, 2.0]))
    np.testing.assert_allclose(line.inverse(line(scores)), scores, rtol=1e-6)


def test_drawn_labels_are_as_frequent_as_their_probabilities():
    rng = np.random.default_rng(0)
    probabilities = rng.random((40, 3))
    probabilities[:, 2], probabilities[0] = 0.0, [1.0, 0.0, 0.0]
    labels = draw_labels(probabilities, 2000, 5)
    assert labels.shape == (80_000, 3) and labels.dtype == bool
    by_draw = labels.reshape(2000, 40, 3)
    np.testing.assert_allclose(by_draw.mean(axis=0), probabilities, atol=0.06)
    assert not labels[:, 2].any() and by_draw[:, 0, 0].all()
    assert np.array_equal(labels, draw_labels(probabilities, 2000, 5))
    assert not np.array_equal(labels, draw_labels(probabilities, 2000, 6))
