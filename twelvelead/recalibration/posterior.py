"""How a hospital writes diagnoses, learned from a few labelled recordings.

    margins = local.margins                                  # log-odds of each score, minus those of its threshold
    habits = learn(local, DEFAULT_PRIOR)
    habits.shift, habits.never, habits.alone                 # what changes in the model's decision

Three things are learned, which differ between hospitals although an ECG means the same everywhere: how readily each
class is written (a shift of its threshold, in log-odds), which classes are never written, and whether sinus rhythm is
written beside other diagnoses. For labels of the user's own, own_shifts.py learns the first of them alone.

The method is a Gibbs posterior (P. G. Bissiri, C. C. Holmes, S. G. Walker: A general framework for updating belief
distributions, J. R. Stat. Soc. B 78, 2016): the prior times exp(η · sum of the rewards of the local recordings), where
the reward of a recording is the one of the Challenge metric, so that what is learned is what is scored. The prior is
centred on the model's own decision:

- the shift of each class is normal around 0;
- a class is never written with a probability that is the same for all classes and has a Beta prior, so that a hospital
  that leaves out many classes is expected to leave out more; a class that is among the local labels is written;
- sinus rhythm is written only where no other class is with a prior probability of 0.3.

For each class the posterior of its threshold given all other decisions is exact: the reward is constant between two
neighbouring scores. Its median is taken, all classes are moved half of the way, and that is repeated until nothing
moves. The median says for each score whether the class is more likely written than not, and with few recordings it
stays near the prior's, which is nearly the model's own threshold (a little above it, since the class may also be one
that is never written). Nothing here is drawn at random.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from ..thresholds.decisions import Rules
from ..thresholds.logistic import log_odds
from .weighted_normal import intervals, normal_mass, quantile

FEW = 20  # if there are fewer recordings, the strength of the data falls in proportion to their number
_MOST_ROUNDS = 60
_STILL = 0.01  # rounds end when no shift changes by more, in log-odds


@dataclass(frozen=True)
class Prior:
    """What is believed of a hospital before its recordings are seen.

    Attributes
    ----------
    strength_of_data : float
        η, by which the sum of the rewards of the recordings is multiplied. The larger it is, the more do few recordings
        change.
    spread : float
        Standard deviation of the classes' shifts around 0, in log-odds.
    never : (float, float)
        Parameters of the Beta prior of the share of classes that are never written.
    alone : float
        Probability that sinus rhythm is written only where no other class is.
    """

    strength_of_data: float = 6.0
    spread: float = 0.4
    never: tuple[float, float] = (0.5, 9.5)
    alone: float = 0.3


DEFAULT_PRIOR = Prior()


@dataclass(frozen=True)
class Local:
    """Labelled recordings of a hospital as a model scores them.

    Attributes
    ----------
    margins : float64 (recordings, classes)
        A class gets its label where the margin is at least its shift; at shift 0 these are the model's own labels
        before any rule. See thresholds.uncertainty.margins_of.
    scores : float64 (recordings, classes)
        Mean of the members.
    cuts : float64 (recordings, classes)
        Thresholds by which scores are divided where a recording without labels gets one.
    labels : bool (recordings, classes)
    weights : float64 (classes, classes)
        Rewards of the Challenge metric, row j for label j and column k for output k.
    sinus_rhythm : int or None
        Its column; None if it is not among the classes.
    at_least_one : bool
        Whether a recording without labels gets one.
    """

    margins: np.ndarray
    scores: np.ndarray
    cuts: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    sinus_rhythm: int | None
    at_least_one: bool = True

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, chosen: np.ndarray) -> Local:
        """The same of some recordings; `chosen` is bool or int (recordings,)."""
        return Local(
            self.margins[chosen],
            self.scores[chosen],
            self.cuts[chosen],
            self.labels[chosen],
            self.weights,
            self.sinus_rhythm,
            self.at_least_one,
        )


@dataclass(frozen=True)
class Habits:
    """What was learned.

    Attributes
    ----------
    shift : float64 (classes,)
        Added to the log-odds of the thresholds; 0 for classes that are never written.
    never : bool (classes,)
    alone : bool
        Whether sinus rhythm is written only where no other class is.
    """

    shift: np.ndarray
    never: np.ndarray
    alone: bool

    @property
    def changes_nothing(self) -> bool:
        return not (self.shift.any() or self.never.any() or self.alone)


def no_habits(classes: int) -> Habits:
    """The habits that change nothing."""
    return Habits(np.zeros(classes), np.zeros(classes, dtype=bool), False)


def decide_with(local: Local, habits: Habits) -> np.ndarray:
    """Labels, bool (recordings, classes), of a model with these habits."""
    labels = local.margins >= habits.shift
    cuts = expit(log_odds(local.cuts) + habits.shift)
    return rules_of(habits, local.sinus_rhythm).apply(labels, local.scores, cuts, local.at_least_one)


def rules_of(habits: Habits, sinus_rhythm: int | None) -> Rules:
    """The rules by which a model with these habits decides, beside its thresholds."""
    alone = np.zeros(len(habits.shift), dtype=bool)
    if sinus_rhythm is not None:
        alone[sinus_rhythm] = habits.alone
    return Rules(habits.never, alone)


def rewards(labels: np.ndarray, outputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What each recording adds to the Challenge metric before it is normalised, float64 (recordings,).

    That is the sum of the rewards between its labels and its outputs, divided by the number of classes that are among
    its labels or its outputs.
    """
    credits = np.asarray(labels, dtype=np.float64) @ weights
    return (outputs * credits).sum(axis=1) / np.maximum((labels | outputs).sum(axis=1), 1)


def learn(local: Local, prior: Prior = DEFAULT_PRIOR) -> Habits:
    """The habits of the hospital of some labelled recordings.

    Parameters
    ----------
    local : Local
        Without recordings the habits change nothing.
    prior : Prior
    """
    if not len(local):
        return no_habits(local.margins.shape[1])
    prior = replace(prior, strength_of_data=prior.strength_of_data * min(1.0, len(local) / FEW))
    fits = [_fit(local, prior, alone) for alone in (False, True)[: 1 if local.sinus_rhythm is None else 2]]
    return max(fits, key=lambda fit: fit[0])[1]  # of two equal ones the first, which is the model's own


def _fit(local: Local, prior: Prior, alone: bool) -> tuple[float, Habits]:
    """The logarithm of the posterior and the habits, given whether sinus rhythm is written only alone."""
    count = local.margins.shape[1]
    order, low, high = intervals(local.margins)
    low, high = low / prior.spread, high / prior.spread
    log_prior = np.log(normal_mass(low, high))  # of a shift in each interval
    shift, share = np.zeros(count), prior.never[0] / sum(prior.never)
    never = np.full(count, share)  # probability of each class
    for _ in range(_MOST_ROUNDS):
        off, on, muted = _rewards_of_each(local, shift, never > 0.5, alone)
        gains = np.take_along_axis(on - off, order, axis=0)
        value = np.vstack([np.zeros((1, count)), np.cumsum(gains, axis=0)])
        weight = prior.strength_of_data * value + log_prior
        weight_never = np.where(local.labels.any(axis=0), -np.inf, prior.strength_of_data * (muted - off).sum(axis=0))
        most = np.maximum(weight.max(axis=0), weight_never)
        weight, weight_never = np.exp(weight - most) * (1 - share), np.exp(weight_never - most) * share
        total = weight.sum(axis=0) + weight_never
        new_never = weight_never / total
        # The median over everything, "never" being the highest threshold of all; of a class that is more likely never
        # written, the median of its threshold if it is written after all.
        target = np.where(new_never > 0.5, 0.5 * (1 - new_never), 0.5)
        median = prior.spread * quantile(weight / total, low, high, target)
        moved = np.abs(median - shift).max()
        shift, never = 0.5 * (shift + median), 0.5 * (never + new_never)
        share = float(np.clip((prior.never[0] + never.sum()) / (sum(prior.never) + count), 1e-4, 1 - 1e-4))
        if moved < _STILL:
            break
    mute = never > 0.5
    habits = Habits(np.where(mute, 0.0, shift), mute, alone)
    outputs = decide_with(local, habits)
    posterior = (
        prior.strength_of_data * rewards(local.labels, outputs, local.weights).sum()
        + np.log(prior.alone if alone else 1 - prior.alone)
        - ((shift / prior.spread)[~mute] ** 2).sum() / 2
        + mute.sum() * np.log(share)
        + (~mute).sum() * np.log1p(-share)
    )
    return float(posterior), habits


def _rewards_of_each(
    local: Local, shift: np.ndarray, mute: np.ndarray, alone: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rewards of every recording if one class is not written, if it is, and if it never is; the others as they are.

    Returns
    -------
    off, on, muted : float64 (recordings, classes)
        `off` differs from `muted` in recordings without labels: there a class that is only below its threshold may
        still be the one label that the recording gets.
    """
    # If `alone` is not set, any class may take the place of sinus rhythm.
    labels, sinus = local.labels, local.sinus_rhythm or 0
    credit, extra, size = labels.astype(np.float64) @ local.weights, ~labels, labels.sum(axis=1)[:, None]
    written = (local.margins >= shift) & ~mute
    has_sinus = written[:, sinus]
    others = written.copy()
    others[:, sinus] = False
    # Sums over the other classes than sinus rhythm and than the class of the column.
    number = others.sum(axis=1)[:, None] - others
    gained = (others * credit).sum(axis=1)[:, None] - others * credit
    union = size + (others & extra).sum(axis=1)[:, None] - (others & extra)
    single = credit / np.maximum(size + extra, 1)  # the reward of a recording that gets this class and no other
    rows = np.arange(len(labels))

    def one_label(ratio):
        return single[rows, ratio.argmax(axis=1)] if local.at_least_one else np.zeros(len(rows))

    ratio = np.where(mute, -1.0, local.scores / expit(log_odds(local.cuts) + shift))
    nearest = one_label(ratio)
    first = ratio.argmax(axis=1)
    second = ratio.copy()
    second[rows, first] = -2.0
    nearest_without = np.where(np.arange(len(mute)) == first[:, None], one_label(second)[:, None], nearest[:, None])
    beside = (has_sinus & (not alone))[:, None]
    sinus_credit, sinus_extra = credit[:, [sinus]], extra[:, [sinus]]
    with_others = (gained + beside * sinus_credit) / np.maximum(union + (beside & sinus_extra), 1)
    nothing = np.where(has_sinus[:, None], single[:, [sinus]], nearest[:, None])
    off = np.where(number > 0, with_others, nothing)
    muted = np.where(number > 0, with_others, np.where(has_sinus[:, None], single[:, [sinus]], nearest_without))
    on = (gained + credit + beside * sinus_credit) / np.maximum(union + extra + (beside & sinus_extra), 1)
    # Sinus rhythm's own column: `number`, `gained` and `union` are sums over all other classes there.
    without = gained[:, sinus] / np.maximum(union[:, sinus], 1)
    no_other = number[:, sinus] == 0
    both = (gained[:, sinus] + credit[:, sinus]) / np.maximum(union[:, sinus] + extra[:, sinus], 1)
    off[:, sinus] = np.where(no_other, nearest, without)
    muted[:, sinus] = np.where(no_other, nearest_without[:, sinus], without)
    on[:, sinus] = np.where(no_other, single[:, sinus], without if alone else both)
    return off, on, muted
