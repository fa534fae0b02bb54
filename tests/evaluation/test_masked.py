"""Metrics with unknown labels: they are scikit-learn's on what is known, and nothing else changes them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from twelvelead.evaluation.bootstrap import draw_counts
from twelvelead.evaluation.masked import OWN_METRICS, evaluate_known, resampled_known
from twelvelead.evaluation.metrics import evaluate


def made(seed: int, recordings: int = 40, classes: int = 3):
    rng = np.random.default_rng(seed)
    labels = rng.random((recordings, classes)) < 0.4
    scores = np.round(rng.random(labels.shape) + 0.3 * labels, 1)
    return labels, scores >= 0.6, scores, rng.random(labels.shape) < 0.7, rng


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32))
def test_whatever_stands_in_an_unknown_cell_no_metric_changes(seed):
    labels, outputs, scores, known, rng = made(seed)
    expected = evaluate_known(labels, outputs, scores, known)
    other = [np.where(known, given, rng.random(given.shape) < 0.5) for given in (labels, outputs)]
    found = evaluate_known(*other, np.where(known, scores, rng.random(scores.shape)), known)
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32))
def test_each_class_has_scikit_learns_figures_of_its_known_recordings(seed):
    labels, outputs, scores, known, _ = made(seed)
    result = evaluate_known(labels, outputs, scores, known)
    for k in range(3):
        rows = known[:, k]
        truth, given_outputs, given_scores = labels[rows, k], outputs[rows, k], scores[rows, k]
        assert result["f_measure_classes"][k] == pytest.approx(f1_score(truth, given_outputs))
        assert result["auroc_classes"][k] == pytest.approx(roc_auc_score(truth, given_scores))
        assert result["auprc_classes"][k] == pytest.approx(average_precision_score(truth, given_scores))


def test_with_all_labels_known_the_figures_are_the_evaluators():
    labels, outputs, scores, _, _ = made(1)
    ours, official = evaluate_known(labels, outputs, scores), evaluate(labels, outputs, scores, np.eye(3), 0)
    assert {key: ours[key] for key in OWN_METRICS} == pytest.approx({key: official[key] for key in OWN_METRICS})


def test_a_class_that_nobody_knows_is_undefined_and_left_out_of_the_means():
    labels, outputs, scores, known, _ = made(2)
    known[:, 1] = False
    result = evaluate_known(labels, outputs, scores, known)
    assert np.isnan(result["f_measure_classes"][1])
    assert result["f_measure"] == pytest.approx(np.delete(result["f_measure_classes"], 1).mean())
    assert np.isnan(evaluate_known(labels, outputs, scores, np.zeros_like(known))["accuracy"])


def test_a_resample_of_every_recording_once_is_the_figure_itself():
    labels, outputs, scores, known, _ = made(3)
    (values,) = resampled_known(labels, [(outputs, scores)], known, [np.ones((2, len(labels)), dtype=np.int32)])
    figures = evaluate_known(labels, outputs, scores, known)
    assert values["f_measure"].tolist() == [figures["f_measure"]] * 2
    spread = resampled_known(labels, [(outputs, scores)], known, draw_counts(len(labels), 20, 0))[0]["auroc"]
    assert len(spread) == 20 and spread.min() < figures["auroc"] < spread.max()
