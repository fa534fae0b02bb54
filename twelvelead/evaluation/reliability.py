"""How far the scores of a class are probabilities: calibration slope, intercept and expected calibration error.

    found = reliability(labels[:, k], scores[:, k])
    found.slope, found.intercept, found.error

References
----------
.. [1] B. Van Calster, D. J. McLernon, M. van Smeden, L. Wynants, E. W. Steyerberg, "Calibration: the Achilles heel of
   predictive analytics", BMC Medicine 17, 2019: slope and intercept.
.. [2] M. P. Naeini, G. F. Cooper, M. Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning",
   AAAI 2015: expected calibration error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from .curves import calibration

NEAREST = 1e-6  # a score is kept this far from 0 and 1, where its log-odds are infinite
STEPS = 100  # of Newton's method, which needs about ten
FLATTEST = 1e-9  # a curvature below this means that no line is better than another
LONGEST_STEP = 4.0  # in slope and in log-odds; a longer step may overshoot where the classes are nearly separated
STEEPEST = 100.0  # the slope of scores that separate the recordings perfectly would be infinite


@dataclass(frozen=True)
class Reliability:
    """Calibration of one class.

    Attributes
    ----------
    slope : float
        Of a logistic regression of the label on the score's log-odds; 1 is right, below 1 scores are too extreme.
    intercept : float
        Of a logistic regression with slope 1 ("calibration in the large"), in log-odds; 0 is right, below 0 scores are
        too high.
    error : float
        Expected calibration error, the mean distance of score and frequency over bins of scores; 0 is right.

    Slope and intercept are NaN where all recordings have the class or none has it.
    """

    slope: float
    intercept: float
    error: float


def reliability(labels: np.ndarray, scores: np.ndarray, bins: int = 10) -> Reliability:
    """Calibration of the scores of one class.

    Parameters
    ----------
    labels : bool (recordings,)
    scores : float64 (recordings,), in [0, 1]
    bins : int
        Equally wide bins of the scores, for the expected calibration error.

    Raises
    ------
    ValueError
        If there is no recording, or a score is no probability.

    >>> fair = reliability(np.array([True, False] * 50), np.full(100, 0.5))
    >>> fair.intercept, fair.error
    (0.0, 0.0)
    """
    labels, scores = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if len(scores) == 0 or not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("scores must be from 0 to 1, and there must be some")
    in_bins = calibration(labels, scores, bins)
    error = float(in_bins.recordings @ np.abs(in_bins.score - in_bins.observed) / len(scores))
    if labels.min() == labels.max():
        return Reliability(np.nan, np.nan, error)
    odds = logit(np.clip(scores, NEAREST, 1 - NEAREST))
    slope = _fit(np.stack([odds, np.ones_like(odds)]), np.zeros_like(odds), labels)[0]
    (intercept,) = _fit(np.ones((1, len(odds))), odds, labels)
    return Reliability(float(np.clip(slope, -STEEPEST, STEEPEST)), float(intercept), error)


def _fit(columns: np.ndarray, offset: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Coefficients of a logistic regression, by Newton's method: float64 (columns,)."""
    coefficients = np.zeros(len(columns))
    for _ in range(STEPS):
        p = expit(offset + coefficients @ columns)
        gradient = columns @ (labels - p)
        curvature = (columns * (p * (1 - p))) @ columns.T
        if np.linalg.eigvalsh(curvature)[0] < FLATTEST:
            break
        step = np.clip(np.linalg.solve(curvature, gradient), -LONGEST_STEP, LONGEST_STEP)
        coefficients = coefficients + step
        if np.abs(step).max() < 1e-10:
            break
    return coefficients
