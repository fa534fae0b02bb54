"""A metric of given recordings as a function of the thresholds.

    objective = challenge_objective(labels, scores, classes.weights, classes.sinus_rhythm)
    objective(thresholds)                           # the metric, a float
    objective.cuts(k, thresholds)                   # the metric at every cut of class k, the other classes as they are

An `Objective` computes a metric from outputs, and also its values at all possible thresholds of one class while the
others are fixed, which makes the best threshold of one class exact and cheap to find. The methods of search.py use
nothing else of a metric, so a new metric is one function that builds an `Objective`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..data.classes import Classes


@dataclass(frozen=True)
class Objective:
    """A metric of given recordings as a function of the thresholds.

    Values are rounded to 12 decimals. The order of the recordings changes the last bits of a sum, and without rounding
    it could decide between two thresholds that are equally good.

    Attributes
    ----------
    scores : ndarray, float64, (classes, recordings)
    order : ndarray of int, (classes, recordings)
        For each class the recordings by falling score.
    positives : ndarray of int, (classes,)
        How many recordings have the class.
    value : callable
        From outputs, bool (classes, recordings), to the metric; larger is better.
    along : callable
        From a class k and outputs, which it may overwrite, to float64 (recordings + 1,). Element m is the metric if the
        m recordings with the largest scores of class k get it, while the other classes stay as they are in the outputs.
    labels : ndarray, bool, (classes, recordings)
        Which recordings have each class, for methods that start from another measure of a class.
    """

    scores: np.ndarray
    order: np.ndarray
    positives: np.ndarray
    value: Callable[[np.ndarray], float]
    along: Callable[[int, np.ndarray], np.ndarray]
    labels: np.ndarray

    def __call__(self, thresholds: np.ndarray) -> float:
        """The metric at thresholds, float64 (classes,)."""
        return round(float(self.value(self.scores >= thresholds[:, None])), 12)

    def cuts(self, k: int, thresholds: np.ndarray) -> np.ndarray:
        """The metric at each of the recordings + 1 cuts of class k, the other classes at their thresholds."""
        return np.round(self.along(k, self.scores >= thresholds[:, None]), 12)


def challenge_objective(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray, sinus_rhythm: int) -> Objective:
    """The normalised Challenge metric (Perez Alday et al. 2020): 1 for all right, 0 for sinus rhythm everywhere.

    With R = labels · weights, a recording adds to the metric the sum of R over its outputs, divided by the number of
    classes in its labels or outputs. So one more output adds its R to the numerator and at most 1 to the denominator.

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
    credits = np.ascontiguousarray((labels.T.astype(np.float64) @ weights).T)  # R: classes, recordings
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

    return Objective(scores, order, labels.sum(axis=1), lambda outputs: normalised(total(outputs)), along, labels)


def unofficial_objective(labels: np.ndarray, scores: np.ndarray) -> Objective:
    """√(F2·G2), the leaderboard's figure in the unofficial phase of 2020; F2 and G2 are means over the classes.

    F2 = 5 TP / (5 TP + 4 FN + FP) and G2 = TP / (TP + FP + 2 FN), both 1 where undefined. Each recording has the weight
    1 / (number of its labels). A recording without labels has weight 1 here; in the official script its weight is
    infinite, which makes the figure useless.

    Parameters
    ----------
    labels : ndarray, bool, (recordings, classes)
    scores : ndarray, float, (recordings, classes), in [0, 1]
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

    return Objective(scores, order, labels.sum(axis=1), value, along, labels)


def joined(first: Objective, second: Objective, part: float) -> Objective:
    """(1 − part) · first + part · second, of two sets of recordings that share their classes and thresholds.

    Parameters
    ----------
    part : float
        In [0, 1].
    """
    count = first.scores.shape[1]
    scores = np.concatenate([first.scores, second.scores], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")

    def value(outputs):
        return (1 - part) * first.value(outputs[:, :count]) + part * second.value(outputs[:, count:])

    def along(k, outputs):
        # With the m largest scores of both, each objective stands at the cut that takes in its own among them.
        of_first = first.along(k, outputs[:, :count].copy())
        of_second = second.along(k, outputs[:, count:].copy())
        is_first = order[k] < count
        taken_first, taken_second = (np.concatenate([[0], np.cumsum(taken)]) for taken in (is_first, ~is_first))
        return (1 - part) * of_first[taken_first] + part * of_second[taken_second]

    labels = np.concatenate([first.labels, second.labels], axis=1)
    return Objective(scores, order, first.positives + second.positives, value, along, labels)


def f1_objective(labels: np.ndarray, scores: np.ndarray, known: np.ndarray | None = None) -> Objective:
    """Macro F1: the mean over the classes of 2 TP / (2 TP + FP + FN), counted over the known labels of each class.

    A class without a known positive has no F1 that a threshold could change, so it is left out of the mean.

    Parameters
    ----------
    labels : ndarray, bool, (recordings, classes)
    scores : ndarray, float, (recordings, classes), in [0, 1]
    known : ndarray, bool, (recordings, classes), optional
        Labels that count; all by default.
    """
    return _mean_of_classes(labels, scores, known, lambda tp, fp, p, n: 2 * tp / np.maximum(tp + fp + p, 1), False)


def auroc_objective(labels: np.ndarray, scores: np.ndarray, known: np.ndarray | None = None) -> Objective:
    """Macro AUROC of the outputs, which are 1 and 0: the mean over the classes of (sensitivity + specificity) / 2.

    The AUROC of scores does not depend on thresholds. That of outputs does: with two values it is the balanced
    accuracy, and the thresholds that make it largest are those of Youden's index. A class without both kinds of known
    labels is left out of the mean.

    Parameters
    ----------
    labels, scores, known
        As for `f1_objective`.
    """

    def balanced_accuracy(tp, fp, positives, negatives):
        return (tp / np.maximum(positives, 1) + 1 - fp / np.maximum(negatives, 1)) / 2

    return _mean_of_classes(labels, scores, known, balanced_accuracy, True)


def _mean_of_classes(
    labels: np.ndarray,
    scores: np.ndarray,
    known: np.ndarray | None,
    of_class: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    needs_negatives: bool,
) -> Objective:
    """The mean over the classes of a measure of one class, which is computed from counts over its known labels.

    Parameters
    ----------
    of_class : callable
        From true positives, false positives, all positives and all negatives, float64 arrays that broadcast, to the
        measure.
    needs_negatives : bool
        Whether the measure is undefined for a class without negatives.
    """
    labels, scores, order = _by_class(labels, scores, known)
    known = np.ones_like(labels) if known is None else np.ascontiguousarray(np.asarray(known, dtype=bool).T)
    absent = known & ~labels
    positives, negatives = labels.sum(axis=1, dtype=np.float64), absent.sum(axis=1, dtype=np.float64)
    counts = (positives > 0) & ((negatives > 0) | (not needs_negatives))
    number = max(int(counts.sum()), 1)

    def measures(outputs):
        tp, fp = (outputs & labels).sum(axis=1), (outputs & absent).sum(axis=1)
        return np.where(counts, of_class(tp, fp, positives, negatives), 0.0)

    def along(k, outputs):
        others = measures(outputs)
        others[k] = 0.0
        if not counts[k]:
            return np.full(len(order[k]) + 1, others.sum() / number)
        tp, fp = _running_sum(labels[k, order[k]]), _running_sum(absent[k, order[k]])
        return (others.sum() + of_class(tp, fp, positives[k], negatives[k])) / number

    return Objective(scores, order, labels.sum(axis=1), lambda outputs: measures(outputs).sum() / number, along, labels)


# The metrics for label sets of the user's own, by the value of the setting `metric`.
OWN_METRICS = {"f1": f1_objective, "auroc": auroc_objective}
METRIC_NAMES = {
    "2020": "Challenge metric",
    "unofficial": "√(F2·G2)",
    "f1": "macro F1",
    "auroc": "mean of sensitivity and specificity",  # which is the AUROC of outputs that are yes or no
}


def metric_name(classes: Classes) -> str:
    """The name of the metric that `objective_of` computes."""
    return METRIC_NAMES[classes.metric if classes.are_own else classes.year]


def objective_of(
    classes: Classes, labels: np.ndarray, scores: np.ndarray, known: np.ndarray | None = None
) -> Objective:
    """The metric by which these classes are scored.

    Parameters
    ----------
    classes : Classes
    labels : ndarray, bool, (recordings, classes)
    scores : ndarray, float, (recordings, classes), in [0, 1]
    known : ndarray, bool, (recordings, classes), optional
        Labels that count; all by default. The metrics of the Challenges take an unknown label for absent, and do not
        look at it.
    """
    if classes.are_own:
        return OWN_METRICS[classes.metric](labels, scores, known)
    if classes.year == "unofficial":
        return unofficial_objective(labels, scores)
    return challenge_objective(labels, scores, classes.weights, classes.sinus_rhythm)


def _by_class(
    labels: np.ndarray, scores: np.ndarray, known: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and scores transposed to (classes, recordings), and for each class the recordings by falling score.

    Where `known` is False the label is absent and the score 0, so that nothing depends on what stood there.
    """
    if known is not None:
        labels, scores = np.asarray(labels, dtype=bool) & known, np.where(known, scores, 0.0)
    labels = np.ascontiguousarray(np.asarray(labels, dtype=bool).T)
    scores = np.ascontiguousarray(np.asarray(scores, dtype=np.float64).T)  # float64 holds every float32 exactly
    if labels.shape != scores.shape:
        raise ValueError(f"labels are {labels.shape[::-1]}, scores are {scores.shape[::-1]}; they must be equal")
    return labels, scores, np.argsort(-scores, axis=1, kind="stable")


def _running_sum(values: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, 2, … values."""
    return np.concatenate([[0.0], np.cumsum(values)])
