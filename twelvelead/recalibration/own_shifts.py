"""How readily a hospital writes labels of the user's own, learned from a few labelled recordings.

    local = OwnLocal(margins, labels, known, "f1", training_frequencies)
    habits = learn_shifts(local)
    habits.shift                                     # added to the log-odds of the model's thresholds

What is learned is a shift of each class's threshold, in log-odds. Whether a class is never written, and whether sinus
rhythm stands alone, as posterior.py learns them, are conventions of the Challenge's diagnoses; labels that somebody
wrote for this question have neither.

As in posterior.py this is a Gibbs posterior: a normal prior around the model's own threshold, times
exp(η · sum of the rewards of the local recordings). The Challenge metric is a mean over the recordings, so it says what
a recording is worth. The metrics of own labels are no such means. Here the reward is one for each known cell, that is
for each recording and class:

    label − cost   if the recording is given the class,    0   if it is not

so that a class is worth giving where it is present with a probability above the cost. The cost is chosen so that the
sum of the rewards rises and falls with the class's metric:

- **f1**: F = 2 TP / D with D = TP + FP + positives. To first order one more output that is right changes F by
  (2 − F) / D, and one that is wrong by −F / D. Both are 2 / D · (label − F / 2), so the cost is F / 2 (Z. C. Lipton,
  C. Elkan, B. Narayanaswamy: Optimal thresholding of classifiers to maximize F1 measure, ECML 2014). F is first that of
  the model's own decision here, and is taken anew as the thresholds move. It is counted with one more label and one
  more output, of which half are right, so that the F of three positives is not taken for the truth.
- **auroc**: thresholds are those with the best mean of sensitivity and specificity. One more output that is right adds
  1 / positives to the sensitivity, and one that is wrong takes 1 / negatives from the specificity. Both are in
  proportion to label − share of the positives, so the cost is that share. It is the one of the local recordings, with
  `PSEUDO` more that have the class as often as those of training.

The factors that are left out, such as 2 / D, are the same for all recordings of a class. They would say how much each
class matters for the mean over the classes, but every class has a threshold and a prior of its own, so nothing is
weighed between classes. Without them the reward of a positive is at most 1 in every class, whether it is frequent or
rare, and η is how much one positive counts against the prior.

Of a class with few recordings of either kind, with or without it, the data count less: up to `FEW_EXAMPLES` of the
rarer kind the strength rises in proportion to their number.

The numbers were chosen with a model of three classes and the 607 recordings of PTB-XL's fold 9, and with simulated
hospitals, where thresholds were moved by 0, 1, 1.5 and 2 in log-odds on purpose. Among η of 1 and 2, a spread of 0.5
and 1, and data that count less with few examples or do not, these gain most of those that lose at most 0.005 in the
mean where nothing was moved, with 20, 50 and 100 recordings. (Larger η, up to 6, lost more on PTB-XL.) They have not
been tried on data of another kind.

A class keeps its threshold if no recording is known to have it, or none to lack it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..thresholds.objectives import METRIC_NAMES, OWN_METRICS
from .posterior import Habits, no_habits
from .weighted_normal import intervals, normal_mass, quantile

PSEUDO = 5.0  # recordings with the frequencies of training that are added to those from which frequencies are counted
RESAMPLES = 200  # behind the error of a difference
FEW_EXAMPLES = 10  # of the rarer kind; with fewer the strength of the data falls in proportion to their number
_MOST_ROUNDS = 60
_STILL = 0.01  # rounds end when no shift changes by more, in log-odds


@dataclass(frozen=True)
class OwnPrior:
    """What is believed of a hospital before its recordings are seen.

    Attributes
    ----------
    strength_of_data : float
        η, by which the sum of the rewards is multiplied. The larger it is, the more do few recordings change.
    spread : float
        Standard deviation of the classes' shifts around 0, in log-odds.
    """

    strength_of_data: float = 1.0
    spread: float = 1.0


OWN_PRIOR = OwnPrior()


@dataclass(frozen=True)
class OwnLocal:
    """Recordings of a hospital with labels of the user's own, as a model scores them.

    Attributes
    ----------
    margins : float64 (recordings, classes)
        A class is given where the margin is at least its shift; at shift 0 these are the model's own labels. See
        thresholds.uncertainty.margins_of.
    labels : bool (recordings, classes)
    known : bool (recordings, classes)
        Labels that count.
    metric : {"f1", "auroc"}
        For which thresholds are chosen.
    frequencies : float64 (classes,)
        Share of the training recordings that have each class.
    """

    margins: np.ndarray
    labels: np.ndarray
    known: np.ndarray
    metric: str
    frequencies: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, chosen: np.ndarray) -> OwnLocal:
        """The same of some recordings; `chosen` is bool or int (recordings,)."""
        return replace(self, margins=self.margins[chosen], labels=self.labels[chosen], known=self.known[chosen])

    @property
    def examples(self) -> np.ndarray:
        """How many recordings have each class, or are known to lack it, whichever are fewer; int (classes,)."""
        return np.minimum((self.labels & self.known).sum(axis=0), (~self.labels & self.known).sum(axis=0))

    @property
    def learnable(self) -> np.ndarray:
        """Classes of which there are examples of both kinds, bool (classes,)."""
        return self.examples > 0


def learn_shifts(local: OwnLocal, prior: OwnPrior = OWN_PRIOR) -> Habits:
    """The shifts of the hospital of some labelled recordings.

    Parameters
    ----------
    local : OwnLocal
        Without recordings, nothing is shifted.
    prior : OwnPrior

    Returns
    -------
    Habits
        Shifts alone: no class is never written, or only alone.
    """
    count = local.margins.shape[1]
    if not len(local) or not local.learnable.any():
        return no_habits(count)
    strength = prior.strength_of_data * np.minimum(1.0, local.examples / FEW_EXAMPLES)
    order, low, high = intervals(local.margins)
    low, high = low / prior.spread, high / prior.spread
    log_prior = np.log(normal_mass(low, high))  # of a shift in each interval
    known = np.take_along_axis(local.known, order, axis=0)
    labels = np.take_along_axis(local.labels, order, axis=0) & known
    shift = np.zeros(count)
    for _ in range(_MOST_ROUNDS):
        rewards = np.where(known, labels - costs(local, shift), 0.0)
        weight = strength * np.vstack([np.zeros((1, count)), np.cumsum(rewards, axis=0)]) + log_prior
        weight = np.exp(weight - weight.max(axis=0))
        median = prior.spread * quantile(weight / weight.sum(axis=0), low, high, np.full(count, 0.5))
        median = np.where(local.learnable, median, 0.0)
        moved = np.abs(median - shift).max()
        shift = 0.5 * (shift + median)
        if moved < _STILL:
            break
    return Habits(shift, np.zeros(count, dtype=bool), False)


def metric_of(local: OwnLocal, outputs: np.ndarray) -> float:
    """The metric of outputs, bool (recordings, classes): macro F1, or the mean of sensitivity and specificity.

    Classes for which it is not defined are left out of the mean over the classes.
    """
    objective = OWN_METRICS[local.metric](local.labels, outputs, local.known)
    return objective(np.full(outputs.shape[1], 0.5))


def costs(local: OwnLocal, shift: np.ndarray) -> np.ndarray:
    """What it costs to give a class to a recording that lacks it, in units of a right label; float64 (classes,).

    Parameters
    ----------
    shift : float64 (classes,)
        Of the decision at which the metric is linearised.
    """
    labels, known = local.labels & local.known, local.known
    if local.metric == "auroc":
        return (labels.sum(axis=0) + PSEUDO * local.frequencies) / (known.sum(axis=0) + PSEUDO)
    outputs = (local.margins >= shift) & known
    # One more label and one more output, which are of the same recording with half a chance.
    f1 = (2 * (labels & outputs).sum(axis=0) + 1) / (outputs.sum(axis=0) + labels.sum(axis=0) + 2)
    return f1 / 2


def check_of_shifts(local: OwnLocal, parts: int, seed: int) -> str:
    """One line: the metric with the shifts that other recordings showed, against the model's own thresholds.

    Every part of the recordings is decided with the shifts that the others show. The error is that of the difference,
    the standard deviation over resamples of the recordings.

    Parameters
    ----------
    parts : int
        With fewer recordings than these, or no class with a metric, the line is empty.
    seed : int
        Of the parts and of the resamples.
    """
    count = len(local)
    if count < parts or not local.learnable.any():
        return ""
    rng = np.random.default_rng(seed)
    part = rng.permutation(count) % parts
    before, after = local.margins >= 0, np.zeros_like(local.labels)
    for k in range(parts):
        after[part == k] = local.margins[part == k] >= learn_shifts(local.rows(part != k)).shift
    was, became = metric_of(local, before), metric_of(local, after)
    differences = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, count, count)
        sample = local.rows(drawn)
        differences.append(metric_of(sample, after[drawn]) - metric_of(sample, before[drawn]))
    return (
        f"each part of {parts} by what the others show: {METRIC_NAMES[local.metric]} {was:.3f} as the model was, "
        f"{became:.3f} recalibrated ({became - was:+.3f} ± {np.std(differences, ddof=1):.3f})"
    )
