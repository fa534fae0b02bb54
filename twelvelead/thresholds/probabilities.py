"""From scores to probabilities: a logistic map for each class, learned from out-of-bag scores.

    line = fit_probabilities(labels, scores)
    probabilities = line(scores)
    labels = draw_labels(probabilities, draws=20, seed=0)       # labels that these recordings may have

Class weights in training make the scores of rare classes far too high. The map changes the numbers, so that about a
tenth of the recordings with a probability of 0.1 has the class. It does not change the order of the recordings within a
class, so that every label and every area under a curve stays as it is once the thresholds are mapped, too.

References
----------
.. [1] J. C. Platt, "Probabilistic outputs for support vector machines", Advances in Large Margin Classifiers, 1999.
.. [2] B. Van Calster et al., "Calibration: the Achilles heel of predictive analytics", BMC Medicine 17, 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from .logistic import log_odds, logistic_line

NEAREST = 1e-12  # a score is kept this far from 0 and 1, where its log-odds are infinite
# The slope and the intercept that all classes share are normal around 1 and 0 with these spreads. The first keeps the
# slope finite where a few recordings are separated without a mistake.
SHARED_SPREAD = 0.5, 10.0
# Standard deviations of the classes' slopes and intercepts around those that all classes share. They matter for classes
# with a handful of positives: with no positive at all the intercept goes down only as far as the second one allows.
SLOPE_SPREAD, INTERCEPT_SPREAD = 0.25, 1.0
FLATTEST = 0.05  # smallest slope, so that the map always rises


@dataclass(frozen=True)
class LogisticMap:
    """Probability = logistic(slope · log-odds of the score + intercept), for each class.

    Attributes
    ----------
    slopes : float64 (classes,), above 0
    intercepts : float64 (classes,)
    """

    slopes: np.ndarray
    intercepts: np.ndarray

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities float64 (…, classes) of scores (…, classes) in [0, 1]. The scores 0 and 1 stay as they are."""
        scores = np.asarray(scores, dtype=np.float64)
        inside = expit(self.slopes * log_odds(scores, NEAREST) + self.intercepts)
        return np.where((scores <= 0) | (scores >= 1), scores, inside)

    def inverse(self, probabilities: np.ndarray) -> np.ndarray:
        """The scores float64 (…, classes) that have these probabilities."""
        return LogisticMap(1 / self.slopes, -self.intercepts / self.slopes)(probabilities)


def fit_probabilities(labels: np.ndarray, scores: np.ndarray, known: np.ndarray | None = None) -> LogisticMap:
    """The most likely map, in which each class is near one line that all classes share.

    Parameters
    ----------
    labels : bool (recordings, classes)
    scores : float (recordings, classes), in [0, 1]
    known : bool (recordings, classes), optional
        Labels that count. The others say nothing, because the recording's source never writes the class.
    """
    labels = np.asarray(labels, dtype=np.float64)
    odds = log_odds(scores, NEAREST)
    counts = np.ones(labels.shape, dtype=bool) if known is None else known

    shared = logistic_line(odds[counts], labels[counts], np.array([1.0, 0.0]), np.array(SHARED_SPREAD))
    spread, of_class = np.array([SLOPE_SPREAD, INTERCEPT_SPREAD]), range(labels.shape[1])
    lines = [logistic_line(odds[counts[:, k], k], labels[counts[:, k], k], shared, spread) for k in of_class]
    slopes, intercepts = np.array(lines).reshape(-1, 2).T
    return LogisticMap(np.maximum(slopes, FLATTEST), intercepts)


def draw_labels(probabilities: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Labels that the recordings may have: each class by its own probability, in several draws.

    Parameters
    ----------
    probabilities : float (recordings, classes)
    draws : int
    seed : int

    Returns
    -------
    bool (draws · recordings, classes)
        All recordings of the first draw, then all of the second, and so on.
    """
    recordings, classes = probabilities.shape
    drawn = np.random.default_rng(seed).random((draws, recordings, classes)) < probabilities
    return drawn.reshape(draws * recordings, classes)
