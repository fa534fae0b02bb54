"""Rules beside thresholds: what is never written, and what only alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from twelvelead.thresholds.decisions import Rules, at_least_one_label, decide, no_rules

masks = arrays(bool, 5)
scores_of = arrays(np.float64, (6, 5), elements=st.floats(0, 1))
CUTS = np.array([0.2, 0.4, 0.5, 0.6, 0.9])


@settings(deadline=None)  # a busy machine is no fault of the function
@given(scores_of, masks, masks, st.booleans())
def test_rules_hold_for_every_recording(scores, never, alone, at_least_one):
    labels = decide(scores, CUTS)
    before = labels.copy()
    outputs = Rules(never, alone).apply(labels, scores, CUTS, at_least_one)
    assert not outputs[:, never].any() and (labels == before).all()
    has_other = outputs[:, ~alone].any(axis=1)
    assert not outputs[has_other][:, alone].any()
    if at_least_one and not never.all():
        assert outputs.any(axis=1).all()
    each = [Rules(never, alone).apply(row, row_scores, CUTS, at_least_one) for row, row_scores in zip(labels, scores)]
    np.testing.assert_array_equal(each, outputs)


@settings(deadline=None)  # a busy machine is no fault of the function
@given(scores_of, st.booleans())
def test_no_rules_leave_the_labels_of_the_thresholds(scores, at_least_one):
    labels = decide(scores, CUTS)
    expected = at_least_one_label(labels, scores, CUTS) if at_least_one else labels
    assert no_rules(5).change_nothing
    np.testing.assert_array_equal(no_rules(5).apply(labels, scores, CUTS, at_least_one), expected)


def test_a_class_that_is_never_written_is_not_the_one_label_of_a_recording():
    rules = Rules(np.array([True, False]), np.array([False, False]))
    scores = np.array([0.89, 0.1])
    assert rules.apply(np.array([False, False]), scores, np.array([0.9, 0.9]), True).tolist() == [False, True]


def test_two_classes_that_are_written_alone_may_stand_together():
    rules = Rules(np.zeros(3, dtype=bool), np.array([True, True, False]))
    labels = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 1]], dtype=bool)
    outputs = rules.apply(labels, labels * 1.0, np.full(3, 0.5), True)
    assert outputs.astype(int).tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 1]]
