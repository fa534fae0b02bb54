"""How far a model's labels of a recording can be relied on, compared with those of other recordings.

order = np.argsort(-uncertainty(margins, labels))       # the recordings that a person should look at come first
apart = disagreement(member_labels, labels)             # 0: each member, asked alone, gives the same labels
marked = to_look_at(uncertainties, share=0.1)
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from .decisions import majority_of
from .logistic import log_odds


def margins_of(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """How far each class of each recording is above its threshold, in log-odds.

    Parameters
    ----------
    scores : float (recordings, classes)
    thresholds : float64 (classes,)

    Returns
    -------
    float64 (recordings, classes)
    """
    return log_odds(scores) - log_odds(thresholds)


def margins_of_votes(member_scores: np.ndarray, thresholds: np.ndarray, votes: int | None = None) -> np.ndarray:
    """How far each class of each recording is above what it needs, in log-odds, where members vote.

    Parameters
    ----------
    member_scores : float (members, recordings, classes)
    thresholds : float64 (members, classes)
    votes : int, optional
        So many members must reach their thresholds, by default more than half of them.

    Returns
    -------
    float64 (recordings, classes)
    """
    each = np.sort(log_odds(member_scores) - log_odds(thresholds)[:, None, :], axis=0)[::-1]
    return each[(majority_of(len(each)) if votes is None else votes) - 1]  # so many members have at least this margin


def uncertainty(margins: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The uncertainty of the labels of each recording, float64 (recordings,) in [0, 1].

    It is 1 minus the overlap (`overlap`) that is expected of labels and truth, if a decision is wrong with the
    probability σ(−|margin|), which is a half at the threshold. It orders recordings; it is no calibrated probability of
    a mistake, since a threshold is not always where both decisions are equally likely to be right.

    Parameters
    ----------
    margins : float64 (recordings, classes)
        Log-odds of the scores minus those of their thresholds.
    labels : bool (recordings, classes)
        As decided. A recording without labels has the uncertainty 1.
    """
    wrong = expit(-np.abs(margins))
    right = (labels * (1 - wrong)).sum(axis=1)
    either = labels.sum(axis=1) + (~labels * wrong).sum(axis=1)
    return 1 - right / np.maximum(either, np.finfo(np.float64).tiny)


def overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Jaccard index of two sets of labels: labels in both, divided by labels in either; 1 where both are empty.

    Parameters
    ----------
    one, other : bool (…, classes)

    Returns
    -------
    float64 (…,)
    """
    one, other = np.asarray(one, dtype=bool), np.asarray(other, dtype=bool)
    both, either = (one & other).sum(axis=-1), (one | other).sum(axis=-1)
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def disagreement(member_labels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How far the members are from the labels of the whole model, float64 (recordings,) in [0, 1].

    It is 1 minus the mean `overlap` of each member's labels with them: 0 where every member, asked alone, gives the
    same labels, and 1 where none gives any of them.

    Parameters
    ----------
    member_labels : bool (members, recordings, classes)
    labels : bool (recordings, classes)
    """
    return 1 - overlap(member_labels, labels[None]).mean(axis=0)


def to_look_at(uncertainties: np.ndarray, share: float) -> np.ndarray:
    """Which recordings a person should look at, bool (recordings,): the given share of them, the most uncertain ones.

    The number is rounded up, so that a share above 0 always gives one. Of equally uncertain recordings the first ones
    are taken.
    """
    uncertainties = np.asarray(uncertainties, dtype=np.float64)
    count = int(np.ceil(round(share * len(uncertainties), 6)))
    marked = np.zeros(len(uncertainties), dtype=bool)
    marked[np.argsort(-uncertainties, kind="stable")[:count]] = True
    return marked
