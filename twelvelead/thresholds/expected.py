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
            written = probabilities * habits.written
            if habits.only_alone is None:
                first, rise = self._line(written, labels)
            else:
                first, rise = self._line_alone(written, labels, habits.only_alone)
            at_zero += habits.share * first
            slope += habits.share * habits.written * rise
        return at_zero, slope

    def _line(self, p: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`_gains` where each class is written with the probability p, independently of the others."""
        t, weights = self._nodes[:, None], self._weights
        is_output = labels[:, None, :]
        # Arrays (recordings, nodes, classes). A written class that is no output makes the union larger by one.
        factor = np.where(is_output, 1.0, 1 - p[:, None, :] * (1 - t))
        written = p[:, None, :] * np.where(is_output, 1.0, t / factor)
        of_others = factor.prod(axis=2, keepdims=True) / np.where(is_output, 1.0, factor)  # the class itself left out
        credit = labels @ weights.T  # of each class, if it is written, with all outputs; recordings, classes
        earned = written @ weights - written * weights.diagonal()  # of the class as an output, with the other classes
        credits = (written * credit[:, None, :]).sum(axis=2, keepdims=True) - written * credit[:, None, :]
        credits -= np.where(is_output, earned, 0.0)  # of the other classes with the other outputs
        count = (labels.sum(axis=1, keepdims=True) - labels)[:, None, :]  # other outputs
        power = of_others * t ** np.maximum(count - 1, 0) * self._node_weights[:, None]
        with_class = power * np.where(count, t, 1.0)
        at_zero = (with_class * earned - power * (1 - t) * credits).sum(axis=1)
        at_one = (with_class * (earned + weights.diagonal())).sum(axis=1)
        return at_zero, at_one - at_zero

    def _line_alone(self, p: np.ndarray, labels: np.ndarray, alone: int) -> tuple[np.ndarray, np.ndarray]:
        """`_gains` where the class `alone` is written, if it is found, only where no other class is."""
        own = p[:, [alone]]
        others = p.copy()
        others[:, alone] = 0.0
        at_zero, slope = self._line(others, labels)
        slope[:, alone] = 0.0  # beside another class it is not written
        # The rest of the expectation: this class is all that is written.
        is_absent = 1 - others  # of each other class
        nothing_else = is_absent.prod(axis=1, keepdims=True) / np.where(is_absent > 0, is_absent, 1.0)
        credit = labels @ self._weights[alone]  # recordings
        credit = credit[:, None] - np.where(labels, self._weights[alone], 0.0)  # with the other outputs
        union = labels.sum(axis=1, keepdims=True) - labels + ~labels[:, [alone]]
        union[:, alone] = labels.sum(axis=1) - labels[:, alone] + 1
        is_new = np.ones(labels.shape)
        is_new[:, alone] = 0.0
        gain = (credit + self._weights[alone]) / (union + is_new) - credit / union
        alone_at_zero = own * nothing_else * gain
        slope -= alone_at_zero
        at_zero += alone_at_zero
        at_zero[:, alone] -= alone_at_zero[:, alone]
        slope[:, alone] = (nothing_else * gain)[:, alone]
        return at_zero, slope
