"""The expected metric is that of all sets of labels weighted by their probability, and labels are the best outputs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twelvelead.data.classes import WEIGHTS, load_weights, scored_classes
from twelvelead.evaluation.metrics import rewards
from twelvelead.synthetic.conventions import as_others_write, habits_of_annotators
from twelvelead.thresholds.expected import ExpectedMetric, Habits

CLASSES = scored_classes(load_weights(WEIGHTS))
HABITS = tuple(Habits(*values) for values in habits_of_annotators(CLASSES.codes, others=0.5))
COUNT = 5
SETS = np.array(list(itertools.product((False, True), repeat=COUNT)))


def decision(seed: int) -> ExpectedMetric:
    """Of five classes with random rewards, and of four kinds of annotators."""
    rng = np.random.default_rng(seed)
    weights = rng.random((COUNT, COUNT))
    np.fill_diagonal(weights, 1.0)
    never = rng.random(COUNT) * (np.arange(COUNT) != 1)
    habits = [
        Habits(0.4, np.ones(COUNT)),
        Habits(0.3, rng.random(COUNT)),
        Habits(0.2, rng.random(COUNT), only_alone=1),
        Habits(0.1, never),
    ]
    return ExpectedMetric(weights, habits)


def expected_rewards(of: ExpectedMetric, p: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """The expected reward of each row of outputs (sets, classes), from every set of labels that there is."""
    total = np.zeros(len(outputs))
    for habits in of._habits:
        found = p * habits.written
        for labels in SETS:
            chance = np.where(labels, found, 1 - found).prod()
            written = labels.copy()
            if habits.only_alone is not None and labels.sum() > 1:
                written[habits.only_alone] = False
            each = rewards(np.tile(written, (len(outputs), 1)), outputs, of._weights)
            total += habits.share * chance * each
    return total


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16))
def test_gains_are_those_of_all_sets_of_labels_weighted_by_their_probability(seed):
    of, rng = decision(seed), np.random.default_rng(seed)
    p, outputs = rng.random(COUNT) ** 2, rng.random(COUNT) < 0.4
    at_zero, slope = of._gains(p[None], outputs[None])
    for k in range(COUNT):
        with_class, without = (np.where(np.arange(COUNT) == k, value, outputs) for value in (True, False))
        with_class, without = expected_rewards(of, p, np.array([with_class, without]))
        assert at_zero[0, k] + slope[0, k] * p[k] == pytest.approx(with_class - without, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16))
def test_labels_are_the_best_of_all_outputs_and_follow_from_the_thresholds(seed):
    of, probabilities = decision(seed), np.random.default_rng(seed).random((4, COUNT)) ** 3
    labels = of.labels(probabilities)
    thresholds = of.thresholds(probabilities, labels)
    assert np.array_equal(labels, probabilities >= thresholds) and labels.any(axis=1).all()
    assert ((thresholds >= 0) & (thresholds <= np.nextafter(1, 2))).all()
    for p, given_labels in zip(probabilities, labels):
        # no single change is better; of few classes it is then nearly always the best set of all
        changed = given_labels ^ np.eye(COUNT, dtype=bool)
        values = expected_rewards(of, p, np.vstack([given_labels[None], changed]))
        assert values[0] >= values[1:].max() - 1e-8


def test_the_probability_of_a_class_does_not_move_its_own_threshold():
    of, rng = decision(3), np.random.default_rng(3)
    p, outputs = rng.random((50, COUNT)), rng.random((50, COUNT)) < 0.5
    other = p.copy()
    other[:, 2] = rng.random(50)
    for one, two in zip(of._gains(p, outputs), of._gains(other, outputs)):
        np.testing.assert_allclose(one[:, 2], two[:, 2], atol=1e-12)


def test_sinus_rhythm_needs_more_beside_a_likely_diagnosis_than_alone():
    of = ExpectedMetric(CLASSES.weights, HABITS)
    sinus, block = CLASSES.sinus_rhythm, CLASSES.index["713426002"]
    alone = np.full((1, 24), 1e-3)
    alone[0, sinus] = 0.5
    beside = alone.copy()
    beside[0, block] = 0.9
    one, two = (of.thresholds(p, of.labels(p))[0, sinus] for p in (alone, beside))
    assert one + 0.2 < two


def test_many_recordings_are_decided_as_each_alone():
    of = ExpectedMetric(CLASSES.weights, HABITS)
    probabilities = np.random.default_rng(0).random((1100, 24)) ** 4
    labels = of.labels(probabilities)
    for row in (0, 7, 1023, 1024, 1099):
        assert np.array_equal(of.labels(probabilities[row : row + 1])[0], labels[row])


@pytest.mark.parametrize("others", [0.0, 0.3, 1.0])
def test_habits_are_those_by_which_others_labels_are_drawn(others):
    habits = [Habits(*values) for values in habits_of_annotators(CLASSES.codes, others)]
    assert sum(each.share for each in habits) == pytest.approx(1) and habits[0].share == pytest.approx(1 - others)
    labels = np.ones((20_000, 24), dtype=bool)
    drawn = as_others_write(labels, CLASSES.codes, seed=0).mean(axis=0)
    rest = np.arange(24) != CLASSES.sinus_rhythm
    for each in habits[1:]:
        np.testing.assert_allclose(each.written[rest], drawn[rest], atol=0.02)
    only_sinus = np.zeros((20_000, 24), dtype=bool)
    only_sinus[:, CLASSES.sinus_rhythm] = True
    written = as_others_write(only_sinus, CLASSES.codes, seed=0)[:, CLASSES.sinus_rhythm].mean()
    if others:
        of_habits = sum(each.share * each.written[CLASSES.sinus_rhythm] for each in habits[1:]) / others
        assert of_habits == pytest.approx(written, abs=0.02)
