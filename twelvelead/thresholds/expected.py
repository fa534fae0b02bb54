"""The labels with the largest expected Challenge metric, decided for each recording by itself.

    decision = ExpectedMetric(classes.weights, habits)
    labels = decision.labels(probabilities)                     # (recordings, classes)
    thresholds = decision.thresholds(probabilities, labels)     # of each class in each recording
    # labels == (probabilities >= thresholds)

A recording adds to the Challenge metric (Perez Alday et al. 2020) the rewards of its outputs with its labels, divided
by the number of classes in outputs or labels. What one more output is worth so depends on the others: sinus rhythm
beside two likely diagnoses costs more than alone. Fixed thresholds cannot say that. From how likely each class is,
independently of the others, follows the expected metric of every set of outputs, also under the habits of annotators
who leave classes out or write sinus rhythm only alone. For a set S and labels y with probabilities p,

    E[1 / |S ∪ y|] = ∫ t^(|S| − 1) ∏ (1 − p_k + p_k t) dt,     t from 0 to 1, k outside of S,

a polynomial of t, which Gauss's rule integrates without an error. So nothing is drawn by chance, and the same
probabilities always give the same labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SMALLEST_GAIN = 1e-9  # of the expected reward, for which a label is changed; rounding errors are smaller
SUREST = 1 - 1e-12  # probabilities of labels go up to here, so that nothing is divided by 0
AT_ONCE = 1024  # recordings; their tables take some 30 MB


@dataclass(frozen=True)
class Habits:
    """How a share of all annotators write.

    Attributes
    ----------
    share : float
        Of all annotators.
    written : float64 (classes,)
        How often they write a class that they find, each class independently of the others.
    only_alone : int or None
        Column of a class that they write only where they write no other one.
    """

    share: float
    written: np.ndarray
    only_alone: int | None = None


class ExpectedMetric:
    """Decides by the expected metric under several habits of annotators.

    Parameters
    ----------
    weights : float (classes, classes)
        Rewards, row j for label j and column k for output k; not negative.
    habits : sequence of Habits
        Their shares add up to 1.
    """

    def __init__(self, weights: np.ndarray, habits: Sequence[Habits]):
        self._weights, self._habits = np.asarray(weights, dtype=np.float64), tuple(habits)
        # Exact for polynomials of degree 2n − 1; here the degree is below the number of classes.
        nodes, node_weights = np.polynomial.legendre.leggauss(len(self._weights) // 2 + 1)
        self._nodes, self._node_weights = (nodes + 1) / 2, node_weights / 2

    def labels(self, probabilities: np.ndarray) -> np.ndarray:
        """The set of outputs that no change of a single class makes better; never an empty one.

        It begins with the classes that are more likely than not, or else with the best single one. From there on the
        class whose change gains most is changed, until none gains anything.

        Parameters
        ----------
        probabilities : float (recordings, classes)

        Returns
        -------
        bool (recordings, classes)
        """
        probabilities = np.asarray(probabilities, dtype=np.float64)
        labels = np.zeros(probabilities.shape, dtype=bool)
        for start in range(0, len(labels), AT_ONCE):
            inside = slice(start, start + AT_ONCE)
            labels[inside] = self._labels(probabilities[inside])
        return labels

    def _labels(self, probabilities: np.ndarray) -> np.ndarray:
        rows = np.arange(len(probabilities))
        labels = probabilities >= 0.5
        while len(rows):
            at_zero, slope = self._gains(probabilities[rows], labels[rows])
            gain = at_zero + slope * probabilities[rows]
            gain = np.where(labels[rows], -gain, gain)  # of a change
            best = gain.argmax(axis=1)
            is_better = (gain[np.arange(len(rows)), best] > SMALLEST_GAIN) | ~labels[rows].any(axis=1)
            rows, best = rows[is_better], best[is_better]
            labels[rows, best] ^= True
        return labels

    def thresholds(self, probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """From which probability on each class belongs to the outputs, while all else stays as it is.

        Parameters
        ----------
        probabilities : float (recordings, classes)
        labels : bool (recordings, classes)
            What `labels` returns for them.

        Returns
        -------
        float64 (recordings, classes)
            In [0, 1]. A class is among the labels exactly where its probability is not below the threshold.
        """
        probabilities = np.asarray(probabilities, dtype=np.float64)
        thresholds = np.empty(probabilities.shape)
        for start in range(0, len(labels), AT_ONCE):
            inside = slice(start, start + AT_ONCE)
            at_zero, slope = self._gains(probabilities[inside], labels[inside])
            thresholds[inside] = np.clip(-at_zero / np.where(slope > 0, slope, np.inf), 0.0, 1.0)
        # Where a class is as good as nothing, rounding could say otherwise than the labels.
        above = np.nextafter(probabilities, 2.0)
        return np.where(labels, np.minimum(thresholds, probabilities), np.maximum(thresholds, above))

    def _gains(self, probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What each class as an output adds to the expected reward of the other outputs.

        Classes are independent of each other, so that this is a straight line over the probability of the class.

        Parameters
        ----------
        probabilities, labels : (recordings, classes)
            Whether the class itself is among the labels makes no difference, and neither does its own probability.

        Returns
        -------
        at_zero, slope : float64 (recordings, classes)
            Where its probability is 0, and how it rises.
        """
        at_zero, slope = np.zeros(probabilities.shape), np.zeros(probabilities.shape)
        for habits in self._habits:
            written = np.minimum(probabilities * habits.written, SUREST)
            if habits.only_alone is None:
                first, rise = self._line(written, labels)
            else:
                first, rise = self._line_alone(written, labels, habits.only_alone)
            at_zero += habits.share * first
            slope += habits.share * habits.written * rise
        return at_zero, slope

    def _line(self, p: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`_gains` where each class is written with the probability p, independently of the others.

        With c other outputs, Φ(t) = ∏ (1 − p_m + p_m t) over the classes m that are neither the class nor an output, E
        what the class as an output earns from the other labels, and R what the other outputs earn from these, the gain
        is ∫ Φ (t^c E − (1 − t) t^(c − 1) R) dt if the class is not written, and ∫ Φ t^c (E + its own reward) dt if it
        is.
        """
        t, weights = self._nodes[:, None], self._weights
        is_output = labels[:, None, :]
        # Arrays (recordings, nodes, classes). A written class that is no output makes the union larger by one.
        factor = np.where(is_output, 1.0, 1 - p[:, None, :] * (1 - t))
        written = p[:, None, :] * np.where(is_output, 1.0, t / factor)
        phi = factor.prod(axis=2, keepdims=True) / factor
        from_label = labels @ weights.T  # what all outputs earn from each class, if it is written; recordings, classes
        earned = written @ weights - written * weights.diagonal()
        of_others = written * from_label[:, None, :]
        of_others = of_others.sum(axis=2, keepdims=True) - of_others - np.where(is_output, earned, 0.0)
        count = (labels.sum(axis=1, keepdims=True) - labels)[:, None, :]
        power = phi * t ** np.maximum(count - 1, 0) * self._node_weights[:, None]  # of_others is 0 where count is
        with_class = power * np.where(count, t, 1.0)
        at_zero = (with_class * earned - power * (1 - t) * of_others).sum(axis=1)
        at_one = (with_class * (earned + weights.diagonal())).sum(axis=1)
        return at_zero, at_one - at_zero

    def _line_alone(self, p: np.ndarray, labels: np.ndarray, alone: int) -> tuple[np.ndarray, np.ndarray]:
        """`_gains` where the class `alone` is written, if it is found, only where no other class is."""
        is_alone = np.arange(len(self._weights)) == alone
        others = np.where(is_alone, 0.0, p)
        at_zero, slope = self._line(others, labels)
        # To this comes the case that the class is all that is written: the reward is then that of the outputs with it.
        nothing_else = (1 - others).prod(axis=1, keepdims=True) / (1 - others)
        reward = self._weights[alone]
        of_others = (labels @ reward)[:, None] - labels * reward
        count, has_alone = labels.sum(axis=1, keepdims=True) - labels, labels[:, [alone]] & ~is_alone
        without, with_class = (
            of_others / (count + ~has_alone),
            (of_others + reward) / (count + 1 + ~(has_alone | is_alone)),
        )
        gain = nothing_else * (with_class - without)
        of_found = p[:, [alone]] * gain
        return np.where(is_alone, at_zero, at_zero + of_found), np.where(is_alone, gain, slope - of_found)
