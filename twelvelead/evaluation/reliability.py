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

from ..thresholds.logistic import log_odds, logistic_line, logistic_regression
from .curves import calibration

NEAREST = 1e-6  # a score is kept this far from 0 and 1, where its log-odds are infinite
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
    odds = log_odds(scores, NEAREST)
    slope = logistic_line(odds, labels)[0]
    (intercept,) = logistic_regression(np.ones((1, len(odds))), labels, offset=odds)
    return Reliability(float(np.clip(slope, -STEEPEST, STEEPEST)), float(intercept), error)
