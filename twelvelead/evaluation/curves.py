"""The curves behind the areas, and how far scores are probabilities: ROC, precision and recall, calibration.

    fpr, tpr = roc_curve(labels[:, k], scores[:, k])                    # the curve whose area metrics.auroc gives
    recall, precision = precision_recall_curve(labels[:, k], scores[:, k])
    bins = calibration(labels[:, k], scores[:, k])

All functions take one class: `labels` bool (recordings,) and `scores` float64 (recordings,) without NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..thresholds import logistic
from .metrics import counts_at_thresholds

_Z_95 = 1.959963984540054  # the normal distribution's quantile of 97.5 %


def roc_curve(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The receiver operating characteristic, from (0, 0) to (1, 1), with one point for each distinct score.

    Returns
    -------
    fpr, tpr : float64 (points,)
        Share of the negatives, and of the positives, with at least the score. NaN without negatives or positives.

    >>> roc_curve(np.array([True, False, True]), np.array([0.9, 0.6, 0.4]))
    (array([0., 0., 1., 1.]), array([0. , 0.5, 0.5, 1. ]))
    """
    tp, fp, _ = counts_at_thresholds(labels, scores)
    with np.errstate(invalid="ignore"):
        return np.append(0.0, fp) / fp[-1], np.append(0.0, tp) / tp[-1]


def precision_recall_curve(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall at each distinct score from the highest down.

    `metrics.auprc` takes the precision of a point for the whole way from the recall of the point before it, which is 0
    at the beginning.

    Returns
    -------
    recall, precision : float64 (points,)
        The recall is NaN without positives.

    >>> precision_recall_curve(np.array([True, False, True]), np.array([0.9, 0.6, 0.4]))
    (array([0.5, 0.5, 1. ]), array([1.        , 0.5       , 0.66666667]))
    """
    tp, fp, _ = counts_at_thresholds(labels, scores)
    with np.errstate(invalid="ignore"):
        return tp / tp[-1], tp / (tp + fp)


@dataclass(frozen=True)
class Calibration:
    """How often recordings of about one score have the class; a row for each bin of scores that has recordings.

    Attributes
    ----------
    recordings : int64 (bins,)
    score : float64 (bins,)
        Mean score.
    observed : float64 (bins,)
        Share of the recordings that have the class.
    low, high : float64 (bins,)
        Ends of the share's 95 % interval by Wilson's method.
    brier : float
        Mean square of the difference of score and label over all recordings; 0 is best.
    """

    recordings: np.ndarray
    score: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    brier: float


def calibration(labels: np.ndarray, scores: np.ndarray, bins: int = 10) -> Calibration:
    """Calibration of one class in `bins` equally wide bins of the scores, which must be from 0 to 1.

    A score on the border of two bins belongs to the upper one, the score 1 to the last.

    Raises
    ------
    ValueError
        If a score is no probability.

    References
    ----------
    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
       Statistical Association 22, 1927.
    """
    labels, scores = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("a score is not from 0 to 1")
    place = np.minimum(np.searchsorted(np.linspace(0, 1, bins + 1)[1:], scores, side="right"), bins - 1)
    recordings = np.bincount(place, minlength=bins)
    used = recordings > 0
    n = recordings[used]
    positives = np.bincount(place, weights=labels, minlength=bins)[used]
    score = np.bincount(place, weights=scores, minlength=bins)[used] / n
    low, high = wilson_interval(positives, n)
    return Calibration(n, score, positives / n, low, high, float(np.mean((scores - labels) ** 2)))


def wilson_interval(positives: np.ndarray, recordings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of the share positives / recordings by Wilson's method; `recordings` must not be 0.

    >>> [round(float(end), 3) for end in wilson_interval(np.array(5), np.array(10))]
    [0.237, 0.763]
    """
    share, z2 = positives / recordings, _Z_95**2
    middle = (share + z2 / (2 * recordings)) / (1 + z2 / recordings)
    half = _Z_95 * np.sqrt(share * (1 - share) / recordings + z2 / (4 * recordings**2)) / (1 + z2 / recordings)
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)


def log_odds(scores: np.ndarray, limit: float = 0.001) -> np.ndarray:
    """ln(p / (1 − p)) of scores that are first brought into the range from `limit` to 1 − `limit`.

    >>> log_odds(np.array([0.0, 0.5])).round(3).tolist()
    [-6.907, 0.0]
    """
    return logistic.log_odds(scores, limit)


def log_odds_histogram(
    labels: np.ndarray, scores: np.ndarray, bins: int = 28, limit: float = 0.001
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How the scores of recordings with and without a class are distributed over their log odds.

    On this scale the region of small thresholds, which a rare class has, is as wide as that of large ones.

    Returns
    -------
    edges : float64 (bins + 1,)
        In log odds.
    positive, negative : float64 (bins,)
        Share of the recordings with, and of those without the class; all 0 where there are none.
    """
    labels = np.asarray(labels, dtype=bool)
    end = math.log((1 - limit) / limit)
    edges = np.linspace(-end, end, bins + 1)
    place = np.clip(np.floor((log_odds(scores, limit) + end) / (2 * end) * bins).astype(int), 0, bins - 1)
    parts = [np.bincount(place[rows], minlength=bins) / max(rows.sum(), 1) for rows in (labels, ~labels)]
    return edges, parts[0], parts[1]
