"""Simulated hospitals for tests of recalibration: true diagnoses, scores of a model, and what an annotator writes."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from twelvelead.recalibration.own_shifts import OwnLocal
from twelvelead.recalibration.posterior import Local
from twelvelead.thresholds.objectives import OWN_METRICS
from twelvelead.thresholds.search import best_cut
from twelvelead.thresholds.uncertainty import margins_of

CLASSES, SINUS = 8, 7
THRESHOLDS = np.full(CLASSES, 0.4)
FREQUENCIES = np.array([0.25, 0.2, 0.15, 0.15, 0.1, 0.08, 0.05, 0.85])
OWN_FREQUENCIES = np.array([0.3, 0.15, 0.06])
WEIGHTS = np.full((CLASSES, CLASSES), 0.4) + 0.6 * np.eye(CLASSES)


def hospital(
    count: int,
    seed: int,
    never: tuple[int, ...] = (),
    alone: bool = False,
    bias: float = 0.0,
    thresholds: np.ndarray = THRESHOLDS,
) -> Local:
    """Labelled recordings of a hospital.

    Parameters
    ----------
    never : tuple of int
        Classes that its annotators do not write.
    alone : bool
        Whether they write sinus rhythm only where nothing else is.
    bias : float
        Added to the log-odds of all scores.
    """
    rng = np.random.default_rng(seed)
    truth = rng.random((count, CLASSES)) < FREQUENCIES
    evidence = rng.normal(np.where(truth, 2.0, -2.0), 1.5)
    scores = expit(evidence + bias)
    labels = truth.copy()
    labels[:, list(never)] = False
    if alone:
        labels[:, SINUS] &= labels.sum(axis=1) == 1
    return Local(
        margins_of(scores, thresholds), scores, np.broadcast_to(thresholds, scores.shape), labels, WEIGHTS, SINUS
    )


def own_hospital(count: int, seed: int, metric: str, moved: float | np.ndarray = 0.0, unknown: float = 0.0) -> OwnLocal:
    """Recordings with three labels of the user's own, and a model whose thresholds are the best ones for the metric.

    Parameters
    ----------
    moved : float or float64 (classes,)
        Added to the log-odds of the scores at this hospital: the best shift of the thresholds.
    unknown : float
        Share of the labels that are unknown.
    """
    labels, scores = _own_scores(4000, 10**6)
    objective = OWN_METRICS[metric](labels, scores)
    thresholds = np.full(len(OWN_FREQUENCIES), 0.5)
    thresholds = np.array([best_cut(objective, k, thresholds)[0] for k in range(len(OWN_FREQUENCIES))])
    labels, scores = _own_scores(count, seed)
    known = np.random.default_rng(seed + 1).random(labels.shape) >= unknown
    return OwnLocal(margins_of(scores, thresholds) + moved, labels & known, known, metric, OWN_FREQUENCIES)


def _own_scores(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random((count, len(OWN_FREQUENCIES))) < OWN_FREQUENCIES
    return truth, expit(rng.normal(np.where(truth, 1.5, -1.5), 1.5))
