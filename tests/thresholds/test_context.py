"""The thresholds of a recording lie between the model's and those of the expected metric."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy.special import expit

from twelvelead.data.classes import WEIGHTS, load_weights, scored_classes
from twelvelead.synthetic.conventions import habits_of_annotators
from twelvelead.thresholds.context import Context
from twelvelead.thresholds.expected import Habits
from twelvelead.thresholds.logistic import log_odds
from twelvelead.thresholds.probabilities import LogisticMap

CLASSES = scored_classes(load_weights(WEIGHTS))
HABITS = tuple(Habits(*values) for values in habits_of_annotators(CLASSES.codes, others=0.5))
CUTS = np.random.default_rng(1).uniform(0.2, 0.7, 24)
SCORES = np.random.default_rng(2).random((60, 24)) ** 3


def context(part: float) -> Context:
    rng = np.random.default_rng(0)
    line = LogisticMap(rng.uniform(0.8, 1.3, 24), rng.uniform(-1, 0.5, 24))
    return Context(part, CUTS, line, HABITS, CLASSES.weights)


def test_the_part_says_where_between_the_models_and_the_expected_ones():
    none, half, whole = (context(part).thresholds(SCORES, CUTS) for part in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(none, np.tile(CUTS, (60, 1)), rtol=1e-9)
    np.testing.assert_allclose(log_odds(half), (log_odds(none) + log_odds(whole)) / 2, atol=1e-9)
    of = context(1.0)
    labels = of.decision.labels(of.line(SCORES))
    assert (labels == (whole <= SCORES)).mean() > 0.999  # but for the rounding of log-odds


def test_what_the_models_thresholds_are_moved_by_the_recordings_are_moved_by_too():
    before, shift = context(0.75).thresholds(SCORES, CUTS), np.random.default_rng(3).normal(size=24)
    after = context(0.75).thresholds(SCORES, expit(log_odds(CUTS) + shift))
    np.testing.assert_allclose(log_odds(after) - log_odds(before), np.tile(shift, (60, 1)), atol=1e-6)


def test_classes_that_all_recordings_have_or_none_stay_so():
    cuts = CUTS.copy()
    cuts[:2] = 0.0, 1.0
    moved = dataclasses.replace(context(0.75), reference=cuts).thresholds(SCORES, cuts)
    assert (moved[:, 0] == 0).all() and (moved[:, 1] == 1).all() and np.isfinite(moved).all()


def test_scores_of_0_and_1_have_thresholds_too():
    scores = np.where(SCORES < 0.1, 0.0, np.where(SCORES > 0.8, 1.0, SCORES))
    moved = context(0.75).thresholds(scores, CUTS)
    assert ((moved > 0) & (moved < 1)).all()


def test_its_values_in_a_file_give_the_same_context():
    of = context(0.6)
    values = json.loads(json.dumps(of.to_dict(CLASSES.codes)))
    again = Context.from_dict(values, CLASSES.codes)
    np.testing.assert_array_equal(again.thresholds(SCORES, CUTS), of.thresholds(SCORES, CUTS))
    del values["habits"][0]["share"]
    with pytest.raises(KeyError):
        Context.from_dict(values, CLASSES.codes)
