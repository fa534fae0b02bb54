"""Simulated hospitals for tests of recalibration: true diagnoses, scores of a model, and what an annotator writes."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from twelvelead.recalibration.posterior import Local
from twelvelead.thresholds.uncertainty import margins_of

CLASSES, SINUS = 8, 7
THRESHOLDS = np.full(CLASSES, 0.4)
FREQUENCIES = np.array([0.25, 0.2, 0.15, 0.15, 0.1, 0.08, 0.05, 0.85])
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
    return Local(margins_of(scores, thresholds), scores, thresholds, labels, WEIGHTS, SINUS)
