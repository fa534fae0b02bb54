"""Objectives for labels of one's own: the metric of what is known, whatever stands in unknown cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score

from twelvelead.data.own_labels import own_classes
from twelvelead.settings import METRICS
from twelvelead.thresholds.decisions import decide
from twelvelead.thresholds.objectives import OWN_METRICS, metric_name, objective_of
from twelvelead.thresholds.search import METHODS, best_cut, optimise

QUICK = {"bayesian": {"random_points": 10, "guided_points": 2}, "differential_evolution": {"generations": 2}}
every_metric = pytest.mark.parametrize("metric", OWN_METRICS)
ORACLES = {"f1": f1_score, "auroc": balanced_accuracy_score}
some = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**32)


def made(seed: int, recordings: int = 30, classes: int = 3):
    rng = np.random.default_rng(seed)
    labels = rng.random((recordings, classes)) < 0.4
    labels[:2] = [[True], [False]]
    known = rng.random(labels.shape) < 0.7
    known[:2] = True
    scores = np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0.01, 0.99).round(2).astype(np.float32)
    return labels, scores, known, rng


def objective(metric, labels, scores, known=None):
    return objective_of(own_classes(["a", "b", "c"], metric), labels, scores, known)


@every_metric
@some
@given(seeds)
def test_the_objective_is_scikit_learns_mean_over_the_known_recordings(metric, seed):
    labels, scores, known, rng = made(seed)
    thresholds = rng.random(3)
    outputs = decide(scores, thresholds)
    expected = [ORACLES[metric](labels[known[:, k], k], outputs[known[:, k], k]) for k in range(3)]
    assert objective(metric, labels, scores, known)(thresholds) == pytest.approx(np.mean(expected))


@every_metric
@some
@given(seeds)
def test_what_stands_in_unknown_cells_changes_no_threshold(metric, seed):
    labels, scores, known, rng = made(seed)
    other = np.where(known, labels, ~labels), np.where(known, scores, rng.random(scores.shape)).astype(np.float32)
    for method in METHODS:
        how = QUICK.get(method, {})
        expected = optimise(objective(metric, labels, scores, known), method, seed=1, **how)
        found = optimise(objective(metric, *other, known), method, seed=1, **how)
        assert np.array_equal(found.values, expected.values) and found.stages == expected.stages, method


@every_metric
@some
@given(seeds)
def test_unknown_recordings_of_a_class_are_as_good_as_recordings_that_are_not_there(metric, seed):
    labels, scores, known, rng = made(seed)
    known[:, 1:] = known[:, :1]
    thresholds, rows = rng.random(3), known[:, 0]
    assert objective(metric, labels, scores, known)(thresholds) == pytest.approx(
        objective(metric, labels[rows], scores[rows])(thresholds)
    )


@every_metric
@some
@given(seeds, st.sampled_from([0.0, 0.3]))
def test_the_best_cut_is_the_best_of_all_thresholds(metric, seed, floor):
    labels, scores, known, rng = made(seed)
    of, thresholds = objective(metric, labels, scores, known), rng.random(3)

    def at(threshold):
        return of(np.array([thresholds[0], threshold, thresholds[2]]))

    found, value = best_cut(of, 1, thresholds, floor)
    brute = max(at(threshold) for threshold in {*scores[:, 1].astype(float), floor, 1.0} if threshold >= floor)
    assert floor <= found <= 1 and value == pytest.approx(at(found)) == pytest.approx(brute)


@every_metric
def test_a_class_without_known_positives_is_left_out_of_the_mean(metric):
    labels, scores, known, _ = made(1)
    labels[known[:, 2], 2] = False
    found = objective(metric, labels, scores, known)
    two = objective_of(own_classes(["a", "b"], metric), labels[:, :2], scores[:, :2], known[:, :2])
    assert found(np.full(3, 0.4)) == pytest.approx(two(np.full(2, 0.4)))
    assert (found.cuts(2, np.full(3, 0.4)) == found(np.full(3, 0.4))).all()
    named = {"f1": "macro F1", "auroc": "mean of sensitivity and specificity"}
    assert metric_name(own_classes(["a"], metric)) == named[metric]


def test_the_setting_names_the_metrics_that_exist():
    assert tuple(OWN_METRICS) == METRICS
