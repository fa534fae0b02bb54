"""Thresholds for labels of the user's own follow a hospital that differs, and stay where it does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import OWN_FREQUENCIES, own_hospital
from sklearn.metrics import balanced_accuracy_score, f1_score

from twelvelead.recalibration.own_shifts import (
    OWN_PRIOR,
    OwnLocal,
    check_of_shifts,
    costs,
    learn_shifts,
    metric_of,
)

METRICS = ("f1", "auroc")
NO_SHIFT = np.zeros(len(OWN_FREQUENCIES))
SKLEARN = {"f1": f1_score, "auroc": balanced_accuracy_score}


def gain(number: int, draw: int, metric: str, moved=0.0, unknown: float = 0.0) -> float:
    """What `number` recordings of a hospital gain on 2,000 others of it."""
    shift = learn_shifts(own_hospital(number, draw, metric, moved, unknown)).shift
    test = own_hospital(2000, 1000 + draw, metric, moved)
    return metric_of(test, test.margins >= shift) - metric_of(test, test.margins >= 0)


@pytest.mark.parametrize("number", [10, 20, 50, 200])
@pytest.mark.parametrize("metric", METRICS)
def test_where_nothing_is_moved_almost_nothing_is_lost(metric, number):
    gains = [gain(number, draw, metric) for draw in range(12)]
    assert np.mean(gains) > -0.01 and min(gains) > -0.04


@pytest.mark.parametrize("moved, least", [(2.0, 0.06), (-2.0, 0.06), (np.array([1.5, -1.5, 1.5]), 0.03)])
@pytest.mark.parametrize("metric", METRICS)
def test_fifty_recordings_of_a_hospital_with_other_thresholds_gain(metric, moved, least):
    assert np.mean([gain(50, draw, metric, moved) for draw in range(8)]) > least


@pytest.mark.parametrize("metric", METRICS)
def test_half_of_the_labels_are_enough_to_gain(metric):
    assert np.mean([gain(100, draw, metric, 2.0, unknown=0.5) for draw in range(6)]) > 0.05


@pytest.mark.parametrize("metric", METRICS)
def test_many_recordings_give_nearly_the_best_thresholds_there_are(metric):
    local = own_hospital(3000, 4, metric, np.array([1.0, -1.0, 0.5]))
    learned = metric_of(local, local.margins >= learn_shifts(local).shift)
    best = max_by_class(local)
    assert learned > best - 0.01


def max_by_class(local: OwnLocal) -> float:
    """The metric at the best of many shifts of each class; the classes do not depend on each other."""
    shifts = np.linspace(-4, 4, 161)
    values = []
    for k in range(len(OWN_FREQUENCIES)):
        of_class = [SKLEARN[local.metric](local.labels[:, k], local.margins[:, k] >= shift) for shift in shifts]
        values.append(max(of_class))
    return float(np.mean(values))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from(METRICS))
def test_what_stands_in_unknown_cells_changes_nothing(seed, metric):
    local = own_hospital(40, seed % 1000, metric, unknown=0.4)
    rng = np.random.default_rng(seed)
    other = replace(
        local,
        labels=np.where(local.known, local.labels, rng.random(local.labels.shape) < 0.5),
        margins=np.where(local.known, local.margins, rng.normal(0, 3, local.labels.shape)),
    )
    np.testing.assert_allclose(learn_shifts(other).shift, learn_shifts(local).shift, atol=1e-9)
    outputs = rng.random(local.labels.shape) < 0.5
    assert metric_of(other, outputs) == metric_of(local, np.where(local.known, outputs, ~outputs))


@pytest.mark.parametrize("metric", METRICS)
def test_the_order_of_the_recordings_does_not_matter(metric):
    local = own_hospital(60, 2, metric, 1.0)
    other = local.rows(np.random.default_rng(0).permutation(60))
    np.testing.assert_allclose(learn_shifts(other).shift, learn_shifts(local).shift, atol=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_the_less_the_data_count_the_less_is_moved(metric):
    local = own_hospital(60, 5, metric, 2.0)
    sizes = [
        np.abs(learn_shifts(local, replace(OWN_PRIOR, strength_of_data=eta)).shift).max() for eta in (1e-3, 0.3, 6)
    ]
    assert sizes[0] < 0.05 < sizes[1] < sizes[2]


def test_a_class_without_examples_of_both_kinds_keeps_its_threshold():
    for metric in METRICS:
        local = own_hospital(50, 1, metric, 1.0)
        labels = local.labels.copy()
        labels[:, 1], labels[:, 2] = False, True
        shift = learn_shifts(replace(local, labels=labels)).shift
        assert shift[0] != 0 and shift[1] == shift[2] == 0
        nothing = replace(local, known=np.zeros_like(local.known))
        assert not learn_shifts(nothing).shift.any() and check_of_shifts(nothing, 5, 0) == ""
        assert not learn_shifts(local.rows(np.zeros(50, dtype=bool))).shift.any()


@pytest.mark.parametrize("metric", METRICS)
def test_the_reward_of_a_cell_is_in_proportion_to_what_the_metric_gains(metric):
    """Against scikit-learn's metric before and after one output is added, of a recording with and one without it."""
    local = own_hospital(6000, 3, metric)
    outputs = local.margins >= 0
    for k, cost in enumerate(costs(local, NO_SHIFT)):
        labels, before = local.labels[:, k], outputs[:, k]

        def gained(label, labels=labels, before=before):
            after = before.copy()
            after[np.flatnonzero((labels == label) & ~before)[0]] = True
            return SKLEARN[metric](labels, after) - SKLEARN[metric](labels, before)

        assert gained(True) / -gained(False) == pytest.approx((1 - cost) / cost, rel=0.05)


@pytest.mark.parametrize("metric", METRICS)
def test_the_metric_is_the_one_of_scikit_learn(metric):
    local = own_hospital(300, 6, metric)
    outputs = local.margins >= 0.3
    by_class = [SKLEARN[metric](local.labels[:, k], outputs[:, k]) for k in range(len(OWN_FREQUENCIES))]
    assert metric_of(local, outputs) == pytest.approx(np.mean(by_class))


@pytest.mark.parametrize("metric", METRICS)
def test_the_check_tells_a_gain_from_none(metric):
    differences = {}
    for moved in (0.0, 2.5):
        line = check_of_shifts(own_hospital(150, 7, metric, moved), 5, seed=0)
        difference, error = line.rpartition("(")[2].rstrip(")").split(" ± ")
        differences[moved] = float(difference), float(error)
    assert differences[2.5][0] > 3 * differences[2.5][1] and abs(differences[0.0][0]) < 2 * differences[0.0][1]
