"""A metric of given recordings as a function of the thresholds.

    objective = challenge_objective(labels, scores, classes.weights, classes.sinus_rhythm)
    objective(thresholds)                           # the metric, a float
    objective.cuts(k, thresholds)                   # the metric at every cut of class k, the other classes as they are

A metric is an `Objective`: its value for given labels, and its values along one class, which makes the best threshold of
a class (the others fixed) exact and cheap. The methods of search.py know nothing else of it, so a new metric is one
function that builds an `Objective`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..data.classes import Classes


@dataclass(frozen=True)
class Objective:
    """A metric of given recordings as a function of the thresholds.

    Values are rounded to 12 decimals: the order of the recordings changes a sum in its last bits, and must not
    change a decision. So ties are ties, and better is better.

    Attributes
    ----------
    scores : ndarray, float64, (classes, recordings)
    order : ndarray of int, (classes, recordings)
        For each class the recordings by falling score.
    positives : ndarray of int, (classes,)
        How many recordings have the class.
    value : callable
        Outputs, bool (classes, recordings) → the metric; larger is better.
    along : callable
        (class k, outputs) → float64 (recordings + 1,): element m is the metric if the m recordings with the largest
        scores of class k had it, and the other classes stayed as they are in outputs, which may be written over.
    """

    scores: np.ndarray
    order: np.ndarray
    positives: np.ndarray
    value: Callable[[np.ndarray], float]
    along: Callable[[int, np.ndarray], np.ndarray]

    def __call__(self, thresholds: np.ndarray) -> float:
        return round(float(self.value(self.scores >= thresholds[:, None])), 12)

    def cuts(self, k: int, thresholds: np.ndarray) -> np.ndarray:
        """The metric at each of the recordings + 1 cuts of class k, the other classes at their thresholds."""
        return np.round(self.along(k, self.scores >= thresholds[:, None]), 12)


def challenge_objective(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray, sinus_rhythm: int) -> Objective:
    """The normalised Challenge metric (Perez Alday et al. 2020): 1 for all right, 0 for sinus rhythm everywhere.

    With R = labels · weights the metric of a recording is the sum of R over its outputs, divided by the number of
    classes in labels or outputs, so one more output adds its R above and at most 1 below.

    Parameters
    ----------
    labels : ndarray, bool, (recordings, classes)
    scores : ndarray, float, (recordings, classes), in [0, 1]
    weights : ndarray, float, (classes, classes)
        Rewards, row j for label j and column k for output k.
    sinus_rhythm : int
        Column of the reference class.
    """
    labels, scores, order = _by_class(labels, scores)
    credits = np.ascontiguousarray((labels.T.astype(np.float64) @ weights).T)
    absent = ~labels
    label_count = labels.sum(axis=0)

    def parts(outputs):
        credit = np.einsum("cn,cn->n", outputs, credits)
        return credit, label_count + (outputs & absent).sum(axis=0, dtype=np.int16)

    def total(outputs):
        credit, union = parts(outputs)
        return (credit / np.maximum(union, 1)).sum()

    only_sinus = np.zeros_like(labels)
    only_sinus[sinus_rhythm] = True
    inactive = total(only_sinus)
    span = total(labels) - inactive

    def normalised(raw):
        return (raw - inactive) / span if span != 0 else raw * 0.0

    def along(k, outputs):
        outputs[k] = False
        credit, union = parts(outputs)
        without = credit / np.maximum(union, 1)
        gain = (credit + credits[k]) / np.maximum(union + absent[k], 1) - without
        return normalised(without.sum() + _running_sum(gain[order[k]]))

    return Objective(scores, order, labels.sum(axis=1), lambda outputs: normalised(total(outputs)), along)


def unofficial_objective(labels: np.ndarray, scores: np.ndarray) -> Objective:
    """√(F2·G2), the leaderboard figure of the unofficial phase of 2020; F2 and G2 are means over the classes.

    Each recording counts 1 / (number of its labels); F2 = 5 TP / (5 TP + 4 FN + FP), G2 = TP / (TP + FP + 2 FN), 1
    where undefined. A recording without labels counts 1 here; in 2020 it counted infinitely and spoilt the figure.
    Parameters as for `challenge_objective`.
    """
    labels, scores, order = _by_class(labels, scores)
    share = 1 / np.maximum(labels.sum(axis=0), 1)
    positive, negative = labels * share, ~labels * share
    total = positive.sum(axis=1)

    def f2_g2(tp, fp, fn):
        below_f, below_g = 5 * tp + 4 * fn + fp, tp + fp + 2 * fn
        return (
            np.divide(5 * tp, below_f, out=np.ones_like(tp), where=below_f > 0),
            np.divide(tp, below_g, out=np.ones_like(tp), where=below_g > 0),
        )

    def by_class(outputs):
        tp = np.einsum("cn,cn->c", outputs, positive)
        return f2_g2(tp, np.einsum("cn,cn->c", outputs, negative), total - tp)

    def value(outputs):
        f2, g2 = by_class(outputs)
        return np.sqrt(f2.mean() * g2.mean())

    def along(k, outputs):
        f2, g2 = by_class(outputs)
        tp = _running_sum(positive[k, order[k]])
        f2_k, g2_k = f2_g2(tp, _running_sum(negative[k, order[k]]), tp[-1] - tp)
        return np.sqrt((f2.sum() - f2[k] + f2_k) * (g2.sum() - g2[k] + g2_k)) / len(f2)

    return Objective(scores, order, labels.sum(axis=1), value, along)


METRIC_OF = {"2020": "Challenge metric", "unofficial": "√(F2·G2)"}


def objective_of(classes: Classes, labels: np.ndarray, scores: np.ndarray) -> Objective:
    """The metric that these classes are scored by; parameters as for `challenge_objective`."""
    if classes.year == "unofficial":
        return unofficial_objective(labels, scores)
    return challenge_objective(labels, scores, classes.weights, classes.sinus_rhythm)


def _by_class(labels, scores):
    """Labels and scores with a row a class, and the recordings of each class by falling score."""
    labels = np.ascontiguousarray(np.asarray(labels, dtype=bool).T)
    scores = np.ascontiguousarray(np.asarray(scores, dtype=np.float64).T)  # float64 holds every float32 exactly
    if labels.shape != scores.shape:
        raise ValueError(f"labels are {labels.shape[::-1]}, scores are {scores.shape[::-1]}; they must be equal")
    return labels, scores, np.argsort(-scores, axis=1, kind="stable")


def _running_sum(values):
    return np.concatenate([[0.0], np.cumsum(values)])
