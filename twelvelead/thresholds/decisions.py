"""From scores and thresholds to labels: a recording gets a class where `score >= threshold`.

outputs = decide(scores, thresholds, at_least_one=True)
outputs = vote(decide(member_scores, member_thresholds[:, None, :]))       # or vote(…, votes=4)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rules:
    """What thresholds cannot say about how a hospital writes diagnoses.

    Attributes
    ----------
    never : ndarray, bool, (classes,)
        Classes that are not written, whatever their score.
    alone : ndarray, bool, (classes,)
        Classes that are written only where no class but these is; some hospitals write sinus rhythm like that.
    """

    never: np.ndarray
    alone: np.ndarray

    @property
    def change_nothing(self) -> bool:
        """Whether labels stay as they are."""
        return not (self.never.any() or self.alone.any())

    def apply(self, labels: np.ndarray, scores: np.ndarray, thresholds: np.ndarray, at_least_one: bool) -> np.ndarray:
        """The labels by these rules; with `at_least_one` no recording stays without a class, unless all are in `never`.

        Parameters
        ----------
        labels : ndarray, bool, (recordings, classes) or (classes,)
            Not changed.
        scores : ndarray, float, of the same shape
        thresholds : ndarray, float, (classes,)
        at_least_one : bool
            See `at_least_one_label`; classes that are never written are not taken.

        Returns
        -------
        ndarray, bool, of the same shape
        """
        labels = np.asarray(labels, dtype=bool) & ~self.never
        if at_least_one:
            labels = at_least_one_label(labels, np.where(self.never, -1.0, scores), thresholds) & ~self.never
        other = np.any(labels & ~self.alone, axis=-1, keepdims=True)
        return labels & ~(self.alone & other)


def no_rules(classes: int) -> Rules:
    """The rules that change nothing."""
    return Rules(np.zeros(classes, dtype=bool), np.zeros(classes, dtype=bool))


def decide(scores: np.ndarray, thresholds: np.ndarray, at_least_one: bool = False) -> np.ndarray:
    """Labels: `score >= threshold`, compared as float64 so that float32 and float64 scores give the same labels.

    Parameters
    ----------
    scores : ndarray, float, (recordings, classes) or (classes,) for one recording
    thresholds : ndarray, float, (classes,), or any shape that broadcasts with the scores
    at_least_one : bool
        Give a recording without any class one class; see `at_least_one_label`.

    Returns
    -------
    ndarray, bool, of the shape of scores
    """
    labels = np.asarray(scores, dtype=np.float64) >= np.asarray(thresholds, dtype=np.float64)
    return at_least_one_label(labels, scores, thresholds) if at_least_one else labels


def at_least_one_label(labels: np.ndarray, scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The labels, with one class for each recording that has none: the class with the largest score / threshold.

    A first label never lowers the Challenge metric, since its rewards are not negative.

    Parameters
    ----------
    labels : ndarray, bool, (recordings, classes) or (classes,)
        Not changed.
    scores : ndarray, float, of the same shape
    thresholds : ndarray, float, (classes,)

    Returns
    -------
    ndarray, bool, of the same shape
    """
    ratio = np.asarray(scores, dtype=np.float64) / np.maximum(thresholds, np.finfo(np.float64).eps)
    nearest = np.arange(ratio.shape[-1]) == ratio.argmax(axis=-1)[..., None]
    return np.asarray(labels, dtype=bool) | (nearest & ~np.any(labels, axis=-1, keepdims=True))


def vote(labels: np.ndarray, votes: int | None = None) -> np.ndarray:
    """A recording gets a class if at least so many members give it.

    Parameters
    ----------
    labels : ndarray, bool, (members, recordings, classes)
    votes : int, optional
        By default more than half of the members, so that a tie gives no label.

    Returns
    -------
    ndarray, bool, (recordings, classes)
    """
    labels = np.asarray(labels, dtype=bool)
    return labels.sum(axis=0) >= (majority_of(len(labels)) if votes is None else votes)


def majority_of(members: int) -> int:
    """The smallest number of members that is more than half of them."""
    return members // 2 + 1
