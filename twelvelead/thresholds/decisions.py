"""From scores and thresholds to labels: a recording gets a class where `score >= threshold`.

outputs = decide(scores, thresholds, at_least_one=True)
outputs = vote(decide(member_scores, member_thresholds[:, None, :]))
"""

from __future__ import annotations

import numpy as np


def decide(scores: np.ndarray, thresholds: np.ndarray, at_least_one: bool = False) -> np.ndarray:
    """bool, like scores: `score >= threshold`, compared as float64 whatever the scores are.

    Parameters
    ----------
    scores : ndarray, float, (recordings, classes) or (classes,) for one recording
    thresholds : ndarray, float, (classes,)
    at_least_one : bool
        Give a recording without any class the one nearest to its threshold, as in `at_least_one_label`.
    """
    labels = np.asarray(scores, dtype=np.float64) >= np.asarray(thresholds, dtype=np.float64)
    return at_least_one_label(labels, scores, thresholds) if at_least_one else labels


def at_least_one_label(labels: np.ndarray, scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """A copy of labels in which each recording without a class has the one with the largest score / threshold.

    With weights that are not negative, as the Challenge's, a first label never lowers the Challenge metric.
    """
    ratio = np.asarray(scores, dtype=np.float64) / np.maximum(thresholds, np.finfo(np.float64).eps)
    nearest = np.arange(ratio.shape[-1]) == ratio.argmax(axis=-1)[..., None]
    return np.asarray(labels, dtype=bool) | (nearest & ~np.any(labels, axis=-1, keepdims=True))


def vote(labels: np.ndarray) -> np.ndarray:
    """bool (recordings, classes) from labels of the members, (members, recordings, classes): more than half say so.

    With an even number of members a tie is no majority.
    """
    labels = np.asarray(labels, dtype=bool)
    return 2 * labels.sum(axis=0) > len(labels)
