"""What a hospital's habits are is found from few recordings, and little is changed where there is little to learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulated import CLASSES, SINUS, THRESHOLDS, WEIGHTS, hospital

from twelvelead.evaluation.metrics import challenge_metric
from twelvelead.recalibration.posterior import (
    DEFAULT_PRIOR,
    Habits,
    Local,
    _rewards_of_each,
    decide_with,
    learn,
    no_habits,
    rewards,
    rules_of,
)
from twelvelead.recalibration.weighted_normal import quantile
from twelvelead.thresholds.decisions import Rules, at_least_one_label, decide

HOSPITALS = {
    "as the model": dict(),
    "never writes three": dict(never=(0, 1, 2)),
    "sinus rhythm alone": dict(alone=True),
    "both": dict(never=(0, 3), alone=True),
    "scores too high": dict(bias=1.0),
    "scores too low": dict(bias=-1.0),
}


def metric(local: Local, habits: Habits) -> float:
    return challenge_metric(local.labels, decide_with(local, habits), local.weights, SINUS)


def gain(name: str, number: int, draw: int) -> float:
    """What `number` recordings of a hospital gain on 1,000 others of it."""
    habits = learn(hospital(number, draw, **HOSPITALS[name]))
    test = hospital(1000, 100 + draw, **HOSPITALS[name])
    return metric(test, habits) - metric(test, no_habits(CLASSES))


@pytest.mark.parametrize("number", [10, 20, 50, 200])
@pytest.mark.parametrize("name", HOSPITALS)
def test_no_simulated_hospital_loses_more_than_a_hundredth(name, number):
    assert np.mean([gain(name, number, draw) for draw in range(4)]) > -0.01


@pytest.mark.parametrize("name, least", [("never writes three", 0.3), ("sinus rhythm alone", 0.02), ("both", 0.1)])
def test_fifty_recordings_of_other_conventions_gain_much(name, least):
    assert min(gain(name, 50, draw) for draw in range(4)) > least


@pytest.mark.parametrize("number", [100, 400])
def test_the_conventions_themselves_are_found(number):
    habits = learn(hospital(number, 3, never=(0, 1, 2), alone=True))
    assert habits.alone and habits.never[:3].all() and not habits.never[[3, 4, SINUS]].any()
    assert (habits.shift[habits.never] == 0).all()
    as_model = learn(hospital(number, 3))
    assert not as_model.alone and not as_model.never[FREQUENT].any()


FREQUENT = [0, 1, 2, 3, 4, SINUS]


def test_thresholds_follow_scores_that_are_too_high_or_too_low():
    high, low = learn(hospital(400, 1, bias=1.5)).shift, learn(hospital(400, 1, bias=-1.5)).shift
    assert (high[FREQUENT[:5]] > 0.3).all() and (low[FREQUENT[:5]] < -0.3).all()


def test_without_recordings_nothing_changes():
    nothing = hospital(10, 0).rows(np.zeros(10, dtype=bool))
    assert learn(nothing).changes_nothing
    local = hospital(300, 0)
    labels = at_least_one_label(decide(local.scores, THRESHOLDS), local.scores, THRESHOLDS)
    np.testing.assert_array_equal(decide_with(local, no_habits(CLASSES)), labels)


def test_the_less_the_data_count_the_less_is_changed():
    local = hospital(60, 5, never=(1,), alone=True, bias=1.0)
    sizes = [np.abs(learn(local, replace(DEFAULT_PRIOR, strength_of_data=eta)).shift).max() for eta in (1e-3, 1.0, 6.0)]
    assert sizes[0] < 0.05 < sizes[1] < sizes[2]
    assert learn(local, replace(DEFAULT_PRIOR, strength_of_data=1e-3)).alone is False


def test_the_order_of_the_recordings_does_not_matter():
    local = hospital(80, 2, never=(0,), alone=True)
    one, other = learn(local), learn(local.rows(np.random.default_rng(0).permutation(80)))
    np.testing.assert_allclose(one.shift, other.shift, atol=1e-6)
    assert one.alone == other.alone and (one.never == other.never).all()


def test_many_recordings_give_nearly_the_best_thresholds_there_are():
    """Against a search of the reward itself along each class, which starts from what was learned."""
    local = hospital(1000, 4, bias=1.0)
    habits = learn(local)
    learned = rewards(local.labels, decide_with(local, habits), WEIGHTS).mean()
    for k in range(CLASSES):
        for shift in np.linspace(-3, 4, 8):
            moved = habits.shift.copy()
            moved[k] = shift
            other = rewards(local.labels, decide_with(local, Habits(moved, habits.never, habits.alone)), WEIGHTS).mean()
            assert other < learned + 0.004, (k, shift)


def test_classes_without_sinus_rhythm_can_be_learned_too():
    local = replace(hospital(100, 1, never=(0,)), sinus_rhythm=None)
    habits = learn(local)
    assert habits.never[0] and not habits.alone and not rules_of(habits, None).alone.any()


@pytest.mark.parametrize("at_least_one", [True, False])
@pytest.mark.parametrize("alone", [True, False])
def test_rewards_of_a_class_are_those_of_the_whole_decision(alone, at_least_one):
    """Against the decision itself, with one class after the other switched on, off and to never."""
    rng = np.random.default_rng(7)
    local = replace(hospital(60, 6), at_least_one=at_least_one)
    shift, mute = rng.normal(0, 1, CLASSES) + 1.5, np.arange(CLASSES) == 2
    off, on, muted = _rewards_of_each(local, shift, mute, alone)
    cuts = 1 / (1 + (1 / THRESHOLDS - 1) * np.exp(-shift))
    sinus_alone = (np.arange(CLASSES) == SINUS) & alone
    for k in range(CLASSES):
        if mute[k]:
            continue
        for values, written, never in (
            (off, False, mute),
            (on, True, mute),
            (muted, False, mute | (np.arange(8) == k)),
        ):
            labels = local.margins >= shift
            labels[:, k] = written
            outputs = Rules(never, sinus_alone).apply(labels, local.scores, cuts, at_least_one)
            np.testing.assert_allclose(values[:, k], rewards(local.labels, outputs, WEIGHTS), err_msg=str(k))


def test_the_mean_reward_normalised_is_the_challenge_metric():
    local = hospital(200, 8)
    outputs = decide_with(local, no_habits(CLASSES))
    sinus = np.zeros_like(outputs)
    sinus[:, SINUS] = True
    mean, best, inactive = (rewards(local.labels, o, WEIGHTS).sum() for o in (outputs, local.labels, sinus))
    assert (mean - inactive) / (best - inactive) == pytest.approx(metric(local, no_habits(CLASSES)), abs=1e-12)


def test_quantiles_of_one_interval_are_those_of_a_normal_number():
    low, high = np.full((1, 3), -np.inf), np.full((1, 3), np.inf)
    target = np.array([0.5, 0.975, 0.025])
    np.testing.assert_allclose(quantile(np.ones((1, 3)), low, high, target), [0, 1.959964, -1.959964], atol=1e-5)
