"""How frequent each class is at a hospital, estimated from unlabelled recordings, and the thresholds that follow.

    habits = adapted(scores, training_frequencies, recipe.training)

M. Saerens, P. Latinne, C. Decaestecker: Adjusting the outputs of a classifier to new a priori probabilities, Neural
Computation 14 (2002) 21–41. If the recordings of each class look alike everywhere and only the classes' frequencies
differ, the odds of a class change by the ratio of its odds here and in training, and the frequencies that make the
recordings most likely are found by expectation maximisation (their equation 2.9), for each class by itself.

The assumption is strong: a hospital that does not write a class although its patients have it looks to this method as
if they had it, and so does a network that is wrong about recordings of another device. Labelled recordings are safer.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import expit, logit

from ..recipe import Training
from ..thresholds.logistic import log_odds
from ..thresholds.probabilities import LogisticMap
from .posterior import Habits

WEIGHTED_LOSSES = ("weighted_cross_entropy",)
_STILL = 1e-6
_MOST_ROUNDS = 1000


def class_frequencies(scores_log_odds: np.ndarray, training_frequencies: np.ndarray) -> np.ndarray:
    """The frequencies of the classes under which the recordings are most likely.

    Parameters
    ----------
    scores_log_odds : float64 (recordings, classes)
        Log-odds of calibrated scores, as they hold at the training frequencies.
    training_frequencies : float64 (classes,)
        Within (0, 1).

    Returns
    -------
    float64 (classes,)
        Between 0.5 / recordings and 1 − 0.5 / recordings, since a frequency of 0 or 1 would decide for ever.
    """
    least = 0.5 / len(scores_log_odds)
    start = logit(training_frequencies)
    frequencies = np.clip(training_frequencies, least, 1 - least)
    for _ in range(_MOST_ROUNDS):
        posterior = expit(scores_log_odds + logit(frequencies) - start)
        new = np.clip(posterior.mean(axis=0), least, 1 - least)
        moved, frequencies = np.abs(new - frequencies).max(), new
        if moved < _STILL:
            break
    return frequencies


def adapted(scores: np.ndarray, training_frequencies: np.ndarray, training: Training | None) -> Habits:
    """Shifts of the thresholds for the class frequencies that unlabelled recordings suggest.

    Parameters
    ----------
    scores : float (recordings, classes)
        Of the model; at least one recording.
    training_frequencies : float64 (classes,)
        Share of the training recordings that have each class. A class with none is left as it is.
    training : Training or None
        Of the recipe: losses with class weights give scores that are too high by a factor of the odds, which is
        undone. None if the scores are probabilities already.

    Returns
    -------
    Habits
        Shifts alone.
    """
    known = (training_frequencies > 0) & (training_frequencies < 1)
    before = np.where(known, training_frequencies, 0.5)
    weighting = np.zeros(len(before))
    if training is not None and any(phase.loss in WEIGHTED_LOSSES for phase in training.phases):
        largest = training.largest_class_weight or np.inf
        weighting = np.log(np.minimum(1 / before, largest) / np.minimum(1 / (1 - before), largest))
    here = class_frequencies(log_odds(scores) - weighting, before)
    shift = np.where(known, logit(before) - logit(here), 0.0)
    return Habits(shift, np.zeros(len(shift), dtype=bool), False)


def adapted_mean(
    mean: np.ndarray, line: LogisticMap | None, training_frequencies: np.ndarray, training: Training
) -> Habits:
    """`adapted` for the members' mean score (recordings, classes); the shifts are of that score's thresholds.

    Where the model has a map to probabilities, frequencies are estimated from these.
    """
    if line is None:
        return adapted(mean, training_frequencies, training)
    habits = adapted(line(mean), training_frequencies, None)
    return replace(habits, shift=habits.shift / line.slopes)
