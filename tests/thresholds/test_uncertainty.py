"""Uncertainty orders recordings: unsure and contradictory decisions come first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from twelvelead.thresholds.decisions import decide, vote
from twelvelead.thresholds.uncertainty import (
    disagreement,
    margins_of,
    margins_of_votes,
    overlap,
    to_look_at,
    uncertainty,
)

margins = arrays(np.float64, (4, 3), elements=st.floats(-30, 30))
label_sets = arrays(bool, (3, 4, 5))


@settings(deadline=None)  # a busy machine is no fault of the function
@given(margins)
def test_uncertainty_is_a_share_and_falls_with_the_distance_from_the_threshold(values):
    labels = values >= 0
    first = uncertainty(values, labels)
    assert ((first >= 0) & (first <= 1)).all()
    assert (uncertainty(values * 2, labels) <= first + 1e-12).all()


def test_uncertainty_of_sure_labels_is_0_and_of_none_is_1():
    sure = np.array([[40.0, -40.0], [-40.0, -40.0]])
    np.testing.assert_allclose(uncertainty(sure, sure > 0), [0, 1], atol=1e-9)
    never = np.array([[40.0, -np.inf]])
    np.testing.assert_allclose(uncertainty(never, never > 0), [0], atol=1e-9)


@settings(deadline=None)  # a busy machine is no fault of the function
@given(label_sets)
def test_overlap_and_disagreement_are_jaccard_indices(labels):
    sklearn = pytest.importorskip("sklearn.metrics")
    for one, other in zip(labels[0], labels[1]):
        expected = sklearn.jaccard_score(one, other, zero_division=1.0)
        assert overlap(one, other) == pytest.approx(expected)
    apart = disagreement(labels, labels[2])
    assert ((apart >= 0) & (apart <= 1)).all()
    assert disagreement(labels[[2, 2]], labels[2]).max() == 0


@settings(deadline=None)  # a busy machine is no fault of the function
@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1)), st.floats(0, 1))
def test_the_share_to_look_at_holds_the_most_uncertain_ones(values, share):
    marked = to_look_at(values, share)
    assert share * len(values) - 1e-5 <= marked.sum() < share * len(values) + 1
    if marked.any() and not marked.all():
        assert values[marked].min() >= values[~marked].max()
    assert to_look_at(values, 0).sum() == 0 and to_look_at(values, 1).all()


@pytest.mark.parametrize("members", [1, 2, 3, 4, 5])
def test_margins_are_at_least_0_exactly_where_the_model_gives_a_label(members):
    rng = np.random.default_rng(members)
    scores, cuts, common = rng.random((members, 40, 6)), rng.random((members, 6)), rng.random(6)
    by_vote = vote(decide(scores, cuts[:, None, :]))
    np.testing.assert_array_equal(margins_of_votes(scores, cuts) >= 0, by_vote)
    np.testing.assert_array_equal(margins_of(scores.mean(axis=0), common) >= 0, decide(scores.mean(axis=0), common))
